"""The table of runs: its columns, its rows, and how they compare with a baseline."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dash_ag_grid as dag

from gradlens.analysis import Summary, relative, summarize
from gradlens.clipping import describe
from gradlens_app.data import Data, Entry
from gradlens_app.names import options
from gradlens_app.numbers import MISSING
from gradlens_app.runs_said import status_of
from gradlens_app.shared import config_names

# The cell formatters below are Dash AG Grid expressions, interpreted without eval.
_THREE = "params.value == null ? '–' : d3.format(Math.abs(params.value) < 1e-3 ? '.3g' : ',.3r')(params.value)"
_SHARE = (  # as numbers.percent
    "params.value == null ? '–' : params.value == 0 || params.value == 1 ? params.value * 100 + ' %' : "
    "params.value > 0 && params.value < 1e-3 ? d3.format('.2~r')(params.value * 100) + ' %' : "
    "d3.format('.1f')(params.value < 1 ? Math.min(params.value * 100, 99.9) : params.value * 100) + ' %'"
)
_COUNT = "params.value == null ? '–' : d3.format(',')(params.value)"
_CHANGE = "params.value == null ? '–' : d3.format('+.1f')(params.value * 100) + ' %'"

_NUMBERS: tuple[tuple[str, str, str, str], ...] = (
    ("steps", "steps", _COUNT, "optimizer steps recorded"),
    ("final_loss", "final loss", _THREE, "mean training loss over the last 5 % of the steps"),
    ("step_variation", "variation", _THREE, "step-size variation: sd / mean of the update norm, first 5 % left out"),
    ("clipped", "clipped", _SHARE, "share of the steps whose gradient norm was above the threshold"),
    ("overhead", "overhead", _SHARE, "share of a step that recording took, medians"),
)
_COMPARED = ("final_loss", "step_variation", "clipped")

_AT_RIGHT = {"cellClass": "number ag-right-aligned-cell", "headerClass": "ag-right-aligned-header"}

_GRID_THEME = """themeQuartz.withParams({
    backgroundColor: 'var(--card)', foregroundColor: 'var(--ink)', headerTextColor: 'var(--muted)',
    headerBackgroundColor: 'var(--card)', borderColor: 'var(--line)', accentColor: 'var(--accent)',
    fontFamily: 'inherit', fontSize: 13, headerFontSize: 12, headerFontWeight: 500, wrapperBorderRadius: 8,
    rowHoverColor: 'var(--hover)', selectedRowBackgroundColor: 'var(--chosen)', columnBorder: false, spacing: 6,
    iconSize: 13,
    cellHorizontalPaddingScale: 0.5, popupShadow: 'none', cardShadow: 'none', menuBackgroundColor: 'var(--card)'
})"""
_FEW = 40
_FOOT = 600


@dataclass(frozen=True, slots=True)
class Rows:
    """What the table holds.

    Attributes:
        data: a row a run.
        columns: their definitions.
        read: the runs whose numbers are known by now.
        broken: how many could not be read.
    """

    data: tuple[dict[str, Any], ...]
    columns: tuple[dict[str, Any], ...]
    read: tuple[Entry, ...]
    broken: int


def grid(entries: Sequence[Entry]) -> dag.AgGrid:
    """The table of some runs, before their numbers are known."""
    names = _chosen(entries, None)
    return dag.AgGrid(
        id="run-table",
        rowData=[_row(entry, None, None, names) for entry in entries],
        columnDefs=_columns(entries, names, compared=False),
        getRowId="params.data.key",
        defaultColDef={"sortable": True, "filter": True, "resizable": True, "minWidth": 64},
        columnSize="autoSize",
        dashGridOptions={
            "theme": {"function": _GRID_THEME},
            "domLayout": "autoHeight" if len(entries) <= _FEW else "normal",
            "rowHeight": 38,
            "headerHeight": 38,
            "selectionColumnDef": {"pinned": "left", "width": 44, "headerTooltip": "choose runs to compare"},
            "rowSelection": {"mode": "multiRow", "enableClickSelection": False, "selectAll": "filtered"},
            "animateRows": False,
            "suppressColumnVirtualisation": True,  # a column is measured only once it is drawn
            "suppressFieldDotNotation": True,
            "enableCellTextSelection": True,
            "ensureDomOrder": True,
        },
        style={"height": None if len(entries) <= _FEW else "calc(100vh - 260px)"},
    )


def rows(data: Data, entries: Sequence[Entry], columns: Sequence[str] | None, baseline: str, seconds: float) -> Rows:
    """The rows of all runs, the baseline first; numbers of runs that are not reached in time are left out.

    Args:
        data: asked for the numbers.
        entries: the runs.
        columns: config entries to show; those that differ between the runs if None.
        baseline: key of the run to compare with, empty for none.
        seconds: when to stop reading.
    """
    names = _chosen(entries, columns)
    found = data.ask_each(summarize, entries, seconds=seconds)
    known: dict[str, Summary] = dict(zip((entry.key for entry in found.entries), found.answers, strict=True))
    base = known.get(baseline)
    first = [entry for entry in entries if entry.key == baseline]
    ordered = (*first, *(entry for entry in entries if entry.key != baseline))
    return Rows(
        tuple(_row(entry, known.get(entry.key), base, names) for entry in ordered),
        tuple(_columns(entries, names, compared=bool(baseline))),
        found.entries,
        len(found.problems),
    )


def column_options(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """The config entries that can be columns."""
    return [{"value": name, "label": name} for name in config_names([entry.run for entry in entries])]


def run_options(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """The runs that can be the baseline."""
    return options(entries)


def foot(entries: Sequence[Entry]) -> str:
    """Under the table: how to read it, and what all runs share."""
    same = [f"{name} {min(values)}" for name, values in _config(entries).items() if len(values) == 1]
    text = "Losses are means of the last 5 % of the steps; compare arms each at its own best learning rate."
    if not same or len(entries) < 2:
        return text
    text = f"{text} The same wherever given: {', '.join(same)}."
    return text if len(text) <= _FOOT else f"{text[: _FOOT - 1]}…"


def _columns(entries: Sequence[Entry], names: Sequence[str], *, compared: bool) -> list[dict[str, Any]]:
    def number(field: str, title: str, formatter: str, meaning: str) -> dict[str, Any]:
        return {
            "field": field,
            "headerName": title,
            "headerTooltip": meaning,
            "filter": "agNumberColumnFilter",
            "valueFormatter": {"function": formatter},
            **_AT_RIGHT,
        }

    numbers = []
    for field, title, formatter, meaning in _NUMBERS:
        numbers.append(number(field, title, formatter, meaning))
        if compared and field in _COMPARED:
            numbers.append(
                number(f"{field} change", f"Δ {title}", _CHANGE, f"{meaning}; over the baseline's, less one")
            )
    config = [
        {"field": _field(name), "headerName": name, "headerTooltip": "from the run's config", "cellClass": "number"}
        | (_AT_RIGHT | {"filter": "agNumberColumnFilter"} if _is_numeric(entries, name) else {})
        for name in names
    ]
    name = {
        "field": "name",
        "headerName": "name",
        "pinned": "left",
        "tooltipField": "name",
        "maxWidth": 260,
        "cellClass": {"function": "'with-swatch run-' + params.data.colour"},
    }
    return [
        name,
        {"field": "status", "headerName": "status"},
        {"field": "clip", "headerName": "clip rule"},
        *config,
        *numbers,
        {"field": "created", "headerName": "created", "headerTooltip": "local time", "cellClass": "number"},
    ]


def _chosen(entries: Sequence[Entry], columns: Sequence[str] | None) -> tuple[str, ...]:
    """The config entries shown: those asked for, else those that differ, which are what a table is read for."""
    found = _config(entries)
    if columns:
        return tuple(name for name in columns if name in found)
    return tuple(name for name, values in found.items() if len(values) > 1 or len(entries) == 1)


def _config(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Every entry of the configs with the values it takes."""
    names = dict.fromkeys(str(name) for entry in entries for name in entry.run.config)
    return {name: {str(e.run.config[name]) for e in entries if name in e.run.config} for name in names}


def _is_numeric(entries: Sequence[Entry], name: str) -> bool:
    """Whether every run that has this config entry has a number there."""
    values = [_cell(entry.run.config[name]) for entry in entries if name in entry.run.config]
    return all(isinstance(value, (int, float)) for value in values if value is not None)


def _row(entry: Entry, summary: Summary | None, base: Summary | None, names: Sequence[str]) -> dict[str, Any]:
    run = entry.run
    row: dict[str, Any] = {
        "key": entry.key,
        "name": run.name,
        "colour": entry.place % 8,
        "status": status_of(run),
        "clip": describe(run.clip),
        "created": _local(run.created),
    }
    row |= {_field(name): _cell(run.config.get(name)) for name in names}
    row |= {field: _number(getattr(summary, field, None)) for field, *_ in _NUMBERS}
    change = relative(summary, base) if summary is not None and base is not None else None
    return row | {f"{field} change": _number(getattr(change, field, None)) for field in _COMPARED}


def _field(name: str) -> str:
    """Where a row of the table keeps an entry of its run's config."""
    return f"config {name}"


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
