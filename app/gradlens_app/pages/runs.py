"""Which runs are there? A table to filter, sort and compare, and the choice that the other pages show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html, no_update

from gradlens_app import layout, pace, table
from gradlens_app.data import Data, Entry
from gradlens_app.names import accessible_name
from gradlens_app.page import Page
from gradlens_app.runs_said import said
from gradlens_app.table_state import filters, resorted, sorting
from gradlens_app.view import MOST_RUNS, View, ViewError

FILL_SECONDS = 0.8
SOON_MS = 100


def body(data: Data) -> html.Div:
    """The table; its numbers follow."""
    entries = data.listing().entries
    return html.Div(
        [
            html.Div(
                [
                    html.Div([html.H1(PAGE.title), html.P(PAGE.question, className="lead")]),
                    html.Div(id="compare", className="push"),
                ],
                className="page-head",
            ),
            html.Div([_find(), _columns_picker(entries), _baseline_picker(entries)], className="bar table-bar"),
            html.Div(table.grid(entries), className="table", role="region", **accessible_name("Recorded runs")),
            html.P("", id="table-foot", className="foot"),
            html.Div(id="table-problems"),
            dcc.Store(id="asked"),
            dcc.Store(id="restored"),
            dcc.Store(id="rows"),
            dcc.Interval(id="fill", interval=SOON_MS, disabled=False),
            *pace.stores("rows"),
        ]
    )


def _find() -> html.Div:
    box = dmc.TextInput(
        id="find",
        placeholder="Filter by any text",
        value="",
        debounce=200,
        size="xs",
        className="find",
        **accessible_name("Filter the runs"),
    )
    return html.Div([html.Span("filter", className="control-label"), box], className="control")


def _columns_picker(entries: Sequence[Entry]) -> html.Div:
    box = dmc.MultiSelect(
        id="columns",
        data=table.column_options(entries),
        value=None,
        placeholder="config columns",
        searchable=True,
        size="xs",
        className="choice several",
        comboboxProps={"shadow": "none", "width": 280, "position": "bottom-start"},
        **accessible_name("Config columns shown"),
    )
    return html.Div([html.Span("columns", className="control-label"), box], className="control")


def _baseline_picker(entries: Sequence[Entry]) -> html.Div:
    box = dmc.Select(
        id="baseline",
        data=table.run_options(entries),
        value=None,
        placeholder="none",
        searchable=True,
        clearable=True,
        limit=200,
        size="xs",
        className="choice",
        comboboxProps={"shadow": "none", "width": 300, "position": "bottom-start"},
        **accessible_name("Baseline, pinned on top, that others are compared with"),
    )
    return html.Div([html.Span("baseline", className="control-label"), box], className="control")


def connect(app: Dash, data: Data) -> None:
    """Fill the table, keep its state in the address, and offer the comparison of what is selected."""
    _connect_rows(app, data)

    @app.callback(Output("compare", "children"), Input("run-table", "selectedRows"), State("prefix", "data"))
    def offer(rows: list[Mapping[str, str]] | dict[str, list[str]] | None, prefix: str) -> object:
        keys = rows.get("ids", []) if isinstance(rows, dict) else [row["key"] for row in rows or ()]
        if not keys:
            return html.Span("Select runs to compare", className="quiet")
        if len(keys) > MOST_RUNS:
            return html.Span(f"{len(keys)} runs selected; a page shows up to {MOST_RUNS}", className="quiet")
        return dcc.Link(
            ["Compare in Dynamics", html.Span(f"{len(keys)}", className="count")],
            href=f"{prefix}dynamics?runs=" + ",".join(keys),
            className="button strong",
        )

    app.clientside_callback(
        ClientsideFunction("gradlens", "tableToAddress"),
        Output("go", "search", allow_duplicate=True),
        Input("run-table", "selectedRows"),
        Input("find", "value"),
        Input("columns", "value"),
        Input("baseline", "value"),
        Input("run-table", "columnState"),
        Input("run-table", "filterModel"),
        Input("restored", "data"),
        State("asked", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("gradlens", "quickFilter"),
        Output("run-table", "dashGridOptions"),
        Input("find", "value"),
        Input("run-table", "rowData"),
        State("baseline", "value"),
        State("run-table", "dashGridOptions"),
        prevent_initial_call=True,
    )


def _connect_rows(app: Dash, data: Data) -> None:
    @app.callback(
        Output("run-table", "rowData"),
        Output("run-table", "columnDefs"),
        Output("table-foot", "children"),
        Output("table-problems", "children"),
        Output("fill", "disabled"),
        Output("asked", "data"),
        Output("rows", "data"),
        pace.answered("rows"),
        pace.tick("rows"),
        State("columns", "value"),
        State("baseline", "value"),
        State("run-table", "columnDefs"),
        State("asked", "data"),
        State("rows", "data"),
    )
    def fill(
        tick: int,
        columns: list[str] | None,
        baseline: str | None,
        known: list[Mapping[str, Any]] | None,
        asked: object,
        has: str | None,
    ) -> tuple[object, ...]:
        listing = data.listing()
        rows = table.rows(data, listing.entries, columns, baseline or "", FILL_SECONDS)
        problems = (*listing.problems, *said(data, rows.read, ()))
        left = len(listing.entries) - len(rows.read) - rows.broken
        foot = f"{left:,} of {len(listing.entries):,} runs still to be read." if left else table.foot(listing.entries)
        same = list(map(_kind, known or ())) == list(map(_kind, rows.columns))
        now = hashlib.sha256(json.dumps([rows.data, rows.columns, foot, problems]).encode()).hexdigest()[:16]
        if now == has and asked is not None:
            return (no_update,) * 7 + (tick,)
        return (
            list(rows.data),
            no_update if same else list(rows.columns),
            foot,
            layout.problem_panel(problems),
            not left,
            {} if asked is None else no_update,
            now,
            tick,
        )

    also = [Input("columns", "value"), Input("baseline", "value")]
    pace.connect(app, "rows", ["fill", "live"], also=also)

    @app.callback(
        Output("find", "value"),
        Output("columns", "value"),
        Output("baseline", "value"),
        Output("run-table", "selectedRows"),
        Output("run-table", "columnState"),
        Output("run-table", "filterModel"),
        Output("restored", "data"),
        Input("asked", "data"),
        State("address", "search"),
        State("run-table", "columnState"),
        prevent_initial_call=True,
    )
    def restore(
        asked: Mapping[str, Any] | None, search: str | None, columns: list[dict[str, Any]] | None
    ) -> tuple[object, ...]:
        """What the address says, once, and after Back and Forward: else the table writes it."""
        back = (asked or {}).get("search")
        try:
            view = View.parse((search if back is None else back) or "")
            chosen = filters(view)
        except ViewError:
            view, chosen = View(), {}

        def absent(value: object) -> object:
            # At first, what the address does not say stays as it is: who was quick to write or to choose keeps that.
            return no_update if back is None else value

        return (
            view.given.get("find", absent("")),
            list(view.words("columns")) if "columns" in view.given else absent([]),
            view.baseline or absent(None),
            {"ids": list(view.keys)} if view.keys else absent([]),
            resorted(columns, sorting(view)) if back is not None else sorting(view) or no_update,
            chosen or absent({}),
            asked,  # which question this answers: the reader may have gone on meanwhile
        )


def _kind(column: Mapping[str, Any]) -> tuple[object, object]:
    """What a column holds, and whether as numbers."""
    return column["field"], column.get("filter")


PAGE = Page(
    path="/",
    title="Runs",
    question=f"Which runs are there, and how did they end? Choose up to {MOST_RUNS} to see on the other pages.",
    body=body,
    connect=connect,
)
