"""Figures on the page: plain dictionaries that Plotly draws, with numbers packed as base64."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlens.figures.figure import Axis, Figure, Panel, Points, Text
from gradlens.figures.palette import THEMES, colour
from gradlens.figures.plotly_marks import Place, draw_marks
from gradlens.figures.plotly_numbers import Trace, packed

__all__ = ["packed", "render"]

_GAP = 0.12
_BAR = 0.14
"""Share of a panel's width that a colour bar takes."""

_LEGEND = 48
"""Pixels above the panels, for the legend and their titles."""

_SVG_POINTS = 50_000
_WEBGL_TRACES = 4


def render(figure: Figure, theme: str = "light") -> dict[str, Any]:
    """A figure as ``{"data": [...], "layout": {...}}``.

    Names from the outside (runs, labels) are escaped: Plotly would take them for markup.

    Args:
        figure: the figure; its panels are laid out in rows.
        theme: ``"light"`` or ``"dark"``.
    """
    data: list[Trace] = []
    layout = _layout(theme)
    if len(figure.panels) > 1:  # above the panels' titles
        layout["legend"] |= {"yref": "container", "yanchor": "top"}
        layout["margin"]["t"] = _LEGEND
    for index, panel in enumerate(figure.panels):
        place = "" if index == 0 else str(index + 1)
        row, column = divmod(index, figure.columns)
        across, up = _domain(column, figure.columns, flip=False), _domain(row, figure.rows, flip=True)
        if _has_colour_bar(panel):
            across = across[0], across[1] - _BAR * (across[1] - across[0])
        drawn = draw_marks(panel, Place(place, across, up, theme))
        data += drawn.traces
        layout["shapes"] += drawn.shapes
        layout["annotations"] += drawn.annotations
        x, y = _ticks(panel)
        layout[f"xaxis{place}"] = _axis(panel.x, theme, "y" + place, across) | x
        layout[f"yaxis{place}"] = _axis(panel.y, theme, "x" + place, up) | y
        if len(figure.panels) > 1:
            layout["annotations"].append(_title(panel.title, place, theme))
    _use_webgl(data)
    _name_once(data)
    return {"data": data, "layout": layout}


def _has_colour_bar(panel: Panel) -> bool:
    return panel.heatmap is not None or any(isinstance(m, Points) and m.values is not None for m in panel.marks)


def _ticks(panel: Panel) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the axes' ticks are where they are names."""
    if all(isinstance(mark, Text) for mark in panel.marks):
        return {"showticklabels": False, "showgrid": False}, {"showticklabels": False, "showgrid": False}
    x, y = _named(panel.x.ticks), _named(panel.y.ticks)
    if panel.categories:
        x = {
            "type": "linear",
            "range": [-0.6, len(panel.categories) - 0.4],
            **(x or _named(tuple(enumerate(panel.categories)))),
        }
    if panel.heatmap is not None:
        y = {"type": "category", "autorange": "reversed", "showgrid": False}
        x |= {"showgrid": False}
    return x, y


def _named(ticks: Sequence[tuple[float, str]] | None) -> dict[str, Any]:
    if ticks is None:
        return {}
    return {"tickvals": [at for at, _ in ticks], "ticktext": [html.escape(text) for _, text in ticks]}


def _use_webgl(data: list[Trace]) -> None:
    """SVG draws lines and points best until there are very many; a browser then has few WebGL contexts to give."""
    sizes = [len(base64.b64decode(trace["x"]["bdata"])) // 4 if trace["type"] == "scatter" else 0 for trace in data]
    if sum(sizes) <= _SVG_POINTS:
        return
    largest = sorted(range(len(data)), key=lambda index: -sizes[index])[:_WEBGL_TRACES]
    for index in largest:
        if sizes[index] and "fill" not in data[index]:
            data[index]["type"] = "scattergl"


def _name_once(data: list[Trace]) -> None:
    """One entry in the legend for what is called and coloured alike in several panels."""
    seen = set()
    for trace in data:
        shown = trace.get("showlegend") is True
        key = trace.get("name"), str(trace.get("line", {}).get("color") or trace.get("marker", {}).get("color"))
        trace["showlegend"] = shown and key not in seen
        if shown:
            seen.add(key)


def _title(text: str, place: str, theme: str) -> Trace:
    at = {
        "x": 0,
        "y": 1,
        "xref": f"x{place} domain",
        "yref": f"y{place} domain",
        "xanchor": "left",
        "yanchor": "bottom",
    }
    return {"text": html.escape(text), "showarrow": False, "font": {"size": 13, "color": colour("ink", theme)}, **at}


def _axis(axis: Axis, theme: str, anchor: str, domain: tuple[float, float]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "title": {"text": html.escape(axis.title), "font": {"size": 12}, "standoff": 6},
        "type": axis.scale,
        "anchor": anchor,
        "domain": domain,
        "gridcolor": THEMES[theme]["grid"],
        "linecolor": THEMES[theme]["grid"],
        "zeroline": False,
        "automargin": True,
        "tickfont": {"size": 12},
    }
    if axis.limits:
        made["range"] = [float(np.log10(x)) if axis.scale == "log" else x for x in axis.limits]
    return made


def _domain(index: int, count: int, *, flip: bool) -> tuple[float, float]:
    if flip:
        index = count - 1 - index
    size = (1 - _GAP * (count - 1)) / count
    return index * (size + _GAP), index * (size + _GAP) + size


def _layout(theme: str) -> dict[str, Any]:
    shades = THEMES[theme]
    return {
        "paper_bgcolor": shades["ground"],
        "plot_bgcolor": shades["ground"],
        "font": {"color": shades["muted"], "size": 12, "family": "Inter, system-ui, sans-serif"},
        "barmode": "overlay",
        "margin": {"l": 8, "r": 8, "t": 20, "b": 8},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": shades["ground"], "font": {"color": shades["ink"]}},
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "dragmode": "zoom",
        "shapes": [],
        "annotations": [],
    }
