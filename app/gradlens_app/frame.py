"""From an address to what is shown: the callbacks that every page of charts shares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from dash import ALL, Dash, Input, Output, State, no_update
from dash.exceptions import PreventUpdate

from gradlens_app import browser, layout, pace
from gradlens_app import chart as charts
from gradlens_app.body import MOST_PILLS, controls_of, legend_of, notes_of, picker_of, view_of
from gradlens_app.data import Data
from gradlens_app.looking import cursor_of, look, words
from gradlens_app.page import Page
from gradlens_app.view import ViewError


def connect(app: Dash, data: Data, pages: Mapping[str, Page]) -> None:
    """Add the callbacks."""
    browser.connect(app)
    _connect_look(app, data, pages)
    _connect_words(app, data, pages)
    _connect_poll(app, data)


def _connect_look(app: Dash, data: Data, pages: Mapping[str, Page]) -> None:
    @app.callback(
        Output("legend", "children"),
        Output("notes", "children"),
        Output("charts", "children"),
        Output("names", "data"),
        Output("told", "data"),
        Output("many", "data"),
        Output("picker", "children"),
        Output({"type": "choice", "name": ALL}, "data"),
        Output({"type": "choice", "name": ALL}, "value"),
        Output({"type": "slider", "name": ALL}, "value"),
        Output("view", "data"),
        Input("address", "search"),
        Input("cursor", "data"),
        State("address", "pathname"),
        State("view", "data"),
        State("names", "data"),
        State("told", "data"),
        State("many", "data"),
        State({"type": "choice", "name": ALL}, "data"),
        State({"type": "choice", "name": ALL}, "id"),
        State({"type": "slider", "name": ALL}, "id"),
        prevent_initial_call=True,  # a page comes with what it shows
    )
    def look_again(
        search: str | None, _cursor: str | None, path: str | None, view: dict[str, Any] | None, *known: Any
    ) -> tuple[object, ...]:
        page = pages.get(bare(app, path))
        if page is None or page.answer is None or view is None or view.get("path") != path:
            raise PreventUpdate  # the controls are still those of the page that the reader leaves
        return _anew(page, data, search or "", view, *known)


def _anew(
    page: Page,
    data: Data,
    search: str,
    view: dict[str, Any],
    names: list[str] | None,
    told: dict[str, str],
    many: bool,
    offered: list[object],
    choices: list[dict[str, str]],
    sliders: list[dict[str, str]],
) -> tuple[object, ...]:
    """What differs from what the page shows, for each output; the page's head, charts and controls."""
    found = look(page, data, search)
    wanted = view_of(found, search, view["path"])
    if view == wanted:
        raise PreventUpdate
    state = controls_of(page, data, found)
    same_head = view["head"] == wanted["head"]
    are_many = len(found.entries) > MOST_PILLS
    charted = [chart.name for chart in found.answer.charts]

    def moved(place: dict[str, str]) -> Any:
        name = place["name"]
        return no_update if state.told[name] == told.get(name) else state.values[name]

    def offers(place: dict[str, str], known: object) -> Any:
        return no_update if state.options[place["name"]] == known else state.options[place["name"]]

    return (
        no_update if same_head else legend_of(found.entries),
        no_update if same_head else notes_of(found),
        no_update if charted == names else [charts.card(chart) for chart in found.answer.charts],
        charted,
        state.told,
        are_many,
        picker_of(page, found, state) if are_many or many else no_update,
        [offers(place, known) for place, known in zip(choices, offered, strict=True)],
        [moved(place) for place in choices],
        [moved(place) for place in sliders],
        wanted,
    )


def _connect_words(app: Dash, data: Data, pages: Mapping[str, Page]) -> None:
    @app.callback(
        Output("tiles", "children"),
        Output("problems", "children"),
        Output("caption", "children"),
        Output("again", "disabled"),
        pace.answered("words"),
        pace.tick("words"),
        State("view", "data"),
    )
    def tell(tick: int, view: dict[str, Any] | None) -> Any:
        page = pages.get(bare(app, (view or {}).get("path")))
        if page is None or view is None:
            return (no_update,) * 4 + (tick,)
        found = look(page, data, view["search"])
        if not tick and len(found.entries) > MOST_PILLS:
            return no_update, no_update, no_update, False, tick  # the charts of many runs first
        said = words(found.answer)
        tiles = [layout.tile(tile) for tile in said.tiles]
        return tiles, layout.problem_panel(said.problems), said.caption, not said.unfinished, tick

    pace.connect(app, "words", ["again"], also=[Input("view", "data")])


def _connect_poll(app: Dash, data: Data) -> None:
    @app.callback(
        Output("cursor", "data"),
        Output("run-count", "children"),
        Output("there", "data"),
        pace.answered("poll"),
        pace.tick("poll"),
        State("chosen", "data"),
        State("there", "data"),
        State("address", "search"),
        State("cursor", "data"),
    )
    def poll(
        tick: int, chosen: dict[str, Any] | None, there: bool | None, search: str | None, asked: str | None
    ) -> Any:
        listing = data.listing()
        keys = [key for key in (chosen or {}).get("runs", "").split(",") if key]
        known = (chosen or {}).get("cursor")
        try:
            seen = data.find(keys)
            now = cursor_of(seen)
        except ViewError:  # one of them was deleted meanwhile; the page stays as it is, the count does not
            seen, now = (), known
        count = len(listing.entries)
        text = f"{count:,} run{'' if count == 1 else 's'}"
        running = sum(entry.run.status == "running" for entry in seen)
        text += f", {running} recording" if running else ""
        shown = (chosen or {}).get("search")
        if shown is not None and shown != (search or ""):
            # The server was away when the address changed, or is still at it: look again, once.
            now, known = hashlib.sha256((search or "").encode()).hexdigest()[:16], asked
        return (
            no_update if now == known else now,
            text,
            no_update if there == bool(count) else bool(count),
            tick,
        )

    pace.connect(app, "poll", ["live"])


def bare(app: Dash, path: str | None) -> str:
    """The path of an address without what every address begins with, nor a slash at its end."""
    prefix = app.config.requests_pathname_prefix
    return "/" + (path or "/").removeprefix(prefix.rstrip("/")).strip("/")
