"""A chart on a page: its card with title, tools, foot and table, and the drawing as Plotly takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from dash import html

from gradlens.figures.figure import Figure, Line, Panel, Rule, Text
from gradlens.figures.joining import Joined, join_curves, join_faint
from gradlens.figures.plotly_renderer import render
from gradlens_app.page import Chart
from gradlens_app.view import View

FORMS = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png"}
FEW_LINES = 8
"""So many curves are named together at the pointer; of more, the nearest one."""
_CLEAR = "rgba(0,0,0,0)"
_LEGEND = {
    "orientation": "h",
    "x": 0,
    "xanchor": "left",
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "itemclick": False,
    "itemdoubleclick": False,
}


_MARGIN = {"l": 56, "r": 24, "t": 20, "b": 46}
"""Room for ticks and titles: Plotly draws a second time where it finds too little."""


def card(chart: Chart) -> html.Section:
    """The place of a chart, which the browser fills: see ``assets/cards.js`` and ``assets/charts.js``."""
    said: dict[str, Any] = {
        "data-name": chart.name,
        "data-title": chart.title,
        "data-flips": "xy" if chart.log is not None else "",
        "data-curves": "yes" if chart.curves else "no",
    }
    return html.Section(className="card", **said)


def picture(chart: Chart, figure: Figure, theme: str, view: View) -> dict[str, Any]:
    """A chart as Plotly draws it.

    Args:
        chart: whose figure it is.
        figure: of one panel.
        theme: ``"light"`` or ``"dark"``.
        view: gives the zoom.
    """
    panel = figure.panels[0]
    sentences = [mark.text for mark in panel.marks if isinstance(mark, Text)]
    if len(sentences) == len(panel.marks):  # the browser breaks lines where the card ends, Plotly does not
        return {"data": [], "layout": {"meta": {"sentence": " ".join(sentences)}}}
    lines = sum(isinstance(mark, Line) and not mark.faint for mark in panel.marks)
    if chart.curves and view.window is not None:
        panel = replace(panel, x=replace(panel.x, limits=view.window))
    # A browser takes long over many lines, and nobody tells as many apart by dashes.
    panel, curves = join_curves(panel) if lines > FEW_LINES else (join_faint(panel), ())
    drawn = render(replace(figure, panels=(panel,), columns=1), theme)
    layout = drawn["layout"]
    # A card has its own ground; which colour is which run stands in the page's head.
    layout["margin"] = _MARGIN
    layout |= {"paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR, "showlegend": chart.legend, "legend": _LEGEND}
    for axis in (layout["xaxis"], layout["yaxis"]):
        axis["ticklabeloverflow"] = "allow"  # else Plotly measures every label, and the browser lays out each time
    layout["yaxis"]["fixedrange"] = True
    if chart.curves:
        layout["hovermode"] = "x unified" if lines <= FEW_LINES else "closest"
    else:
        layout["xaxis"]["fixedrange"] = True
        layout |= {"hovermode": "closest", "dragmode": False}
    layout["meta"] = _handle(chart, layout["shapes"]) | _named(panel, curves, drawn["data"])
    # What the reader did to the axes is kept until another window, clock or scale is asked for, by whatever chart.
    layout["uirevision"] = f"{view.window}{view.clock}{chart.scales(view)}"
    return drawn


def _named(panel: Panel, curves: Sequence[Joined], traces: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Which curve a point of a joined trace is on; the page then names it, in the place of Plotly."""
    found = []
    for each in curves:
        trace = sum(not isinstance(mark, (Rule, Text)) for mark in panel.marks[: each.place])
        traces[trace]["hoverinfo"], traces[trace]["hovertemplate"] = "none", None
        found.append({"trace": trace, "starts": each.starts, "names": each.labels})
    return {"curves": found} if found else {}


def _handle(chart: Chart, shapes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Which of the drawing's shapes is the chart's handle, and what it sets; nothing where it is not drawn."""
    handle = chart.handle
    ends = () if handle is None else (f"{handle.along}0", f"{handle.along}1")
    lines = [
        place
        for place, shape in enumerate(shapes)
        if ends and shape["type"] == "line" and len({*map(shape.get, ends)}) == 1
    ]
    return {"handle": asdict(handle) | {"shape": lines[0]}} if handle is not None and lines else {}


def legend(swatches: Sequence[tuple[str, str, str]], most: int = 10) -> list[Any]:
    """A swatch a run, as (classes, name, title)."""
    shown: list[Any] = [
        html.Span([html.Span(className=classes), text], className="legend", title=title)
        for classes, text, title in swatches[:most]
    ]
    left = len(swatches) - most
    return [*shown, html.Span(f"and {left} more", className="quiet")] if left > 0 else shown
