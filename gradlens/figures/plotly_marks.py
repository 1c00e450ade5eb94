"""A panel's marks as Plotly's traces, shapes and annotations."""

from __future__ import annotations

import html
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gradlens.figures.figure import Band, Bars, Heatmap, Hexbin, Line, Panel, Points, Rule, Text
from gradlens.figures.palette import BAND, HEAT, blend, colour
from gradlens.figures.plotly_cells import Span, colour_bar, heatmap, hexbin
from gradlens.figures.plotly_numbers import Floats, Trace, faded, packed

_NOTHING = np.empty(0)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel's marks go.

    Attributes:
        suffix: of its axes' names, empty for the first.
        across: its share of the figure's width.
        up: its share of the height.
        theme: ``"light"`` or ``"dark"``.
    """

    suffix: str
    across: Span
    up: Span
    theme: str


@dataclass(slots=True)
class Drawn:
    """What a panel adds to the figure."""

    traces: list[Trace] = field(default_factory=list)
    shapes: list[Trace] = field(default_factory=list)
    annotations: list[Trace] = field(default_factory=list)


def draw_marks(panel: Panel, place: Place) -> Drawn:
    """Draw a panel's marks in order."""
    drawn = Drawn()
    for mark in panel.marks:
        match mark:
            case Rule():
                drawn.shapes.append(_rule(mark, place))
                drawn.annotations.append(_rule_label(mark, panel, place))
            case Text():
                drawn.annotations.append(_sentence(mark.text, place))
            case Heatmap():
                drawn.shapes.append(_blank(place))
                drawn.traces.append(heatmap(mark, place.across, place.up))
            case Hexbin():
                drawn.traces += hexbin(mark, place.theme)
            case Bars():
                drawn.traces.append(_bars(mark, panel, place.theme))
            case Band():
                drawn.traces.append(_band(mark, place.theme))
            case Line():
                drawn.traces.append(_line(mark, place.theme))
            case Points():
                drawn.traces.append(_points(mark, place))
    if not drawn.traces:  # Plotly has no axes where there is no trace, and would write the sentence elsewhere
        drawn.traces.append({"type": "scatter", "x": packed(_NOTHING), "y": packed(_NOTHING), "showlegend": False})
    axes = {"xaxis": "x" + place.suffix, "yaxis": "y" + place.suffix}
    drawn.traces = [trace | axes for trace in drawn.traces]
    return drawn


def _line(mark: Line, theme: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": packed(mark.x),
        "y": packed(mark.y),
        "name": html.escape(mark.label),
        "showlegend": bool(mark.label),
        "hoverinfo": "skip" if mark.faint else "all",
        "hovertemplate": None if mark.faint else "%{y:.4g}",
        "line": {
            "color": blend(mark.colour, 0.35, theme) if mark.faint else colour(mark.colour, theme),
            "width": 1 if mark.faint else 2,
            "dash": "dash" if mark.dashed else "solid",
        },
    }


def _points(mark: Points, place: Place) -> Trace:
    theme = place.theme
    dot = 3 if mark.error_low is None else 7
    marker: Trace = {
        "color": colour(mark.colour, theme),
        "size": dot if mark.marker == "dot" else 8,
        "symbol": "circle" if mark.marker == "dot" else "x-thin-open",
    }
    hover: Trace = {}
    if mark.values is not None:
        marker |= {
            "color": packed(mark.values),
            "colorscale": HEAT,
            "colorbar": colour_bar(mark.values_label, place.across, place.up),
            "size": 6,
            # The scale's dark end is near a dark ground, its light end near a light one.
            "line": {"color": colour("blank", theme), "width": 0.5},
        }
        value = f"{html.escape(mark.values_label)} %{{marker.color:.4g}}"
        hover = {"hovertemplate": f"%{{x:.4g}}, %{{y:.4g}}<br>{value}<extra></extra>"}
    if mark.error_low is not None and mark.error_high is not None:
        hover["error_y"] = _error(mark.y, mark.error_low, mark.error_high, colour(mark.colour, theme))
    return {
        "type": "scatter",
        "mode": "markers",
        "x": packed(mark.x),
        "y": packed(mark.y),
        "name": html.escape(mark.label),
        "showlegend": bool(mark.label),
        "marker": marker,
        **hover,
    }


def _error(y: Floats, low: Floats, high: Floats, ink: str) -> Trace:
    known = np.isfinite(low) & np.isfinite(high)
    up, down = (np.where(known, length, np.nan) for length in (high - y, y - low))
    return {
        "type": "data",
        "symmetric": False,
        "array": packed(up),
        "arrayminus": packed(down),
        "color": ink,
        "thickness": 1.2,
        "width": 0,
    }


def _band(mark: Band, theme: str) -> Trace:
    """One closed outline for each stretch without a gap."""
    known = np.isfinite(mark.low) & np.isfinite(mark.high)
    stretches = _stretches(known)
    gap = np.array([np.nan])
    x = [np.concatenate([mark.x[part], mark.x[part][::-1], gap]) for part in stretches]
    y = [np.concatenate([mark.low[part], mark.high[part][::-1], gap]) for part in stretches]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": packed(np.concatenate([*x, gap])),
        "y": packed(np.concatenate([*y, gap])),
        "fill": "toself",
        "fillcolor": faded(mark.colour, BAND, theme),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "name": html.escape(mark.label),
        "showlegend": bool(mark.label),
    }


def _stretches(known: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    places = np.flatnonzero(known)
    return np.split(places, np.flatnonzero(np.diff(places) > 1) + 1) if len(places) else []


def _bars(mark: Bars, panel: Panel, theme: str) -> Trace:
    centres, width = panel.places(mark)
    trace: Trace = {
        "type": "bar",
        "x": packed(centres),
        "y": packed(mark.values),
        "width": 0.9 * width,
        "hovertext": [html.escape(name) for name in mark.names],
        "hovertemplate": "%{hovertext}: %{y:.4g}",
        "name": html.escape(mark.label),
        "showlegend": bool(mark.label),
        "marker": {"color": colour(mark.colour, theme)},
    }
    if mark.low is not None and mark.high is not None:
        trace["error_y"] = _error(mark.values, mark.low, mark.high, colour("ink", theme))
    return trace


def _blank(place: Place) -> Trace:
    """What shows where a heatmap has no value."""
    return {
        "type": "rect",
        "xref": f"x{place.suffix} domain",
        "yref": f"y{place.suffix} domain",
        "x0": 0,
        "x1": 1,
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "fillcolor": colour("blank", place.theme),
        "line": {"width": 0},
    }


def _rule(mark: Rule, place: Place) -> Trace:
    across = {
        "x0": mark.at,
        "x1": mark.at,
        "y0": 0,
        "y1": 1,
        "xref": "x" + place.suffix,
        "yref": f"y{place.suffix} domain",
    }
    along = {
        "y0": mark.at,
        "y1": mark.at,
        "x0": 0,
        "x1": 1,
        "yref": "y" + place.suffix,
        "xref": f"x{place.suffix} domain",
    }
    line = {"color": colour(mark.colour, place.theme), "width": 2, "dash": "dot"}
    return {"type": "line", "line": line, **(across if mark.along == "x" else along)}


def _rule_label(mark: Rule, panel: Panel, place: Place) -> Trace:
    axis = panel.x if mark.along == "x" else panel.y
    # Plotly places shapes by value and annotations by exponent on a logarithmic axis.
    at = float(np.log10(mark.at)) if axis.scale == "log" and mark.at > 0 else mark.at
    # Above the axes: inside, the label would hide what lies beneath it.
    where: Trace = {
        "x": at,
        "xref": "x" + place.suffix,
        "y": 1,
        "yref": f"y{place.suffix} domain",
        "yanchor": "bottom",
    }
    if mark.along == "y":
        where = {
            "y": at,
            "yref": "y" + place.suffix,
            "x": 1,
            "xref": f"x{place.suffix} domain",
            "xanchor": "right",
            "yanchor": "bottom",
        }
    return {
        "text": html.escape(mark.label),
        "showarrow": False,
        "xanchor": "left",
        "font": {"size": 11, "color": colour("ink", place.theme)},
        **where,
    }


def _sentence(text: str, place: Place) -> Trace:
    return {
        "text": "<br>".join(html.escape(line) for line in _wrapped(text)),
        "showarrow": False,
        "x": 0.5,
        "y": 0.5,
        "xref": f"x{place.suffix} domain",
        "yref": f"y{place.suffix} domain",
        "font": {"size": 13, "color": colour("muted", place.theme)},
    }


def _wrapped(text: str, width: int = 56) -> list[str]:
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
