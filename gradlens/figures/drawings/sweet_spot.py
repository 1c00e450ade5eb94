"""``sweet_spot`` by name: the micro-batch size that a run's own gradients predict to be best."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import predict_sweet_spot
from gradlens.figures.drawing import Drawing
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.sweet_spot import sweet_spot
from gradlens.store import Run


def _make(runs: Sequence[Run]) -> Figure:
    return sweet_spot(predict_sweet_spot(runs[0]))


DRAWING = Drawing(_make, most=1)
