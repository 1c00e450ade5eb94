"""``strategy_comparison`` by name: clip rules side by side, each at its own learning rate."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import compare_strategies
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.strategy_comparison import strategy_comparison
from gradlens.store import Run


def _make(runs: Sequence[Run], metric: str = "test_accuracy") -> Figure:
    return strategy_comparison(compare_strategies(runs, metric=metric))


DRAWING = Drawing(_make, options=(Option("metric", str, "metric that the runs logged"),))
