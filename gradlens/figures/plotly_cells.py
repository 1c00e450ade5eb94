"""Hexagons, heatmaps and colour bars as Plotly's traces."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from gradlens.figures.figure import Heatmap, Hexbin
from gradlens.figures.hexbin import hexagons
from gradlens.figures.palette import HEAT, blend
from gradlens.figures.plotly_numbers import Floats, Trace, packed

Span = tuple[float, float]
_LEVELS = 12


def hexbin(mark: Hexbin, theme: str) -> list[Trace]:
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


def heatmap(mark: Heatmap, across: Span, up: Span) -> Trace:
    """A heatmap; the colours of a log scale are of the decimal logarithm, the pointer reads the value itself.

    Args:
        mark: the heatmap.
        across: the panel's horizontal domain.
        up: its vertical domain.
    """
    log = mark.scale == "log"
    shown = mark.shown
    values = np.log10(shown, out=np.full(shown.shape, np.nan), where=shown > 0) if log else shown
    return {
        "type": "heatmap",
        "x": packed(mark.x),
        "y": [html.escape(name) for name in mark.rows],
        "z": packed(values),
        "colorscale": HEAT,
        "colorbar": colour_bar(mark.label, across, up) | (_decades(values) if log else {}),
        "hoverongaps": False,
        "name": html.escape(mark.label),
        "hovertemplate": f"%{{y}}, %{{x}}<br>{'%{customdata:.3g}' if log else '%{z:.3g}'}<extra></extra>",
        **({"customdata": packed(shown)} if log else {}),
    }


def colour_bar(label: str, across: Span, up: Span) -> dict[str, Any]:
    """A colour bar at the right of a panel, as high as it."""
    return {
        "title": {"text": html.escape(label), "side": "right", "font": {"size": 12}},
        "x": across[1] + 0.01,
        "xanchor": "left",
        "y": (up[0] + up[1]) / 2,
        "len": up[1] - up[0],
        "thickness": 10,
        "outlinewidth": 0,
        "tickfont": {"size": 12},
    }


def _decades(logs: Floats) -> dict[str, Any]:
    known = logs[np.isfinite(logs)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    at = np.arange(np.ceil(low), np.floor(high) + 1)
    if len(at) < 2:  # within a decade
        at = np.linspace(low, high, 4)
    return {"tickvals": at.tolist(), "ticktext": [f"{10**x:.3g}" for x in at.tolist()]}
