"""What surrounds every page: header, rail, theme; and the pages that say why there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

PAGES = {"/": "Runs", "/dynamics": "Dynamics"}
FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"

_RECORD = """import gradlens

with gradlens.Recorder(model, optimizer, "runs") as recorder:
    for x, y in loader:
        optimizer.zero_grad()
        loss = recorder.loss(compute, x, y)
        loss.backward()
        optimizer.step()"""


def frame(root_name: str) -> dmc.MantineProvider:
    """The page around the pages.

    Args:
        root_name: name of the folder served, without its path.
    """
    return dmc.MantineProvider(
        id="provider",
        theme={
            "fontFamily": FONT,
            "primaryColor": "dark",
            "primaryShade": {"light": 7, "dark": 2},
            "defaultRadius": 6,
            "cursorType": "pointer",
        },
        children=[
            # One location reads the address, the other writes it, so that choosing runs makes no circle of callbacks.
            dcc.Location(id="address", refresh=False),
            dcc.Location(id="go", refresh="callback-nav"),
            dcc.Store(id="theme"),
            html.A("Skip to the page", href="#page", className="skip"),
            html.Header(
                className="header",
                children=[
                    html.Img(src="/assets/mark.svg", alt="", className="mark"),
                    html.Span("gradlens", className="name"),
                    html.Span(root_name, className="tag", title="the folder of runs"),
                    html.Span("", id="run-count", className="quiet"),
                    html.Button("Dark theme", id="theme-switch", className="button push", type="button"),
                ],
            ),
            html.Div(
                className="columns",
                children=[
                    html.Nav(rail("/"), id="rail", className="rail", **accessible_name("Pages")),
                    html.Main(id="page", className="page", tabIndex=-1),
                ],
            ),
        ],
    )


def accessible_name(text: str) -> dict[str, Any]:
    """The attribute that names an element to a screen reader."""
    return {"aria-label": text}


def rail(path: str) -> list[dcc.Link]:
    """Links to the pages, the one at ``path`` marked."""
    return [
        dcc.Link(name, href=place, className="rail-link here" if place == path else "rail-link")
        for place, name in PAGES.items()
    ]


def empty_root(root_name: str, problems: Sequence[str]) -> html.Div:
    """Why there are no runs, and how to make one."""
    return html.Div(
        className="empty",
        children=[
            html.H1("No runs yet"),
            html.P(
                [
                    "The folder ",
                    html.Strong(root_name),
                    " holds no recorded run. A run appears here as soon as a recorder writes to this folder:",
                ]
            ),
            html.Pre(_RECORD),
            html.P(["For runs to look at in a few minutes: ", html.Code("gradlens demo"), ". Then reload this page."]),
            problem_panel(problems),
        ],
    )


def missing_page() -> html.Div:
    """For an address that leads nowhere."""
    return html.Div(
        className="empty",
        children=[
            html.H1("No such page"),
            html.P(["This address leads nowhere. ", dcc.Link("See the runs", href="/"), "."]),
        ],
    )


def problem_panel(problems: Sequence[str], most: int = 20) -> html.Div:
    """Sentences about what is broken or was lost, and that nothing else is."""
    if not problems:
        return html.Div()
    sentences = [html.Li(text) for text in problems[:most]]
    if len(problems) > most:
        sentences.append(html.Li(f"… and {len(problems) - most:,} more."))
    return html.Div(
        className="problems",
        role="status",
        children=[
            html.Strong("Damaged, lost or left out"),
            html.Ul(sentences),
            html.P("Everything else is shown in full."),
        ],
    )
