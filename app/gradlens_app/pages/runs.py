"""The run table: what there is, sorted and filtered, and the way to a comparison."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import dash_ag_grid as dag
from dash import Dash, Input, Output, State, dcc, html, no_update

from gradlens.clipping import describe
from gradlens.store import Run
from gradlens_app import layout
from gradlens_app.catalogue import Catalogue, Entry, Listing, Overview
from gradlens_app.numbers import MISSING
from gradlens_app.selection import MOST_RUNS, Selection

logger = logging.getLogger(__name__)

PATH = "/"
FILL_SECONDS = 0.8
REFRESH_MS = 3000

# The cell formatters below are Dash AG Grid expressions, interpreted without eval.
_THREE = "params.value == null ? '–' : d3.format(Math.abs(params.value) < 0.001 ? '.3g' : ',.3r')(params.value)"
_SHARE = "params.value == null ? '–' : d3.format('.1f')(params.value * 100) + ' %'"
_COUNT = "params.value == null ? '–' : d3.format(',')(params.value)"

_NUMBERS: tuple[tuple[str, str, str, str], ...] = (
    ("steps", "steps", _COUNT, "optimizer steps recorded"),
    ("final_loss", "final loss", _THREE, "mean training loss over the last 5 % of the steps"),
    ("step_variation", "variation", _THREE, "step-size variation: sd / mean of the update norm, first 5 % left out"),
    ("clipped", "clipped", _SHARE, "share of the steps whose gradient norm was above the threshold"),
    ("overhead", "overhead", _SHARE, "share of a step that recording took, medians"),
)

_GRID_THEME = """themeQuartz.withParams({
    backgroundColor: 'var(--card)', foregroundColor: 'var(--ink)', headerTextColor: 'var(--muted)',
    headerBackgroundColor: 'var(--card)', borderColor: 'var(--line)', accentColor: 'var(--accent)',
    fontFamily: 'inherit', fontSize: 13, headerFontSize: 12, headerFontWeight: 500, wrapperBorderRadius: 8,
    rowHoverColor: 'var(--hover)', selectedRowBackgroundColor: 'var(--chosen)', columnBorder: false, spacing: 6,
    cellHorizontalPaddingScale: 0.5, popupShadow: 'none', cardShadow: 'none', menuBackgroundColor: 'var(--card)'
})"""


def page(listing: Listing) -> html.Div:
    """The table of a listing; its numbers follow."""
    return html.Div(
        [
            html.Div(
                className="page-head",
                children=[
                    html.Div(
                        [
                            html.H1("Runs"),
                            html.P(
                                f"Choose up to {MOST_RUNS} runs; a pair is one without and one with clipping.",
                                className="lead",
                            ),
                        ]
                    ),
                    html.Div(id="compare", className="push"),
                ],
            ),
            html.Div(
                className="table",
                role="region",
                children=_table(listing.entries),
                **layout.accessible_name("Recorded runs"),
            ),
            html.P("", id="table-foot", className="foot"),
            html.Div(id="table-problems"),
            dcc.Interval(id="fill", interval=REFRESH_MS, disabled=True),
        ]
    )


def add_callbacks(app: Dash, catalogue: Catalogue) -> None:
    """Fill the table, and offer the comparison of what is selected."""

    @app.callback(
        Output("run-table", "rowData"),
        Output("table-foot", "children"),
        Output("table-problems", "children"),
        Output("fill", "disabled"),
        Output("fill", "interval"),
        Output("run-table", "columnDefs"),
        Input("fill", "n_intervals"),
        State("run-table", "columnDefs"),
    )
    def fill(_n: int | None, columns: list[Mapping[str, Any]] | None) -> tuple[object, ...]:
        listing = catalogue.listing()
        overviews = catalogue.overviews(listing.entries, FILL_SECONDS)
        names = _config_names(listing.entries)
        rows = [_row(entry, overviews.get(entry.key), names) for entry in listing.entries]
        problems = [
            f"{entry.run.name}: {text}"
            for entry in listing.entries
            if entry.key in overviews
            for text in overviews[entry.key].problems
        ]
        left = len(rows) - len(overviews)
        running = any(row["status"] == "running" for row in rows)
        foot = f"{left:,} of {len(rows):,} runs still to be read." if left else _foot(listing.entries)
        panel = layout.problem_panel([*listing.problems, *problems])
        wanted = _columns(names)  # a run that came meanwhile may differ from the others where they were alike
        known = [column["field"] for column in columns or ()] == [column["field"] for column in wanted]
        return rows, foot, panel, not (left or running), 100 if left else REFRESH_MS, no_update if known else wanted

    @app.callback(Output("compare", "children"), Input("run-table", "selectedRows"))
    def offer(rows: list[Mapping[str, str]] | None) -> object:
        keys = tuple(row["key"] for row in rows or ())
        if not keys:
            return html.Span("Select runs to compare", className="quiet")
        if len(keys) > MOST_RUNS:
            return html.Span(f"{len(keys)} runs selected; the page compares up to {MOST_RUNS}", className="quiet")
        return dcc.Link(
            ["Compare in Dynamics", html.Span(f"{len(keys)}", className="count")],
            href="/dynamics" + Selection(keys).query(),
            className="button strong",
        )


def _table(entries: Sequence[Entry]) -> dag.AgGrid:
    names = _config_names(entries)
    return dag.AgGrid(
        id="run-table",
        rowData=[_row(entry, None, names) for entry in entries],
        columnDefs=_columns(names),
        getRowId="params.data.key",
        defaultColDef={"sortable": True, "filter": True, "resizable": True, "minWidth": 64},
        columnSize="autoSize",
        dashGridOptions={
            "theme": {"function": _GRID_THEME},
            "domLayout": "autoHeight" if len(entries) <= 40 else "normal",
            "rowHeight": 38,
            "headerHeight": 38,
            "selectionColumnDef": {"pinned": "left", "width": 44, "headerTooltip": "choose runs to compare"},
            "rowSelection": {"mode": "multiRow", "enableClickSelection": False},
            "animateRows": False,
            "suppressColumnVirtualisation": True,  # a column is measured only once it is drawn
            "suppressFieldDotNotation": True,
            "enableCellTextSelection": True,
            "ensureDomOrder": True,
        },
        style={"height": None if len(entries) <= 40 else "calc(100vh - 220px)"},
    )


def _columns(names: Sequence[str]) -> list[dict[str, Any]]:
    def number(field: str, title: str, formatter: str, meaning: str) -> dict[str, Any]:
        return {
            "field": field,
            "headerName": title,
            "headerTooltip": meaning,
            "filter": "agNumberColumnFilter",
            "valueFormatter": {"function": formatter},
            "cellClass": "number ag-right-aligned-cell",
            "headerClass": "ag-right-aligned-header",
        }

    config = [
        {
            "field": _field(name),
            "headerName": name,
            "headerTooltip": "from the run's config",
            "cellClass": "number",
        }
        for name in names
    ]
    return [
        {"field": "name", "headerName": "name", "pinned": "left", "tooltipField": "name", "maxWidth": 260},
        {"field": "status", "headerName": "status"},
        {"field": "clip", "headerName": "clip rule"},
        *config,
        *(number(*each) for each in _NUMBERS),
        {"field": "created", "headerName": "created", "headerTooltip": "local time", "cellClass": "number"},
    ]


def _config_names(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Entries of the configs that differ between the runs: they are what a table is read for."""
    return tuple(name for name, values in _config(entries).items() if len(values) > 1 or len(entries) == 1)


def _config(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Every entry of the configs with the values it takes."""
    names = dict.fromkeys(str(name) for entry in entries for name in entry.run.config)
    return {name: {str(e.run.config[name]) for e in entries if name in e.run.config} for name in names}


def _row(entry: Entry, overview: Overview | None, names: Sequence[str]) -> dict[str, Any]:
    run = entry.run
    summary = overview.summary if overview else None
    row: dict[str, Any] = {
        "key": entry.key,
        "name": run.name,
        "status": _status(run),
        "clip": describe(run.clip),
        "created": _local(run.created),
    }
    row |= {_field(name): _cell(run.config.get(name)) for name in names}
    return row | {field: _number(getattr(summary, field, None)) for field, *_ in _NUMBERS}


def _field(name: str) -> str:
    """Where a row of the table keeps an entry of its run's config."""
    return f"config {name}"


def _status(run: Run) -> str:
    try:
        return run.status
    except Exception:  # one run's odd files must not take the table of all others down
        logger.exception("run %s does not say how it is doing", run.run_id)
        return "unknown"


def _local(seconds: float) -> str:
    """Seconds since 1970 in local time, ``–`` where no calendar has such a time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return MISSING


def _cell(value: object) -> object:
    """A config entry as a cell: numbers sort as numbers, anything else is text."""
    if value is None or (isinstance(value, (str, int)) and not isinstance(value, bool)):
        return value
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _foot(entries: Sequence[Entry]) -> str:
    same = [f"{name} {min(values)}" for name, values in _config(entries).items() if len(values) == 1]
    text = "Losses are means of the last 5 % of the steps; compare arms each at its own best learning rate."
    return f"{text} The same wherever given: {', '.join(same)}."[:600] if same and len(entries) > 1 else text
