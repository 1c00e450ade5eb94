"""``layer_heatmap`` by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlens.analysis import layer_profile
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.layer_heatmap import MOST_ROWS, layer_heatmap
from gradlens.store import Run


def _make(
    runs: Sequence[Run],
    kind: str = "grad_norm",
    by: str = "parameter",
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    show: Any = "high",
    rows: int = MOST_ROWS,
) -> Figure:
    return layer_heatmap(layer_profile(runs[0], kind, by=by, include=include, exclude=exclude), show=show, rows=rows)


DRAWING = Drawing(
    _make,
    most=1,
    options=(
        Option("kind", str, "what to show of each layer, as in grad_norm or update_norm"),
        Option("by", str, "parameter, or layer for the parameters of a module together"),
        Option("include", str, "shell patterns of the parameters to show", "+"),
        Option("exclude", str, "shell patterns of the parameters to leave out", "+"),
        Option("show", str, "high, mean or low: which value of each stretch of steps"),
        Option("rows", int, "most layers to draw"),
    ),
)
