"""``threshold_history`` by name: which recorded steps AutoClip, a fixed norm or ZClip would have clipped."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import thresholds
from gradlens.clipping import one_rule
from gradlens.figures.drawing import Drawing
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.threshold_history import threshold_history
from gradlens.figures.replayed_rule import EXAMPLE, RULE, STEPS
from gradlens.store import Run


def _make(runs: Sequence[Run], steps: tuple[int, int] | None = None, **rule: float) -> Figure:
    return threshold_history(thresholds(runs[0], one_rule(**rule)), steps)


DRAWING = Drawing(_make, most=1, options=(*RULE, STEPS), example=EXAMPLE)
