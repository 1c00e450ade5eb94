"""``smoothness_at_loss`` by name: the smoothness of two runs where their training losses are equal."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import compare_smoothness
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.smoothness_comparison import smoothness_at_loss
from gradlens.figures.gallery.training_dynamics import run_labels
from gradlens.figures.palette import run_colours
from gradlens.store import Run


def _make(runs: Sequence[Run], labels: Sequence[str] | None = None) -> Figure:
    texts = run_labels(runs) if labels is None else labels
    return smoothness_at_loss(compare_smoothness(runs[0], runs[1]), texts, run_colours(runs))


DRAWING = Drawing(_make, least=2, most=2, options=(Option("labels", str, "what to call the runs", "+"),))
