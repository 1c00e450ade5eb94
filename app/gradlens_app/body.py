"""What a page of charts is made of: head, controls, places for tiles and charts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from gradlens_app import chart as charts
from gradlens_app import pace
from gradlens_app.controls import Choice, as_text, shown
from gradlens_app.data import Data, Entry
from gradlens_app.looking import Shown, cursor_of, look
from gradlens_app.names import accessible_name, colours, labels, options, swatch
from gradlens_app.page import Page

AGAIN_MS = 400
MOST_PILLS = 12


def body(page: Page, data: Data, path: str, search: str) -> html.Div:
    """A page of charts at an address; its drawings and numbers follow."""
    found = look(page, data, search)
    state = controls_of(page, data, found)
    bars, drags = ([c for c in page.controls if getattr(c, "drag", False) is drag] for drag in (False, True))
    return html.Div(
        [
            dcc.Store(id="view", data=view_of(found, search, path)),
            dcc.Store(id="names", data=[chart.name for chart in found.answer.charts]),
            dcc.Store(id="told", data=state.told),
            dcc.Store(id="many", data=len(found.entries) > MOST_PILLS),
            dcc.Interval(id="again", interval=AGAIN_MS, disabled=True),
            *pace.stores("words"),
            html.Div(
                [
                    html.Div([html.H1(page.title), html.P(page.question, className="lead")]),
                    html.Div(
                        [html.Div(picker_of(page, found, state), id="picker"), _export_menu()],
                        className="push head-tools",
                    ),
                ],
                className="page-head",
            ),
            html.Div(
                [
                    html.Div(legend_of(found.entries), id="legend", className="legends"),
                    html.Div([shown(c, state.of(c.name), found.view) for c in bars], className="bar"),
                ],
                className="toolbar",
            ),
            html.Div(
                [
                    html.Span("", id="zoom-text", role="status"),
                    html.Button("Show all", id="zoom-out", className="button", type="button"),
                ],
                id="zoomed",
                className="range hidden",
            ),
            html.Div(notes_of(found), id="notes", role="status"),
            html.Div(id="problems"),
            html.Div(
                [html.Div(className="tile") for _ in range(4)] if found.entries else [], id="tiles", className="tiles"
            ),
            html.Div([charts.card(chart) for chart in found.answer.charts], id="charts", className="cards"),
            *(html.Div([shown(c, state.of(c.name), found.view)], className="grow") for c in drags),
            html.P("", id="caption", className="caption"),
        ]
    )


def view_of(found: Shown, search: str | None, path: str | None) -> dict[str, str | None]:
    """What a page shows, as the browser keeps it: another cursor once a run changes, another head with its legend."""
    runs = [entry.run for entry in found.entries]
    head = repr((labels(runs), colours(found.entries), [run.run_id for run in runs], found.answer.notes))
    return {
        "search": search or "",
        "path": path,
        "cursor": cursor_of(found.entries),
        "head": hashlib.sha256(head.encode("utf-8", "backslashreplace")).hexdigest()[:16],
    }


def picker_of(page: Page, found: Shown, state: Controls) -> Any:
    """What chooses the runs; of many, how many they are: a page of a hundred pills is slow, and nobody reads them."""
    if len(found.entries) > MOST_PILLS:
        return html.Span(f"{len(found.entries)} runs, chosen on the Runs page", className="quiet")
    return dmc.MultiSelect(
        id={"type": "choice", "name": "runs"},
        placeholder="Choose runs",
        searchable=True,
        clearable=False,
        hidePickedOptions=True,
        maxValues=page.most,
        limit=200,
        nothingFoundMessage="No run of this name",
        className="picker",
        size="xs",
        comboboxProps={"shadow": "none", "width": 420, "position": "bottom-end"},
        **state.of("runs"),
        **accessible_name("Runs shown"),
    )


@dataclass(frozen=True, slots=True)
class Controls:
    """What the controls of a page show.

    Attributes:
        values: control -> value.
        options: control -> what it offers, of those that offer.
    """

    values: dict[str, Any]
    options: dict[str, list[dict[str, str]]]

    @property
    def told(self) -> dict[str, str]:
        """The values as fields of the address: what differs from them has been moved by the reader."""
        return {name: as_text(value) for name, value in self.values.items()}

    def of(self, name: str) -> dict[str, Any]:
        """A control's properties."""
        offered = {"data": self.options[name]} if name in self.options else {}
        return {"value": self.values[name], **offered}


def controls_of(page: Page, data: Data, found: Shown) -> Controls:
    """What the controls of a page show of an address."""
    runs = [entry.run for entry in found.entries]
    values = {control.name: control.value(found.view) for control in page.controls}
    offered = {c.name: c.data(runs) for c in page.controls if isinstance(c, Choice)}
    return Controls(
        {**values, "runs": [entry.key for entry in found.entries]},
        {**offered, "runs": options(data.listing().entries)},
    )


def notes_of(found: Shown) -> list[html.P]:
    """Sentences about what is shown."""
    return [html.P(note, className="note") for note in found.answer.notes]


def _export_menu() -> html.Details:
    links = [
        html.A(
            form.upper() + (", the numbers drawn" if form == "csv" else ""),
            href="#",
            className="menu-item save",
            download="",
            **accessible_name(f"All charts as {form.upper()}", data_chart="", data_form=form),
        )
        for form in charts.FORMS
    ]
    return html.Details(
        [html.Summary("Export figure", className="button strong"), html.Div(links, className="menu-items")],
        className="menu",
    )


def legend_of(entries: Sequence[Entry]) -> list[Any]:
    """A swatch a run."""
    runs = [entry.run for entry in entries]
    if not runs:
        return []
    swatches = [
        (swatch(role), text, f"{run.name}: {run.run_id}")
        for run, text, role in zip(runs, labels(runs), colours(entries), strict=True)
    ]
    return charts.legend(swatches)
