"""The Dynamics page: figure 1 of the AutoClip paper over any chosen runs, its panels linked by the step."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dash import ALL, Dash, Input, Output, State, ctx, no_update

from gradlens_app.catalogue import Catalogue, Entry
from gradlens_app.dynamics_figure import Figures, labels, step_span
from gradlens_app.exports import export_path
from gradlens_app.pages import dynamics_layout as parts
from gradlens_app.pages import panels
from gradlens_app.pages.tiles import Answer, tiles
from gradlens_app.selection import MOST_RUNS, Selection, SelectionError, Steps

logger = logging.getLogger(__name__)

PATH = "/dynamics"
page = parts.page


def add_callbacks(app: Dash, catalogue: Catalogue, figures: Figures) -> None:
    """Answer the address, the picker, a zoom, the slider and the theme."""
    _add_choosing(app, catalogue, figures)
    _add_zooming(app)
    _add_drawing(app, catalogue, figures)


def _add_choosing(app: Dash, catalogue: Catalogue, figures: Figures) -> None:
    @app.callback(
        Output("head", "children"),
        Output("body", "children"),
        Output("picker", "data"),
        Output("picker", "value"),
        Output("shown", "data"),
        Output("steps", "data"),
        Input("address", "search"),
        State("address", "pathname"),
        State("shown", "data"),
    )
    def answer(search: str | None, path: str | None, shown: list[str] | None) -> tuple[object, ...]:
        if (path or "").rstrip("/") != PATH:
            return (no_update,) * 6
        note, selection, entries = _chosen(catalogue, search or "")
        keys = [entry.key for entry in entries]
        if shown is not None and shown == keys:
            return no_update, no_update, no_update, no_update, no_update, selection.steps
        names = [(entry.key, entry.run) for entry in catalogue.listing().entries]
        if not entries:
            return parts.head((), ()), parts.nothing(note), parts.options(names), [], [], None
        drawn = _drawable(catalogue, figures, entries)
        if not drawn:
            return parts.head((), ()), parts.nothing(parts.BROKEN), parts.options(names), keys, [], None
        note = " ".join([note, *(parts.left_out(entry) for entry in entries if entry not in drawn)]).strip()
        entries, keys = drawn, [entry.key for entry in drawn]
        figure = figures.draw(entries)
        body = parts.body(figure, step_span([entry.run for entry in entries]), note)
        head = parts.head([entry.run for entry in entries], labels([entry.run for entry in entries]))
        return head, body, parts.options(names), keys, keys, selection.steps

    @app.callback(
        Output("go", "search"),
        Input("picker", "value"),
        State("shown", "data"),
        prevent_initial_call=True,
    )
    def pick(value: list[str] | None, shown: list[str] | None) -> object:
        return no_update if (value or []) == (shown or []) else Selection(tuple(value or ())).query()


def _add_zooming(app: Dash) -> None:
    @app.callback(
        Output("go", "search", allow_duplicate=True),
        Input({"type": "panel", "index": ALL}, "relayoutData"),
        Input("all-steps", "n_clicks"),
        State("shown", "data"),
        State("steps", "data"),
        prevent_initial_call=True,
    )
    def zoom(_layouts: object, _clicks: int | None, shown: list[str] | None, steps: list[int] | None) -> object:
        now = (steps[0], steps[1]) if steps else None
        value = ctx.triggered[0]["value"]  # None where a panel or the button has only just come to the page
        wanted = now if not value else None if ctx.triggered_id == "all-steps" else zoomed(value, now)
        return no_update if not shown or wanted == now else Selection(tuple(shown), wanted).query()


def _add_drawing(app: Dash, catalogue: Catalogue, figures: Figures) -> None:
    @app.callback(
        Output({"type": "panel", "index": ALL}, "figure"),
        Output({"type": "foot", "index": ALL}, "children"),
        Output({"type": "export", "panel": ALL, "form": ALL}, "href"),
        Output("tiles", "children"),
        Output("caption", "children"),
        Output("problems", "children"),
        Output("range-text", "children"),
        Output("range", "className"),
        Output("grown", "children"),
        Output("live", "disabled"),
        Output("live-note", "children"),
        Input("steps", "data"),
        Input("grow", "value"),
        Input("theme", "data"),
        Input("live", "n_intervals"),
        State("shown", "data"),
        State("grow", "max"),
        State({"type": "export", "panel": ALL, "form": ALL}, "id"),
    )
    def draw(
        steps: list[int] | None,
        grown: int,
        theme: str | None,
        _n: int | None,
        keys: list[str] | None,
        last: int,
        links: list[dict[str, Any]],
    ) -> tuple[object, ...]:
        entries = _still_there(catalogue, keys or ())
        places = len(ctx.outputs_list[0])
        if not entries or not places or theme not in ("light", "dark"):
            return ([no_update] * places, [no_update] * places, [no_update] * len(links), *(no_update,) * 8)
        zoom = (steps[0], steps[1]) if steps else None
        until = None if grown >= last else int(grown)
        return _shown(catalogue, figures, entries, zoom, until, theme, links)


def _shown(
    catalogue: Catalogue,
    figures: Figures,
    entries: Sequence[Entry],
    zoom: Steps | None,
    until: int | None,
    theme: str,
    links: Sequence[Mapping[str, Any]],
) -> tuple[object, ...]:
    """Every part of the page that follows the runs, the zoom, the slider and the theme, in the callback's order."""
    span = zoom or step_span([entry.run for entry in entries])
    drawn_steps = zoom if until is None else (span[0], max(span[0], min(span[1], until)))
    frame = figures.draw(entries, zoom)
    figure = frame if drawn_steps == zoom else figures.draw(entries, drawn_steps)
    several = drawn_steps if drawn_steps and drawn_steps[0] < drawn_steps[1] else None
    selection = Selection(tuple(entry.key for entry in entries), several)
    running = any(entry.run.status == "running" for entry in entries)
    return (
        [panels.drawn(figure, index, theme, span, panels.heights(frame, index)) for index in range(len(figure.panels))],
        [panel.foot for panel in figure.panels],
        [export_path(link["form"], selection, None if link["panel"] == "all" else link["panel"]) for link in links],
        tiles(_answers(catalogue, entries)),
        figure.caption,
        parts.problems(entries, [catalogue.problems(entry) for entry in entries]),
        parts.range_text(zoom),
        "range" if zoom else "range hidden",
        f"iteration {(drawn_steps or span)[1]:,}",
        not running,
        "recording, read anew every 5 s" if running else "",
    )


def zoomed(layout: Mapping[str, Any], now: Steps | None) -> Steps | None:
    """The steps that Plotly's word on a changed axis means; ``now`` where it is about something else.

    >>> zoomed({"xaxis.range[0]": 9.5, "xaxis.range[1]": 20.2}, None), zoomed({"xaxis.autorange": True}, (10, 20))
    ((10, 20), None)
    """
    if layout.get("xaxis.autorange"):
        return None
    ends = layout.get("xaxis.range[0]"), layout.get("xaxis.range[1]")
    if not all(isinstance(end, (int, float)) and math.isfinite(end) for end in ends):
        return now
    low, high = sorted(float(end) for end in ends if end is not None)
    first, last = max(0, math.ceil(low)), math.floor(high)
    return (first, last) if first < last else now


def _chosen(catalogue: Catalogue, search: str) -> tuple[str, Selection, tuple[Entry, ...]]:
    """The runs that an address chooses, and a note where it does not, or not well."""
    try:
        selection = Selection.parse(search)
        if selection.keys is None:
            entries = default_pair(catalogue.listing().entries)
            return parts.DEFAULT, Selection(tuple(entry.key for entry in entries), selection.steps), entries
        if not selection.keys:
            return parts.NONE_CHOSEN, selection, ()
        note = parts.too_many(len(selection.keys)) if len(selection.keys) > MOST_RUNS else ""
        return note, selection, catalogue.find(selection.keys[:MOST_RUNS])
    except SelectionError as error:
        return str(error), Selection(), ()


def _drawable(catalogue: Catalogue, figures: Figures, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The runs that can be shown: files of any content may be there, and one run must not blank the page of others."""
    if _can_be_drawn(catalogue, figures, entries):
        return entries
    return tuple(entry for entry in entries if len(entries) > 1 and _can_be_drawn(catalogue, figures, (entry,)))


def _can_be_drawn(catalogue: Catalogue, figures: Figures, entries: tuple[Entry, ...]) -> bool:
    try:
        figures.draw(entries)
        step_span([entry.run for entry in entries])
        for entry in entries:
            _ = catalogue.problems(entry), entry.run.status
    except Exception:
        logger.exception("the dynamics of %s cannot be drawn", [entry.run.run_id for entry in entries])
        return False
    return True


def default_pair(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The first run without clipping, and of those with it the one whose config is nearest; or what there is."""
    unclipped = next((entry for entry in entries if entry.run.clip is None), None)
    clipped = [entry for entry in entries if entry.run.clip is not None]
    if unclipped is None:
        return tuple(clipped[:1])
    config = unclipped.run.config

    def differences(entry: Entry) -> int:
        other = entry.run.config
        return sum(config.get(name) != other.get(name) for name in {*config, *other})

    return (unclipped, min(clipped, key=differences)) if clipped else (unclipped,)


def _still_there(catalogue: Catalogue, keys: Sequence[str]) -> tuple[Entry, ...]:
    """The shown runs as they are now; none if one of them was deleted meanwhile, and the page stays as it is."""
    try:
        return catalogue.find(keys)
    except SelectionError:
        return ()


def _answers(catalogue: Catalogue, entries: Sequence[Entry]) -> list[Answer]:
    runs = [entry.run for entry in entries]
    return [
        Answer(text, colour, entry.run.clip is not None, catalogue.summary(entry), catalogue.norm_smoothness(entry))
        for entry, text, colour in zip(entries, labels(runs), parts.colours(runs), strict=True)
    ]
