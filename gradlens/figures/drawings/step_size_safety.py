"""``step_size_safety`` by name: a run's step sizes against the limit that the curvature along them sets."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import step_size_safety as judge
from gradlens.figures.drawing import Drawing
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.step_size_safety import step_size_safety
from gradlens.store import Run


def _make(runs: Sequence[Run]) -> Figure:
    return step_size_safety(judge(runs[0]))


DRAWING = Drawing(_make, most=1)
