"""Figure panels as cards: a title, what is measured, the drawing, how many points, and downloads."""

from __future__ import annotations

from typing import Any

from dash import dcc, html

from gradlens.figures.figure import Figure, Limits
from gradlens.figures.plotly_renderer import render
from gradlens.schema import STEP_COLUMNS
from gradlens_app.dynamics_figure import CURVE_COLUMNS, CURVES, y_limits
from gradlens_app.layout import accessible_name
from gradlens_app.selection import Steps

CONFIG: Any = {
    "displayModeBar": False,
    "displaylogo": False,
    "doubleClick": "autosize",
    "responsive": True,
    "showTips": False,
    "scrollZoom": False,
}
_CLEAR = "rgba(0,0,0,0)"
_NOTHING = {
    "data": [],
    "layout": {
        "xaxis": {"visible": False},
        "yaxis": {"visible": False},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
    },
}


def card(figure: Figure, index: int) -> html.Section:
    """The place of one panel; its drawing, foot and links are filled in by the page."""
    panel = figure.panels[index]
    return html.Section(
        className="card",
        children=[
            html.Div(
                className="card-head",
                children=[
                    html.Div(
                        [
                            html.H2(panel.title),
                            html.P(_measured(panel.subtitle, index), className="card-subtitle", title=_meaning(index)),
                        ]
                    ),
                    html.Div([_download(panel.title, index, form) for form in ("csv", "pdf")], className="tools"),
                ],
            ),
            html.Div(
                dcc.Graph(
                    id={"type": "panel", "index": index}, figure=_NOTHING, config=CONFIG, style={"height": "100%"}
                ),
                className="plot",
                role="img",
                **accessible_name(f"{panel.title}: {panel.y.label} against {panel.x.label}"),
            ),
            html.P("", id={"type": "foot", "index": index}, className="foot"),
        ],
    )


def drawn(figure: Figure, index: int, theme: str, span: Steps, heights: Limits | None) -> dict[str, Any]:
    """One panel as Plotly draws it.

    Args:
        figure: the whole figure.
        index: which panel.
        theme: ``"light"`` or ``"dark"``.
        span: steps between which the curves' axis stays, however far they have grown.
        heights: limits of the curves' other axis, fixed for the same reason; None leaves it to Plotly.
    """
    picture = render(figure.only(index), theme)
    layout = picture["layout"]
    # A card has its own ground; the legend is in the page's head.
    layout |= {"paper_bgcolor": _CLEAR, "plot_bgcolor": _CLEAR, "showlegend": False}
    layout["yaxis"]["fixedrange"] = True
    if index < CURVES:
        layout["xaxis"] |= {"range": list(span), "autorange": False}
        if heights is not None:
            layout["yaxis"]["range"] = list(heights)
    else:
        layout["xaxis"]["fixedrange"] = True
        layout |= {"hovermode": "closest", "dragmode": False}
    # What the reader did to the axes is kept until other steps are chosen, by whatever panel.
    layout["uirevision"] = f"{span[0]}-{span[1]}"
    return picture


def heights(figure: Figure, index: int) -> Limits | None:
    """Limits of a curve panel's vertical axis."""
    return y_limits(figure.panels[index]) if index < CURVES else None


def _download(title: str, index: int, form: str) -> html.A:
    return html.A(
        form.upper(),
        id={"type": "export", "panel": index, "form": form},
        href="",
        className="tool",
        **accessible_name(f"{title} as {form.upper()}"),
    )


def _measured(subtitle: str, index: int) -> str:
    if index >= CURVES:
        return subtitle
    return f"{subtitle} · {STEP_COLUMNS[CURVE_COLUMNS[index]].measured}"


def _meaning(index: int) -> str:
    names = CURVE_COLUMNS[index : index + 1] if index < CURVES else ("grad_norm", "smoothness")
    return " ".join(f"{STEP_COLUMNS[name].label}: {STEP_COLUMNS[name].meaning}" for name in names)
