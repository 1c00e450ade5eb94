"""A chart on a page: its card with title, tools, foot and table, and the drawing as Plotly takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dash import dcc, html

from gradlens.figures.figure import Figure, Line
from gradlens.figures.joining import join_faint
from gradlens.figures.plotly_renderer import render
from gradlens.figures.table import Table
from gradlens_app.names import accessible_name
from gradlens_app.page import Chart
from gradlens_app.view import View

FORMS = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf", "svg": "image/svg+xml", "png": "image/png"}
CONFIG: Any = {
    "displayModeBar": False,
    "displaylogo": False,
    "doubleClick": "autosize",
    "responsive": True,
    "showTips": False,
    "scrollZoom": False,
}
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
_NOTHING = {
    "data": [],
    "layout": {
        "xaxis": {"visible": False},
        "yaxis": {"visible": False},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
    },
}


def part(kind: str, name: str) -> dict[str, str]:
    """The id of a part of a chart."""
    return {"type": kind, "name": name}


def card(chart: Chart) -> html.Section:
    """The place of a chart; its drawing, head and foot follow."""
    name = chart.name
    return html.Section(
        className="card",
        children=[
            html.Div(
                [html.H2(chart.title, id=part("title", name)), html.Div(_tools(chart), className="tools")],
                className="card-head",
            ),
            html.P("\u00a0", id=part("measured", name), className="card-subtitle"),
            html.Div(
                dcc.Graph(id=part("panel", name), figure=_NOTHING, config=CONFIG, style={"height": "100%"}),
                id=part("plot", name),
                className="plot waiting",
                tabIndex=0 if chart.curves else -1,
                role="group",
                **accessible_name(
                    f"{chart.title}, chart; its numbers are in the table below",
                    data_curves="yes" if chart.curves else "no",
                ),
            ),
            html.P("", id=part("foot", name), className="foot"),
            dcc.Store(id=part("asked", name)),
            html.Details(
                [
                    html.Summary(
                        "Numbers",
                        id=part("open", name),
                        n_clicks=0,
                        **accessible_name(f"{chart.title}: numbers as a table"),
                    ),
                    html.Div(id=part("table", name), className="numbers"),
                ],
                className="behind",
            ),
        ],
    )


def picture(chart: Chart, figure: Figure, theme: str, view: View) -> dict[str, Any]:
    """A chart as Plotly draws it.

    Args:
        chart: whose figure it is.
        figure: of one panel.
        theme: ``"light"`` or ``"dark"``.
        view: gives the zoom.
    """
    panel = figure.panels[0]
    lines = sum(isinstance(mark, Line) and not mark.faint for mark in panel.marks)
    if chart.curves and view.window is not None:
        panel = replace(panel, x=replace(panel.x, limits=view.window))
    if lines > FEW_LINES:  # a browser takes long over many dashed lines, and nobody tells them apart by that
        panel = replace(panel, marks=tuple(replace(m, dashed=False) if isinstance(m, Line) else m for m in panel.marks))
    drawn = render(replace(figure, panels=(join_faint(panel),), columns=1), theme)
    layout = drawn["layout"]
    # A card has its own ground; what the runs' colours mean stands in the page's head.
    layout |= {"paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR, "showlegend": chart.legend, "legend": _LEGEND}
    layout["yaxis"]["fixedrange"] = True
    if chart.curves:
        layout["hovermode"] = "x unified" if lines <= FEW_LINES else "closest"
    else:
        layout["xaxis"]["fixedrange"] = True
        layout |= {"hovermode": "closest", "dragmode": False}
    # What the reader did to the axes is kept until another window, clock or scale is asked for, by whatever chart.
    layout["uirevision"] = f"{view.window}{view.clock}{chart.scales(view)}"
    return drawn


def table(found: Table) -> html.Table:
    """Numbers of a panel, for those who do not see it."""
    rows = [html.Tr([html.Th(row[0], scope="row"), *(html.Td(text) for text in row[1:])]) for row in found.rows]
    return html.Table(
        [
            html.Caption(found.caption),
            html.Thead(html.Tr([html.Th(text, scope="col") for text in found.head])),
            html.Tbody(rows),
        ]
    )


def legend(swatches: Sequence[tuple[str, str, str]], most: int = 10) -> list[Any]:
    """A swatch a run, as (classes, name, title)."""
    shown: list[Any] = [
        html.Span([html.Span(className=classes), text], className="legend", title=title)
        for classes, text, title in swatches[:most]
    ]
    left = len(swatches) - most
    return [*shown, html.Span(f"and {left} more", className="quiet")] if left > 0 else shown


def _tools(chart: Chart) -> list[Any]:
    flips = [
        html.Button(
            f"log {axis}",
            id=part("flip", f"{chart.name}:{axis}"),
            type="button",
            className="tool flip",
            **accessible_name(f"{chart.title}: logarithmic {axis} axis", aria_pressed="true" if on else "false"),
        )
        for axis, on in (zip("xy", chart.log, strict=True) if chart.log is not None else ())
    ]
    saves = [
        html.A(
            form.upper(),
            href="#",
            className="tool save",
            download="",
            **accessible_name(f"{chart.title} as {form.upper()}", data_chart=chart.name, data_form=form),
        )
        for form in FORMS
    ]
    full = html.Button(
        "⤢", type="button", className="tool full", title="Full screen", **accessible_name(f"{chart.title}: full screen")
    )
    return [*flips, *saves, full]
