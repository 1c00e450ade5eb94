"""``threshold_history`` by name: which recorded steps AutoClip at a percentile, or a fixed norm, would have clipped."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import thresholds
from gradlens.clipping import one_rule
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.threshold_history import threshold_history
from gradlens.store import Run


def _make(runs: Sequence[Run], percentile: float | None = None, max_norm: float | None = None) -> Figure:
    return threshold_history(thresholds(runs[0], one_rule(percentile, max_norm)))


DRAWING = Drawing(
    _make,
    most=1,
    options=(
        Option("percentile", float, "replay AutoClip at this percentile"),
        Option("max_norm", float, "replay a fixed norm"),
    ),
    example={"percentile": 10.0},
)
