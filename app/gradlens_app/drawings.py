"""The charts as a browser draws them: one request each, and only what is new to who has an older one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from flask import Flask, Response, request

from gradlens.figures.table import table as table_of
from gradlens_app import chart as charts
from gradlens_app.data import Data
from gradlens_app.kept import Kept
from gradlens_app.looking import drawn, look
from gradlens_app.page import Chart, Page
from gradlens_app.view import View

MOST_BYTES = 64 << 20


def add_drawings(server: Flask, data: Data, pages: Mapping[str, Page], prefix: str) -> None:
    """Add the routes that charts are asked for at, with the fields of the page's address.

    ``numbers/PAGE/CHART`` gives its numbers as a table. ``drawing/PAGE/CHART`` takes two fields more: ``theme``, and
    ``has``, the id of the drawing that the browser has. Its answer holds ``id``; ``around``: layout and texts (title,
    what is measured, foot); and ``traces``, by place, those that differ from the drawing ``base``, or all where that is
    null. Either is empty (204) where the page has no such chart, a drawing also where the browser has it already.
    """
    sent = Sent()
    by_name = {page.name: page for page in pages.values() if page.answer is not None}

    def find(page: str, name: str) -> tuple[Chart, View] | None:
        asked = by_name.get(page)
        found = None if asked is None else look(asked, data, "?" + request.query_string.decode("latin-1"))
        chart = next((chart for chart in found.answer.charts if chart.name == name), None) if found else None
        return None if found is None or chart is None else (chart, found.view)

    @server.get(f"{prefix}drawing/<page>/<name>")
    def drawing(page: str, name: str) -> Response:
        found = find(page, name)
        if found is None:
            return Response(status=204)
        chart, view = found
        figure = drawn(chart)
        panel = figure.panels[0]
        picture = charts.picture(chart, figure, view.theme or "light", view)
        around = json.dumps([picture["layout"], [panel.title, panel.subtitle, panel.foot]])
        news = sent.news(picture["data"], around, request.args.get("has", ""))
        return Response(news, mimetype="application/json") if news else Response(status=204)

    @server.get(f"{prefix}numbers/<page>/<name>")
    def numbers(page: str, name: str) -> Response:
        found = find(page, name)
        if found is None:
            return Response(status=204)
        table = table_of(drawn(found[0]).panels[0])
        return Response(json.dumps(asdict(table)), mimetype="application/json")


class Sent:
    """The drawings that were sent last, each under an id that says what is in it."""

    def __init__(self) -> None:
        self._kept = Kept(most=2048, most_bytes=MOST_BYTES)

    def news(self, data: list[Any], around: str, has: str) -> str:
        """What to send to a browser that has the drawing of some id; empty if that is this one.

        Args:
            data: Plotly's traces.
            around: layout and texts, as JSON.
            has: the id, empty if it has none.
        """
        traces = [json.dumps(trace) for trace in data]
        now = hashlib.sha256("\n".join([around, *traces]).encode()).hexdigest()[:16]
        if now == has:
            return ""
        before: list[str] = self._kept.get(has, "") or []
        self._kept.put(now, "", traces, sum(map(len, traces)))
        if len(before) > len(traces):
            before = []
        new = [f'"{at}": {trace}' for at, trace in enumerate(traces) if before[at : at + 1] != [trace]]
        base = json.dumps(has if before else None)
        return f'{{"id": "{now}", "base": {base}, "around": {around}, "traces": {{{", ".join(new)}}}}}'
