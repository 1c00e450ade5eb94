"""From an address to what is shown: the callbacks that every page of charts shares."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dash_mantine_components as dmc
from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update

from gradlens.figures.figure import Axis, Figure, Panel, Text
from gradlens.figures.table import table as table_of
from gradlens_app import chart as charts
from gradlens_app import layout
from gradlens_app.controls import Choice, as_text, shown
from gradlens_app.data import Data, Entry
from gradlens_app.names import accessible_name, colours, labels, options, swatch
from gradlens_app.page import Answer, Chart, Page, Words
from gradlens_app.view import View, ViewError

logger = logging.getLogger(__name__)

AGAIN_MS = 200
NONE_CHOSEN = "No run is chosen. Choose one or more above, or on the Runs page."
CHOSEN_FOR_YOU = "The address names no runs; these were chosen for you."


@dataclass(frozen=True, slots=True)
class Shown:
    """What an address comes to: the runs, the view, and what a page answers."""

    entries: tuple[Entry, ...]
    view: View
    answer: Answer


def look(page: Page, data: Data, search: str, until: float | None = None) -> Shown:
    """What a page shows at an address; a wrong address, or a run that is gone, is met with a sentence."""
    try:
        view = View.parse(search)
        if until is not None:
            view = View.of({**view.given, "until": f"{until:g}"})
        entries, note = _chosen(page, data, view)
        if not entries or page.answer is None:
            return Shown((), view, Answer(notes=(note or NONE_CHOSEN,)))
        answer = page.answer(data, entries, view)
    except ViewError as error:
        return Shown((), View(), Answer(notes=(str(error),)))
    notes = ((note,) if note else ()) + answer.notes
    return Shown(entries, view, replace(answer, notes=notes))


def _chosen(page: Page, data: Data, view: View) -> tuple[tuple[Entry, ...], str]:
    if view.keys is None:
        listed = data.listing().entries
        return (page.choose(listed) if page.choose else listed[: page.most]), CHOSEN_FOR_YOU
    note = "" if len(view.keys) <= page.most else (
        f"The address names {len(view.keys)} runs; the first {page.most} are shown."
    )  # fmt: skip
    return data.find(view.keys[: page.most]), note


def body(page: Page, data: Data) -> html.Div:
    """A page of charts before it knows what to show."""
    picker = dmc.MultiSelect(
        id={"type": "choice", "name": "runs"},
        data=options(data.listing().entries),
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
        **accessible_name("Runs shown"),
    )
    bars = [control for control in page.controls if not getattr(control, "drag", False)]
    drags = [control for control in page.controls if getattr(control, "drag", False)]
    return html.Div(
        [
            dcc.Store(id="view"),
            dcc.Store(id="names", data=None),
            dcc.Store(id="told", data={}),
            dcc.Interval(id="again", interval=AGAIN_MS, disabled=True),
            html.Div(
                [
                    html.Div([html.H1(page.title), html.P(page.question, className="lead")]),
                    html.Div([picker, _export_menu()], className="push head-tools"),
                ],
                className="page-head",
            ),
            html.Div(
                [html.Div(id="legend", className="legends"), html.Div([shown(c) for c in bars], className="bar")],
                className="toolbar",
            ),
            html.Div(id="zoomed", className="range hidden", children=[
                html.Span("", id="zoom-text", role="status"),
                html.Button("Show all", id="zoom-out", className="button", type="button"),
            ]),
            html.Div(id="notes", role="status"),
            html.Div(id="problems"),
            html.Div([html.Div(className="tile") for _ in range(4)], id="tiles", className="tiles"),
            html.Div([html.Div(className="card waiting-card") for _ in range(4)], id="charts", className="cards"),
            *(html.Div([shown(control)], className="grow") for control in drags),
            html.P("", id="caption", className="caption"),
        ]
    )  # fmt: skip


def _export_menu() -> dmc.Menu:
    items = [
        dmc.MenuItem(
            form.upper() + (", the numbers drawn" if form == "csv" else ""),
            href="#",
            className="save",
            **{"data-chart": "", "data-form": form},
        )
        for form in charts.FORMS
    ]
    button = html.Button("Export figure", className="button strong", type="button")
    return dmc.Menu(
        [dmc.MenuTarget(button), dmc.MenuDropdown(items)], shadow="none", position="bottom-end", keepMounted=True
    )


def connect(app: Dash, data: Data, pages: Mapping[str, Page]) -> None:
    """Add the callbacks."""
    _connect_browser(app)
    _connect_look(app, data, pages)
    _connect_words(app, data, pages)
    _connect_charts(app, data, pages)
    _connect_poll(app, data)


def _connect_look(app: Dash, data: Data, pages: Mapping[str, Page]) -> None:
    @app.callback(
        Output("legend", "children"),
        Output("notes", "children"),
        Output("charts", "children"),
        Output("names", "data"),
        Output("told", "data"),
        Output({"type": "choice", "name": ALL}, "data"),
        Output({"type": "choice", "name": ALL}, "value"),
        Output({"type": "slider", "name": ALL}, "value"),
        Output("view", "data"),
        Input("address", "search"),
        Input("cursor", "data"),
        State("address", "pathname"),
        State("names", "data"),
        State({"type": "choice", "name": ALL}, "id"),
        State({"type": "slider", "name": ALL}, "id"),
    )
    def look_again(
        search: str | None,
        cursor: str | None,
        path: str | None,
        names: list[str] | None,
        choices: list[dict[str, str]],
        sliders: list[dict[str, str]],
    ) -> tuple[object, ...]:
        page = pages.get(bare(app, path))
        if page is None or page.answer is None:
            return (*(no_update,) * 5, [no_update] * len(choices), [no_update] * len(choices),
                    [no_update] * len(sliders), no_update)  # fmt: skip
        found = look(page, data, search or "")
        runs = [entry.run for entry in found.entries]
        values = {control.name: control.value(found.view) for control in page.controls}
        values["runs"] = [entry.key for entry in found.entries]
        data_of = {c.name: c.data(runs) for c in page.controls if isinstance(c, Choice)}
        data_of["runs"] = options(data.listing().entries)
        wanted = [chart.name for chart in found.answer.charts]
        return (
            _legend(found.entries, found.view),
            [html.P(note, className="note") for note in found.answer.notes],
            no_update if wanted == names else [charts.card(chart) for chart in found.answer.charts],
            wanted,
            {name: as_text(value) for name, value in values.items()},
            [data_of[each["name"]] for each in choices],
            [values[each["name"]] for each in choices],
            no_update_all(sliders) if ctx.triggered_id == "cursor" else [values[each["name"]] for each in sliders],
            {"search": search or "", "path": path, "cursor": cursor},
        )


def _connect_words(app: Dash, data: Data, pages: Mapping[str, Page]) -> None:
    @app.callback(
        Output("tiles", "children"),
        Output("problems", "children"),
        Output("caption", "children"),
        Output("again", "disabled"),
        Input("view", "data"),
        Input("again", "n_intervals"),
    )
    def tell(view: dict[str, Any] | None, _n: int | None) -> Any:
        page = pages.get(bare(app, (view or {}).get("path")))
        if page is None or view is None:
            return (no_update,) * 4
        said = words(look(page, data, view["search"]).answer)
        tiles = [layout.tile(tile) for tile in said.tiles]
        return tiles, layout.problem_panel(said.problems), said.caption, not said.unfinished


def no_update_all(places: Sequence[object]) -> list[Any]:
    """For every place of a pattern, that it stays as it is."""
    return [no_update] * len(places)


def _legend(entries: Sequence[Entry], view: View) -> list[Any]:
    runs = [entry.run for entry in entries]
    if not runs:
        return []
    swatches = [
        (swatch(role), text, f"{run.name}: {run.run_id}")
        for run, text, role in zip(runs, labels(runs), colours(entries), strict=True)
    ]
    return charts.legend(swatches)


def _connect_charts(app: Dash, data: Data, pages: Mapping[str, Page]) -> None:
    @app.callback(
        Output({"type": "panel", "name": MATCH}, "figure"),
        Output({"type": "title", "name": MATCH}, "children"),
        Output({"type": "measured", "name": MATCH}, "children"),
        Output({"type": "measured", "name": MATCH}, "title"),
        Output({"type": "foot", "name": MATCH}, "children"),
        Output({"type": "plot", "name": MATCH}, "className"),
        Input("view", "data"),
        Input("theme", "data"),
        Input("until", "data"),
        State({"type": "panel", "name": MATCH}, "id"),
    )
    def draw(view: dict[str, Any] | None, theme: str | None, until: float | None, place: dict[str, str]) -> Any:
        found = _chart(app, data, pages, view, until, place["name"])
        if found is None or theme not in ("light", "dark"):
            return (no_update,) * 6
        chart, seen = found
        figure = drawn(chart)
        panel = figure.panels[0]
        return (
            charts.picture(chart, figure, theme, seen),
            panel.title,
            panel.subtitle,
            panel.subtitle,
            panel.foot,
            "plot",
        )

    @app.callback(
        Output({"type": "table", "name": MATCH}, "children"),
        Input({"type": "open", "name": MATCH}, "n_clicks"),
        Input("view", "data"),
        State("until", "data"),
        State({"type": "panel", "name": MATCH}, "id"),
        prevent_initial_call=True,
    )
    def tabulate(clicks: int | None, view: dict[str, Any] | None, until: float | None, place: dict[str, str]) -> Any:
        found = _chart(app, data, pages, view, until, place["name"]) if (clicks or 0) % 2 else None
        return no_update if found is None else charts.table(table_of(drawn(found[0]).panels[0]))


def _chart(
    app: Dash, data: Data, pages: Mapping[str, Page], view: dict[str, Any] | None, until: float | None, name: str
) -> tuple[Chart, View] | None:
    """The chart of a name at what the page shows now; None if it has none, as while it changes."""
    page = pages.get(bare(app, (view or {}).get("path")))
    if page is None or view is None:
        return None
    found = look(page, data, view["search"], until)
    chart = next((chart for chart in found.answer.charts if chart.name == name), None)
    return None if chart is None else (chart, found.view)


def drawn(chart: Chart) -> Figure:
    """A chart's figure; where it cannot be drawn, the sentence that says so: the others are drawn all the same."""
    try:
        return chart.draw()
    except Exception:  # files of any content may be there
        logger.exception("the chart %s cannot be drawn", chart.name)
        sentence = "This cannot be drawn: what was recorded is not what it should be. The terminal of gradlens says more."
        return Figure(chart.name, (Panel(chart.title, "", Axis(""), Axis(""), (Text(sentence),)),), sentence, 1)


def words(answer: Answer) -> Words:
    """What a page says beside its charts; where that fails, that it does."""
    try:
        return answer.words()
    except Exception:  # as above
        logger.exception("a page's numbers cannot be computed")
        return Words(problems=("The numbers of this page cannot be computed; the terminal of gradlens says more.",))


def _connect_poll(app: Dash, data: Data) -> None:
    @app.callback(
        Output("cursor", "data"),
        Output("run-count", "children"),
        Output("there", "data"),
        Input("live", "n_intervals"),
        State("chosen", "data"),
        State("cursor", "data"),
        State("there", "data"),
    )
    def poll(_n: int | None, chosen: str | None, cursor: str | None, there: bool | None) -> Any:
        listing = data.listing()
        keys = [key for key in (chosen or "").split(",") if key]
        try:
            seen = data.find(keys)
        except ViewError:  # one of them was deleted meanwhile; the page stays as it is
            return no_update, no_update, no_update
        now = hashlib.sha256(repr([entry.stamp for entry in seen]).encode()).hexdigest()[:16] if keys else None
        count = len(listing.entries)
        text = f"{count:,} run{'' if count == 1 else 's'}"
        running = sum(entry.run.status == "running" for entry in seen)
        text += f", {running} recording" if running else ""
        return no_update if now == cursor else now, text, no_update if there == bool(count) else bool(count)


def _connect_browser(app: Dash) -> None:
    """What the browser does by itself: see ``assets/gradlens.js``."""

    def ours(name: str, *arguments: Any, **options: Any) -> None:
        app.clientside_callback(ClientsideFunction("gradlens", name), *arguments, **options)

    ours(
        "theme",
        Output("theme", "data"),
        Output("provider", "forceColorScheme"),
        Output("theme-switch", "children"),
        Input("theme-switch", "n_clicks"),
    )
    ours(
        "control",
        Output("go", "search", allow_duplicate=True),
        Input({"type": "choice", "name": ALL}, "value"),
        Input({"type": "slider", "name": ALL}, "value"),
        State({"type": "choice", "name": ALL}, "id"),
        State({"type": "slider", "name": ALL}, "id"),
        State("told", "data"),
        prevent_initial_call=True,
    )
    ours("zoom", Output("go", "search", allow_duplicate=True), Input({"type": "panel", "name": ALL}, "relayoutData"),
         prevent_initial_call=True)  # fmt: skip
    ours("unzoom", Output("go", "search", allow_duplicate=True), Input("zoom-out", "n_clicks"),
         prevent_initial_call=True)  # fmt: skip
    ours("flip", Output("go", "search", allow_duplicate=True), Input({"type": "flip", "name": ALL}, "n_clicks"),
         prevent_initial_call=True)  # fmt: skip
    ours("pause", Output("go", "search", allow_duplicate=True), Input("live-switch", "n_clicks"),
         prevent_initial_call=True)  # fmt: skip
    ours(
        "address",
        Output({"type": "rail", "path": ALL}, "href"),
        Output({"type": "rail", "path": ALL}, "className"),
        Output("live", "disabled"),
        Output("live-switch", "children"),
        Input("address", "search"),
        Input("address", "pathname"),
        State({"type": "rail", "path": ALL}, "id"),
        State("prefix", "data"),
    )
    ours("zoomed", Output("zoomed", "className"), Output("zoom-text", "children"), Input("view", "data"))
    ours("told", Output("chosen", "data"), Input("told", "data"))
    ours("until", Output("until", "data"), Input({"type": "slider", "name": ALL}, "value"),
         State({"type": "slider", "name": ALL}, "id"))  # fmt: skip


def bare(app: Dash, path: str | None) -> str:
    """The path of an address without what every address begins with, nor a slash at its end."""
    stripped = app.strip_relative_path(path or "/") if (path or "").startswith(app.config.requests_pathname_prefix) else ""
    return "/" + (stripped or "").strip("/")
