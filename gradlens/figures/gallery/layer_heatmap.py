"""A quantity of every layer over the training, in one picture."""

from __future__ import annotations

from typing import Literal

import numpy as np

from gradlens.analysis import LayerProfile
from gradlens.figures.figure import Axis, Figure, Heatmap, Panel, Text, sentence
from gradlens.figures.gallery.names import shortened
from gradlens.schema import FRACTIONS
from gradlens.schema import label as axis_label

MOST_ROWS = 60
_WORDS = {"high": "largest", "mean": "mean", "low": "smallest"}


def layer_heatmap(
    result: LayerProfile, *, show: Literal["high", "mean", "low"] = "high", rows: int = MOST_ROWS
) -> Figure:
    """Layers down, steps across, the value as colour; norms on a logarithmic scale.

    The largest value of each stretch is shown unless asked otherwise, so that no spike is lost.

    Args:
        result: from ``analysis.layer_profile(run, kind)``.
        show: ``"high"``, ``"mean"`` or ``"low"``: which value of each stretch of steps.
        rows: most layers drawn; of more, those whose values vary most, largest over median, in the model's order.

    Returns:
        One panel; with nothing to show, the sentence that says why.

    Raises:
        ValueError: for another ``show``, or less than one row.
    """
    if show not in _WORDS or rows < 1:
        raise ValueError(f"show is 'high', 'mean' or 'low' and rows at least 1; got {show!r} and {rows!r}.")
    x, unit = Axis(axis_label("step")), axis_label(result.kind)
    title = f"{sentence(unit)} by layer"
    if result.status:
        panel = Panel(title, "", x, Axis(""), (Text(result.status),))
        return Figure("layer_heatmap", (panel,), result.status, columns=1)
    values = {"high": result.high, "mean": result.mean, "low": result.low}[show].astype(np.float64)
    chosen = _most_varied(values, rows)
    linear = result.kind in FRACTIONS
    mark = Heatmap(
        x=result.edges.astype(np.float64),
        rows=tuple(shortened(result.names[place]) for place in chosen),
        values=values[chosen],
        label=unit,
        scale="linear" if linear else "log",
    )
    width = int(np.diff(result.edges).max())
    odd = int(result.nonfinite[chosen].sum())
    panel = Panel(
        title=title,
        subtitle=f"{_WORDS[show]} of each {width:,} steps" if width > 1 else "each step",
        x=x,
        y=Axis(""),
        marks=(mark,),
        foot=f"{len(chosen):,} of {len(result.names):,} layers"
        + (", those that vary most" if len(chosen) < len(result.names) else "")
        + f"; {odd:,} cells hold NaN or infinite values",
    )
    return Figure("layer_heatmap", (panel,), _caption(result, values, show, unit), columns=1)


def _most_varied(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], rows: int) -> list[int]:
    if len(values) <= rows:
        return list(range(len(values)))
    known = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    some = np.isfinite(known).any(axis=1)
    spread = np.full(len(values), -1.0)
    spread[some] = np.nanmax(known[some], axis=1) / np.nanmedian(known[some], axis=1)
    return sorted(np.argsort(-spread, kind="stable")[:rows].tolist())


def _caption(
    result: LayerProfile, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], show: str, unit: str
) -> str:
    known = np.where(np.isfinite(values), values, -np.inf)
    layer, column = np.unravel_index(int(known.argmax()), known.shape)
    text = (
        f"{sentence(unit)} of {len(result.names):,} layers over steps {result.edges[0]:,} to "
        f"{result.edges[-1] - 1:,}, the {_WORDS[show]} value of each stretch"
    )
    if np.isfinite(known.max()):
        text += (
            f"; the largest drawn is {known.max():.3g}, of {result.names[layer]} in steps {result.edges[column]:,} to "
            f"{result.edges[column + 1] - 1:,}"
        )
    return f"{text}. {result.note}".strip()
