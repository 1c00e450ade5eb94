"""Figures on the page: plain dictionaries that Plotly draws, with numbers packed as base64."""

from __future__ import annotations

import base64
import html
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlens.figures.figure import Axis, Band, Figure, Hexbin, Line, Panel, Points, Rule, Text
from gradlens.figures.hexbin import hexagons
from gradlens.figures.palette import THEMES, blend, colour

Trace = dict[str, Any]
_LEVELS = 12
_GAP = 0.12


def render(figure: Figure, theme: str = "light") -> dict[str, Any]:
    """A figure as ``{"data": [...], "layout": {...}}``.

    Names from the outside (runs, labels) are escaped: Plotly would take them for markup.

    Args:
        figure: the figure; its panels are laid out in rows.
        theme: ``"light"`` or ``"dark"``.
    """
    data: list[Trace] = []
    layout = _layout(theme)
    for index, panel in enumerate(figure.panels):
        place = "" if index == 0 else str(index + 1)
        traces, extra = _panel(panel, place, theme)
        data += traces
        layout.setdefault("shapes", []).extend(extra["shapes"])
        layout.setdefault("annotations", []).extend(extra["annotations"])
        row, column = divmod(index, figure.columns)
        layout[f"xaxis{place}"] = _axis(panel.x, theme, "y" + place, _domain(column, figure.columns, flip=False))
        layout[f"yaxis{place}"] = _axis(panel.y, theme, "x" + place, _domain(row, figure.rows, flip=True))
        if len(figure.panels) > 1:
            layout["annotations"].append(_title(panel.title, place, theme))
    return {"data": data, "layout": layout}


def packed(values: NDArray[np.float64]) -> dict[str, str]:
    """Numbers as Plotly reads them fastest: base64 of float32, or of float64 where steps would lose digits."""
    whole = bool(len(values)) and bool(np.abs(values[np.isfinite(values)]).max(initial=0.0) >= 2**24)
    kind = "f8" if whole else "f4"
    return {"dtype": kind, "bdata": base64.b64encode(values.astype("<" + kind).tobytes()).decode()}


def _panel(panel: Panel, place: str, theme: str) -> tuple[list[Trace], dict[str, list[Any]]]:
    traces: list[Trace] = []
    shapes: list[Trace] = []
    notes: list[Trace] = []
    for mark in panel.marks:
        match mark:
            case Line():
                traces.append(_line(mark, theme))
            case Points():
                traces.append(_points(mark, theme))
            case Band():
                traces.append(_band(mark, theme))
            case Hexbin():
                traces += _hexbin(mark, theme)
            case Rule():
                shapes.append(_rule(mark, place, theme))
                notes.append(_rule_label(mark, place, theme))
            case Text():
                notes.append(_sentence(mark.text, place, theme))
    axes = {"xaxis": "x" + place, "yaxis": "y" + place}
    return [trace | axes for trace in traces], {"shapes": shapes, "annotations": notes}


def _line(mark: Line, theme: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": packed(mark.x),
        "y": packed(mark.y),
        "name": html.escape(mark.label),
        "showlegend": False,
        "hoverinfo": "skip" if mark.faint else "all",
        "hovertemplate": None if mark.faint else "%{y:.4g}",
        "line": {
            "color": blend(mark.colour, 0.35, theme) if mark.faint else colour(mark.colour, theme),
            "width": 1 if mark.faint else 2,
            "dash": "dash" if mark.dashed else "solid",
        },
    }


def _points(mark: Points, theme: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": packed(mark.x),
        "y": packed(mark.y),
        "name": html.escape(mark.label),
        "showlegend": bool(mark.label),
        "marker": {
            "color": colour(mark.colour, theme),
            "size": 3 if mark.marker == "dot" else 8,
            "symbol": "circle" if mark.marker == "dot" else "x-thin-open",
        },
    }


def _band(mark: Band, theme: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": packed(np.concatenate([mark.x, mark.x[::-1]])),
        "y": packed(np.concatenate([mark.low, mark.high[::-1]])),
        "fill": "toself",
        "fillcolor": blend(mark.colour, 0.2, theme),
        "opacity": 0.6,
        "line": {"width": 0},
        "name": html.escape(mark.label),
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _hexbin(mark: Hexbin, theme: str) -> list[Trace]:
    """One filled trace a shade, and one without ink that answers to the pointer."""
    cells = hexagons(mark)
    most = int(cells.counts.max(initial=1))
    level = np.ceil(cells.counts / most * _LEVELS)
    traces: list[Trace] = []
    for shade in np.unique(level):
        corners = cells.centres[level == shade][:, None, :] + cells.corners
        closed = np.concatenate([corners, corners[:, :1], np.full_like(corners[:, :1], np.nan)], axis=1)
        outline = closed.reshape(-1, 2)
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "x": packed(outline[:, 0]),
                "y": packed(outline[:, 1]),
                "fill": "toself",
                "fillcolor": blend(mark.colour, 0.1 + 0.9 * float(shade) / _LEVELS, theme),
                "line": {"color": blend(mark.colour, 0.15, theme), "width": 0.5},
                "hoverinfo": "skip",
                "showlegend": False,
            }
        )
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": packed(cells.centres[:, 0]),
            "y": packed(cells.centres[:, 1]),
            "marker": {"opacity": 0, "size": 12},
            "text": [f"{count:,} steps" for count in cells.counts.tolist()],
            "hovertemplate": "%{text}<br>log norm %{x:.3g}, log smoothness %{y:.3g}<extra></extra>",
            "name": html.escape(mark.label),
            "showlegend": False,
        }
    )
    return traces


def _rule(mark: Rule, place: str, theme: str) -> Trace:
    across = {"x0": mark.at, "x1": mark.at, "y0": 0, "y1": 1, "xref": "x" + place, "yref": f"y{place} domain"}
    along = {"y0": mark.at, "y1": mark.at, "x0": 0, "x1": 1, "yref": "y" + place, "xref": f"x{place} domain"}
    line = {"color": colour(mark.colour, theme), "width": 2, "dash": "dot"}
    return {"type": "line", "line": line, **(across if mark.along == "x" else along)}


def _rule_label(mark: Rule, place: str, theme: str) -> Trace:
    # Above the axes: inside, the label would hide what lies beneath it.
    where: Trace = {"x": mark.at, "xref": "x" + place, "y": 1, "yref": f"y{place} domain", "yanchor": "bottom"}
    if mark.along == "y":
        where = {"y": mark.at, "yref": "y" + place, "x": 1, "xref": f"x{place} domain", "xanchor": "right"}
    return {
        "text": html.escape(mark.label),
        "showarrow": False,
        "xanchor": "left",
        "font": {"size": 11, "color": colour("ink", theme)},
        **where,
    }


def _sentence(text: str, place: str, theme: str) -> Trace:
    return {
        "text": "<br>".join(html.escape(line) for line in _wrapped(text)),
        "showarrow": False,
        "x": 0.5,
        "y": 0.5,
        "xref": f"x{place} domain",
        "yref": f"y{place} domain",
        "font": {"size": 13, "color": colour("muted", theme)},
    }


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


def _wrapped(text: str, width: int = 56) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _axis(axis: Axis, theme: str, anchor: str, domain: tuple[float, float]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "title": {"text": html.escape(axis.label), "font": {"size": 12}, "standoff": 6},
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
        "margin": {"l": 8, "r": 8, "t": 20, "b": 8},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": shades["ground"], "font": {"color": shades["ink"]}},
        "legend": {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "dragmode": "zoom",
        "shapes": [],
        "annotations": [],
    }
