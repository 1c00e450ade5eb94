"""How well each part's gradient norm goes with the smoothness of the whole model."""

from __future__ import annotations

import numpy as np

from gradlens.analysis import GroupSmoothness, SmoothnessByGroup
from gradlens.figures.figure import Axis, Bars, Figure, Panel, Rule, Text
from gradlens.figures.gallery.names import shortened

MOST_PARTS = 12
_TITLE = "By part of the model"
_Y = Axis("r with smoothness", limits=(-1.0, 1.0))
_POSITIVE = Axis("r with smoothness", limits=(0.0, 1.0))


def smoothness_by_group(result: SmoothnessByGroup, *, label: str = "") -> Figure:
    """Correlation of each part's gradient norm with the smoothness, raw and without trend.

    Args:
        result: from ``analysis.smoothness_by_group(run)``.
        label: what to call the run, where several stand beside each other.

    Returns:
        One panel; with nothing to show, the sentence that says why.
    """
    title = f"{_TITLE}, {label}" if label else _TITLE
    known = [each for each in result.groups if np.isfinite(each.raw.pearson)]
    if result.status or not known:
        why = result.status or "No part has enough probes with a positive gradient norm."
        return Figure("smoothness_by_group", (Panel(title, "", Axis(""), _Y, (Text(why),)),), why, columns=1)
    shown = known[:MOST_PARTS]
    marks = (_bars(shown, "raw", "run-0", "as recorded"), _bars(shown, "detrended", "run-4", "without trend"))
    foot = f"{len(shown)} of {len(result.groups)} {result.source}, 95 % intervals; the smoothness is the whole model's"
    lows = np.concatenate([mark.low for mark in marks if mark.low is not None])
    y, zero = (_POSITIVE, ()) if (lows >= 0).all() else (_Y, (Rule(0.0, "y"),))
    panel = Panel(title, f"gradient norm of {result.source}, r between logs", Axis(""), y, (*marks, *zero), foot)
    return Figure("smoothness_by_group", (panel,), _caption(result, shown, label), columns=1)


def _bars(groups: list[GroupSmoothness], which: str, colour: str, label: str) -> Bars:
    each = [getattr(group, which) for group in groups]
    values, (low, high) = (
        np.array([r.pearson for r in each]),
        np.array([r.pearson_interval for r in each], dtype=np.float64).T,
    )
    return Bars(tuple(shortened(group.name, 18) for group in groups), values, colour, label, low, high)


def _caption(result: SmoothnessByGroup, shown: list[GroupSmoothness], label: str) -> str:
    numbers = ", ".join(f"{each.name} {each.raw.pearson:z.2f} ({each.detrended.pearson:z.2f})" for each in shown)
    of = f" in {label}" if label else ""
    said = f"r between the logs of each part's gradient norm and of smoothness{of} (without trend): {numbers}."
    return f"{said} {result.note}"
