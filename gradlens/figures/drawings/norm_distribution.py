"""``norm_distribution`` by name: the norms, and where AutoClip's threshold or a fixed norm lies in them."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import thresholds
from gradlens.clipping import one_rule
from gradlens.figures.drawing import Drawing
from gradlens.figures.drawings.threshold_history import DRAWING as THRESHOLD_HISTORY
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.norm_distribution import norm_distribution
from gradlens.store import Run


def _make(runs: Sequence[Run], percentile: float | None = None, max_norm: float | None = None) -> Figure:
    return norm_distribution(thresholds(runs[0], one_rule(percentile, max_norm)))


DRAWING = Drawing(_make, most=1, options=THRESHOLD_HISTORY.options, example=THRESHOLD_HISTORY.example)
