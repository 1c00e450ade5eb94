"""``layer_clipping`` by name: which layers a rule would clip, each with a threshold of its own."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import layer_clipping as replayed
from gradlens.clipping import one_rule
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.layer_clipping import MOST_ROWS, layer_clipping
from gradlens.figures.replayed_rule import EXAMPLE, RULE
from gradlens.store import Run


def _make(runs: Sequence[Run], include: Sequence[str] = ("*",), rows: int = MOST_ROWS, **rule: float) -> Figure:
    return layer_clipping(replayed(runs[0], one_rule(**rule), include=include), rows=rows)


DRAWING = Drawing(
    _make,
    most=1,
    options=(
        *RULE,
        Option("include", str, "shell patterns of the parameters to show", "+"),
        Option("rows", int, "most layers to draw"),
    ),
    example=EXAMPLE,
)
