"""``smoothness_by_group`` by name: how well each part's gradient norm goes with the smoothness of the whole."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import smoothness_by_group as by_group
from gradlens.figures.drawing import Drawing
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.smoothness_by_group import smoothness_by_group
from gradlens.store import Run


def _make(runs: Sequence[Run]) -> Figure:
    return smoothness_by_group(by_group(runs[0]))


DRAWING = Drawing(_make, most=1)
