"""What a run has to say about micro-batches, seen without reading it; and what to record where it has nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gradlens.analysis.sweet_spot import frozen_sizes
from gradlens.analysis.trainings import arm_of
from gradlens.store import Run
from gradlens.store.export_rows import micro_batch_slices

NO_SWEEP = (
    "No run here is clipped by micro-batches and knows its full gradient, so that there is no size to compare. Record "
    "trainings with Recorder(clip=gradlens.clipping.micro_batch()), at several micro-batch sizes and seeds, each with "
    "seed and micro_batch_size in config=, and recorder.full_gradient(...) now and then."
)
NO_FROZEN = (
    "No run here has estimates at frozen weights, from which the best size is predicted. Record one with "
    "Recorder(frozen_weights=gradlens.every(100), smoothness=gradlens.every(50))."
)
NO_TABLE = (
    "No run here recorded its micro-batches one by one, so that draggers and noise scale are not known. Take several "
    "recorder.loss(..., of=K, domain=...) in a step, with Recorder(micro_batches=gradlens.every(100))."
)


@dataclass(frozen=True, slots=True)
class RecordedMicroBatches:
    """What one run has.

    Attributes:
        swept: whether it was clipped by micro-batches, and measured the full gradient.
        frozen: whether it has estimates at frozen weights.
        table: whether it has micro-batches one by one.
    """

    swept: bool
    frozen: bool
    table: bool


def recorded_micro_batches(run: Run) -> RecordedMicroBatches:
    """Look what a run has.

    Args:
        run: any run.
    """
    return RecordedMicroBatches(
        swept=arm_of(run.clip, run.config) == "clipped" and "full_grad_norm" in run.columns,
        frozen=frozen_estimates(run),
        table=any(len(rows) for rows in micro_batch_slices(run)),
    )


def frozen_estimates(run: Run) -> bool:
    """Whether a run has estimates at frozen weights, from which the best size is predicted."""
    return bool(frozen_sizes(run.columns))


def what_to_record(found: Sequence[RecordedMicroBatches]) -> tuple[str, ...]:
    """A sentence for each thing that none of some runs has.

    Args:
        found: of each run.

    >>> what_to_record([RecordedMicroBatches(swept=True, frozen=True, table=True)])
    ()
    >>> len(what_to_record([RecordedMicroBatches(swept=True, frozen=False, table=False)]))
    2
    """
    has = {
        NO_SWEEP: any(each.swept for each in found),
        NO_FROZEN: any(each.frozen for each in found),
        NO_TABLE: any(each.table for each in found),
    }
    return tuple(sentence for sentence, there in has.items() if not there)
