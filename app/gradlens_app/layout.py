"""What surrounds every page: header, rail, theme; and the pages that say why there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from gradlens_app import pace
from gradlens_app.names import accessible_name
from gradlens_app.page import Page, Tile

FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
LIVE_MS = 2000

_RECORD = """import gradlens

with gradlens.Recorder(model, optimizer, "runs") as recorder:
    for x, y in loader:
        optimizer.zero_grad()
        loss = recorder.loss(compute, x, y)
        loss.backward()
        optimizer.step()"""


def frame(root_name: str, pages: Sequence[Page], prefix: str, *, there: bool) -> dmc.MantineProvider:
    """The page around the pages.

    Args:
        root_name: names of the folders served, without their paths.
        pages: in the order of the rail.
        prefix: what every address begins with.
        there: whether there are runs.
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
            *_state(prefix, there=there),
            html.A("Skip to the page", href="#page", className="skip"),
            _header(root_name, prefix),
            html.Div([_rail(pages, prefix), html.Main(id="page", className="page", tabIndex=-1)], className="columns"),
        ],
    )


def _state(prefix: str, *, there: bool) -> list[Any]:
    """What is not seen: the address, and what the callbacks tell each other."""
    return [
        # One location reads the address, the other writes it, so that choosing runs makes no circle of callbacks.
        dcc.Location(id="address", refresh=False),
        dcc.Location(id="go", refresh="callback-nav"),
        dcc.Store(id="theme"),
        dcc.Store(id="cursor"),
        dcc.Store(id="there", data=there),
        dcc.Store(id="until", data=None),
        dcc.Store(id="chosen", data={}),
        dcc.Store(id="drawn"),
        dcc.Store(id="prefix", data=prefix),
        dcc.Interval(id="live", interval=LIVE_MS),
        *pace.stores("poll"),
    ]


def _header(root_name: str, prefix: str) -> html.Header:
    live = "read anew every 2 s what has been recorded"
    link = "an address that holds everything that is shown"
    return html.Header(
        [
            html.Img(src=f"{prefix}assets/mark.svg", alt="", className="mark"),
            html.Span("gradlens", className="name"),
            html.Span(root_name, className="tag", title="the folder of runs"),
            html.Span("", id="run-count", className="quiet"),
            html.Span(className="push"),
            html.Button("live", id="live-switch", className="button live", type="button", title=live),
            html.Button("Copy link", className="button copy", type="button", title=link),
            html.Button("Dark theme", id="theme-switch", className="button", type="button"),
        ],
        className="header",
    )


def _rail(pages: Sequence[Page], prefix: str) -> html.Nav:
    links = [
        dcc.Link(
            page.title,
            href=prefix.rstrip("/") + page.path,
            id={"type": "rail", "path": page.path},
            className="rail-link",
        )
        for page in pages
    ]
    return html.Nav(links, className="rail", **accessible_name("Pages"))


def tile(shown: Tile) -> html.Div:
    """A tile of the answer."""
    values: list[Any] = []
    for index, (text, role, whose) in enumerate(shown.values):
        values += [html.Span(" → ", className="arrow")] if index else []
        values.append(html.Span(text, className=f"run-colour {role}" if role else "", title=whose))
    return html.Div(
        className="tile",
        children=[
            html.Div(shown.title, className="tile-title"),
            html.Div(values, className="tile-value"),
            *(html.Div(note, className="tile-note") for note in shown.notes),
        ],
    )


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
            html.Pre(_RECORD, tabIndex=0, **accessible_name("Example of a recording loop")),
            html.P(["For runs to look at in a few minutes: ", html.Code("gradlens demo"), "."]),
            problem_panel(problems),
        ],
    )


def missing_page(prefix: str) -> html.Div:
    """For an address that leads nowhere."""
    return html.Div(
        className="empty",
        children=[
            html.H1("No such page"),
            html.P(["This address leads nowhere. ", dcc.Link("See the runs", href=prefix), "."]),
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
