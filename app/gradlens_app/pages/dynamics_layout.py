"""What the Dynamics page is made of; its numbers and drawings come from the callbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import dcc, html

from gradlens.clipping import describe
from gradlens.figures.figure import Figure
from gradlens.figures.palette import dashed, run_colours
from gradlens.store import Run
from gradlens_app import layout
from gradlens_app.catalogue import Entry
from gradlens_app.exports import TYPES, export_path
from gradlens_app.pages import panels
from gradlens_app.selection import MOST_RUNS, Selection, Steps

LIVE_MS = 5000
DEFAULT = (
    "The address names no runs: these are the first without clipping and the clipped one whose config is nearest to it."
)
NONE_CHOSEN = "No run is chosen. Choose one or more above; a pair is one without and one with clipping."
BROKEN = "These runs cannot be drawn: what they recorded is not what it should be. The terminal of gradlens says more."


def page() -> html.Div:
    """The page before it knows its runs."""
    return html.Div(
        [
            dcc.Store(id="shown"),
            dcc.Store(id="steps"),
            dcc.Interval(id="live", interval=LIVE_MS, disabled=True),
            html.Div(
                className="page-head",
                children=[
                    html.Div([html.H1("Training dynamics"), html.Div(id="head", className="lead")]),
                    html.Div(
                        className="push head-tools",
                        children=[
                            html.Span("", id="live-note", className="quiet", role="status"),
                            dmc.MultiSelect(
                                id="picker",
                                data=[],
                                value=[],
                                placeholder="Choose runs",
                                searchable=True,
                                clearable=False,
                                hidePickedOptions=True,
                                maxValues=MOST_RUNS,
                                nothingFoundMessage="No run of this name",
                                className="picker",
                                comboboxProps={"shadow": "none", "width": 420, "position": "bottom-end"},
                                **layout.accessible_name("Runs shown"),
                            ),
                            _export_menu(),
                        ],
                    ),
                ],
            ),
            html.Div(id="body", children=_skeleton()),
        ]
    )


def head(runs: Sequence[Run], labels: Sequence[str]) -> list[Any]:
    """A swatch a run, and what their configs have in common."""
    swatches = [
        html.Span(
            [html.Span(className=f"swatch {colour}"), text],
            className="legend",
            title=f"{run.name}: {run.run_id}",
        )
        for run, text, colour in zip(runs, labels, colours(runs), strict=True)
    ]
    return [html.Div([*swatches, html.Span(_common(runs), className="quiet")])]


def colours(runs: Sequence[Run]) -> tuple[str, ...]:
    """CSS classes of the runs' colours, and of their dashes."""
    roles = run_colours(runs) if runs else ()
    return tuple(f"run-colour {role}{' dashed' if dashed(role) else ''}" for role in roles)


def _common(runs: Sequence[Run]) -> str:
    """The config entries that all runs share; a shared learning rate is called by its name."""
    if not runs:
        return ""
    first = runs[0].config
    same = [name for name in first if all(name in run.config and run.config[name] == first[name] for run in runs)]
    text = ", ".join(f"{name} {first[name]}" for name in same[:6])
    if len(runs) > 1 and "lr" in same:
        text += "; one shared learning rate, not each run's best"
    return text[:200]


def body(figure: Figure, span: Steps, note: str) -> list[Any]:
    """Tiles, cards, slider and caption of some runs."""
    return [
        html.P(note, className="note") if note else None,
        html.Div(id="problems"),
        html.Div(id="tiles", className="tiles"),
        _range(),
        html.Div([panels.card(figure, index) for index in range(len(figure.panels))], className="cards"),
        _grow(span),
        html.P("", id="caption", className="caption"),
    ]


def _grow(span: Steps) -> html.Div:
    return html.Div(
        className="grow",
        children=[
            html.Span("Grow the panels", id="grow-label"),
            dmc.Slider(
                id="grow",
                min=span[0],
                max=max(span[1], span[0] + 1),
                value=max(span[1], span[0] + 1),
                step=max(1, (span[1] - span[0]) // 200),
                label=None,
                updatemode="drag",
                size="sm",
                thumbLabel="Draw up to this iteration",
                className="grow-slider",
            ),
            html.Span("", id="grown", className="grown"),
        ],
    )


def nothing(note: str) -> list[Any]:
    """In place of the panels: the sentence that says why there are none. What the callbacks name stays, hidden."""
    return [
        html.P(note, className="note strong-note", role="status"),
        html.Div(
            [
                html.Div(id="problems"),
                html.Div(id="tiles"),
                _range(),
                _grow((0, 0)),
                html.P("", id="caption"),
            ],
            className="hidden",
        ),
    ]


def options(runs: Sequence[tuple[str, Run]]) -> list[dict[str, str]]:
    """The picker's choices; where names repeat, the clip and the end of the run id tell them apart."""
    names = [run.name for _, run in runs]
    return [{"value": key, "label": run.name if names.count(run.name) == 1 else _told_apart(run)} for key, run in runs]


def _told_apart(run: Run) -> str:
    return f"{run.name}, {describe(run.clip)} ({run.run_id[-8:]})"


def too_many(count: int) -> str:
    """For an address with more runs than the page compares."""
    return f"The address names {count} runs; the first {MOST_RUNS} are shown."


def left_out(entry: Entry) -> str:
    """For a run that cannot be drawn, beside others that can."""
    return f"{entry.run.name} cannot be drawn: what it recorded is not what it should be. The terminal says more."


def range_text(zoom: Steps | None) -> str:
    """Which steps are shown, where it is not all."""
    return f"Steps {zoom[0]:,} to {zoom[1]:,} of every panel" if zoom else ""


def _range() -> html.Div:
    button = html.Button("Show all steps", id="all-steps", className="button", type="button")
    return html.Div([html.Span("", id="range-text", role="status"), button], id="range", className="range hidden")


def problems(entries: Sequence[Entry], sentences: Sequence[Sequence[str]]) -> html.Div:
    """What is broken in the runs shown."""
    return layout.problem_panel(
        [f"{entry.run.name}: {text}" for entry, each in zip(entries, sentences, strict=True) for text in each]
    )


def _export_menu() -> dmc.Menu:
    items = [
        dmc.MenuItem(
            form.upper() + (", the numbers drawn" if form == "csv" else ""),
            id={"type": "export", "panel": "all", "form": form},
            href=export_path(form, Selection(())),
            target="_blank",
        )
        for form in TYPES
    ]
    return dmc.Menu(
        [
            dmc.MenuTarget(html.Button("Export figure", className="button strong", type="button")),
            dmc.MenuDropdown(items),
        ],
        shadow="none",
        position="bottom-end",
        keepMounted=True,
    )


def _skeleton() -> list[html.Div]:
    return [
        html.Div([html.Div(className="tile") for _ in range(4)], className="tiles"),
        html.Div([html.Div(className="card waiting") for _ in range(4)], className="cards"),
    ]
