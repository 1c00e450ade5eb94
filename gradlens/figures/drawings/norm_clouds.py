"""``norm_clouds`` by name: smoothness against gradient norm, one hexbin a run."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import norm_smoothness
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.training_dynamics import norm_clouds, run_labels
from gradlens.figures.palette import run_colours
from gradlens.figures.replayed_rule import STEPS
from gradlens.store import Run


def _make(runs: Sequence[Run], labels: Sequence[str] | None = None, steps: tuple[int, int] | None = None) -> Figure:
    texts = run_labels(runs) if labels is None else labels
    return norm_clouds(runs, [norm_smoothness(run) for run in runs], texts, run_colours(runs), [steps] * len(runs))


DRAWING = Drawing(_make, options=(Option("labels", str, "what to call the runs", "+"), STEPS))
