"""Which micro-batches drag: their norms and cosines over the training, by domain, and whether they tell draggers.

Reference: Wang, "Revisiting Convergence of micro-batch clipping", 2024, arXiv 2408.16204.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.analysis.micro_batch_tally import MicroBatches, Tally, tally
from gradlens.analysis.thresholds import PHASES, medians, thirds
from gradlens.stats.auc import Auc, Concordance, auc
from gradlens.store import Run

Floats = NDArray[np.float64]
Known = str | Collection[str] | Callable[[pd.DataFrame], NDArray[np.bool_]]
STRETCHES: Final = 60

NOTE_RECORDED = "Clip coefficients are those of the training."
NOTE_COUNTERFACTUAL = (
    "The run did not clip its micro-batches: coefficients are what bringing each to the smallest of its step would "
    "give on recorded norms, not how training would have gone."
)


@dataclass(frozen=True, slots=True)
class Detection:
    """How well a number of the micro-batches tells the known draggers.

    Attributes:
        score: ``"grad_norm"``, where a dragger is taken to be longer, or ``"cosine"``, where it agrees less with the
            mean of the others.
        phase: ``early``, ``middle``, ``late`` third of the measured steps, or ``all steps``.
        auc: area under the ROC curve within steps, with its interval; .5 is chance, below it the other way round.
    """

    score: str
    phase: str
    auc: Auc


@dataclass(frozen=True, slots=True, kw_only=True)
class DraggerProfile(MicroBatches):
    """The micro-batches of a run over the training, and whether their numbers tell draggers.

    Attributes:
        effective_by_phase: median of ``effective`` in each third.
        effective_lengths_by_phase: the same of ``effective_lengths``.
        detections: by score and phase where draggers are known; empty otherwise.
        status: empty, or a sentence that says why there is no answer.
        note: what to doubt.
    """

    effective_by_phase: tuple[float, ...]
    effective_lengths_by_phase: tuple[float, ...]
    detections: tuple[Detection, ...]
    status: str = ""
    note: str = ""


def dragger_profile(run: Run, known: Known | None = None, *, tries: int = 499) -> DraggerProfile:
    r"""Norm, leave-one-out cosine and clip coefficient of micro-batches over the training, by domain.

    The effective number of micro-batches with weights w is :math:`(\sum_j w_j)^2 / \sum_j w_j^2`: K where all weigh the
    same, 1 where one alone counts. Where draggers are known, each step's known micro-batches are compared with its
    others only: the AUC is the share of such pairs in which the known one is longer, or has the smaller cosine. Its
    interval resamples blocks of steps.

    The table is read a slice at a time: memory holds four numbers for each step that was measured.

    Args:
        run: a run that recorded its micro-batches.
        known: which micro-batches are draggers: a domain, several, or a function from a slice of
            ``run.micro_batches()`` to (rows,) bool.
        tries: resamples behind each interval.

    Returns:
        The profile. ``status`` says so where the run cannot answer.

    Raises:
        ValueError: if ``known`` names a domain that the run has not, or gives something else than a bool a row.

    References:
        Wang, arXiv 2408.16204: draggers, and the min rule.
    """
    counted = tally(run, _is_known(known), STRETCHES)
    found = counted.found
    if known is not None and not callable(known) and found.n:
        _check_domains(known, found)
    n = len(found.steps)
    return DraggerProfile(
        **{each.name: getattr(found, each.name) for each in fields(found)},
        effective_by_phase=medians(found.effective),
        effective_lengths_by_phase=medians(found.effective_lengths),
        detections=_detections(counted, tries) if known is not None and n else (),
        status="" if n else _why_none(run),
        note=_note(found, known is not None),
    )


def _is_known(known: Known | None) -> Callable[[pd.DataFrame], NDArray[np.bool_]] | None:
    if known is None:
        return None
    if callable(known):
        choose = known

        def chosen(rows: pd.DataFrame) -> NDArray[np.bool_]:
            found = np.asarray(choose(rows))
            if found.shape != (len(rows),) or found.dtype != np.bool_:
                raise ValueError(
                    f"known takes a slice of run.micro_batches() and gives a bool for each of its {len(rows)} rows; "
                    f"got {found.dtype} of shape {found.shape}."
                )
            return found

        return chosen
    names = [known] if isinstance(known, str) else list(known)
    return lambda rows: rows["domain"].isin(names).to_numpy(dtype=np.bool_)


def _check_domains(known: str | Collection[str], found: MicroBatches) -> None:
    for name in [known] if isinstance(known, str) else known:
        if name not in found.domains[1:]:
            there = ", ".join(map(repr, found.domains[1:])) or "none"
            raise ValueError(f"the run has no micro-batches of domain {name!r}; its domains: {there}.")


def _detections(counted: Tally, tries: int) -> tuple[Detection, ...]:
    parts = [*zip(PHASES, thirds(len(counted.found.steps)), strict=True), ("all steps", slice(None))]
    return tuple(
        Detection(score, phase, auc(Concordance(pairs.wins[part], pairs.pairs[part]), tries=tries))
        for score, pairs in (("grad_norm", counted.by_norm), ("cosine", counted.by_cosine))
        for phase, part in parts
    )


def _note(found: MicroBatches, asked: bool) -> str:
    if not found.n:
        return ""
    note = NOTE_RECORDED if found.recorded else NOTE_COUNTERFACTUAL
    if asked:
        note += " AUC compares micro-batches of one step only, so that no trend of the training enters."
    return note


def _why_none(run: Run) -> str:
    return (
        f"run {run.name!r} recorded no micro-batches; take several recorder.loss(..., of=K) in a step, and record them "
        "with micro_batches=gradlens.every(100)."
    )
