"""``norm_distribution`` by name: the norms, and where a rule's threshold lies in them."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import thresholds
from gradlens.clipping import one_rule
from gradlens.figures.drawing import Drawing
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.norm_distribution import norm_distribution
from gradlens.figures.replayed_rule import EXAMPLE, RULE, STEPS
from gradlens.store import Run


def _make(runs: Sequence[Run], steps: tuple[int, int] | None = None, **rule: float) -> Figure:
    return norm_distribution(thresholds(runs[0], one_rule(**rule)), rule.get("percentile"), steps)


DRAWING = Drawing(_make, most=1, options=(*RULE, STEPS), example=EXAMPLE)
