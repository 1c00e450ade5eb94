"""``smoothness_difference`` by name: r of the second run less that of the first, beside its placebo."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import compare_smoothness
from gradlens.figures.drawing import Drawing
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.smoothness_comparison import smoothness_difference
from gradlens.store import Run


def _make(runs: Sequence[Run]) -> Figure:
    return smoothness_difference(compare_smoothness(runs[0], runs[1]))


DRAWING = Drawing(_make, least=2, most=2)
