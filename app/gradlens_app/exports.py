"""Downloads: what a page shows, as a file for a paper or for a spreadsheet."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from flask import Flask, Response, request

from gradlens.figures.export import draw, numbers_csv
from gradlens.figures.figure import Figure
from gradlens_app.chart import FORMS
from gradlens_app.data import Data
from gradlens_app.looking import CHOSEN_FOR_YOU, NONE_CHOSEN, drawn, look
from gradlens_app.page import Page, whole
from gradlens_app.view import MOST_FIELDS, View, ViewError


def add_exports(server: Flask, data: Data, pages: Mapping[str, Page], prefix: str) -> None:
    """Add the download route to the server."""
    drawing = threading.Lock()  # matplotlib's settings belong to the process
    by_name = {page.name: page for page in pages.values() if page.answer is not None}

    @server.get(f"{prefix}export/<name>.<form>")
    def export(name: str, form: str) -> Response:
        try:
            page = by_name.get(name)
            if page is None or form not in FORMS:
                raise ViewError(f"Expected one of {', '.join(by_name)} as one of {', '.join(FORMS)}.")  # noqa: TRY301
            given = _given()
            figure = _figure(page, data, given)
            content = _content(figure, form, given, drawing)
        except ViewError as error:
            return Response(str(error), status=400, mimetype="text/plain")
        stem = f"{name}-{given['chart']}" if given.get("chart") else name
        disposition = f'attachment; filename="{stem}.{form}"'
        return Response(content, content_type=FORMS[form], headers={"Content-Disposition": disposition})


def _given() -> Mapping[str, str]:
    if len(request.args) > MOST_FIELDS or any(len(request.args.getlist(name)) > 1 for name in request.args):
        raise ViewError(f"Expected an address with at most {MOST_FIELDS} fields, each once.")
    return request.args.to_dict()


def _figure(page: Page, data: Data, given: Mapping[str, str]) -> Figure:
    View.of(given)  # says what is wrong with it
    if given.get("runs"):
        data.find(View.of(given).keys or ())
    found = look(page, data, "?" + request.query_string.decode("latin-1"))
    if not found.answer.charts:
        why = (note for note in found.answer.notes if note != CHOSEN_FOR_YOU)
        raise ViewError(next(why, NONE_CHOSEN))
    name = given.get("chart", "")
    if not name:
        return whole(page.name, found.answer)
    chart = next((chart for chart in found.answer.charts if chart.name == name), None)
    if chart is None:
        raise ViewError(f"chart= expects one of {', '.join(chart.name for chart in found.answer.charts)}.")
    return drawn(chart)


def _content(figure: Figure, form: str, given: Mapping[str, str], drawing: threading.Lock) -> bytes:
    if form == "csv":
        return numbers_csv(figure).encode()
    column = given.get("column", "half" if len(figure.panels) == 1 else "full")
    try:
        with drawing:
            return draw(figure, form, given.get("style", "icml2024"), column)
    except ValueError as error:  # the renderer's word on a style or column that there is not
        raise ViewError(str(error)) from error
