"""Downloads: the figure that the page shows, as a file for a paper or for a spreadsheet."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from flask import Flask, Response, request

from gradlens.figures.export import draw, numbers_csv
from gradlens.figures.figure import Figure
from gradlens_app.catalogue import Catalogue
from gradlens_app.dynamics_figure import Figures
from gradlens_app.selection import MOST_RUNS, Selection, SelectionError

NAME = "training_dynamics"
TYPES = {
    "pdf": "application/pdf",
    "svg": "image/svg+xml",
    "png": "image/png",
    "csv": "text/csv; charset=utf-8",
}
_PARAMETERS = ("runs", "steps", "panel", "style", "column")


def export_path(form: str, selection: Selection, panel: int | None = None) -> str:
    """Where the page's links point.

    >>> export_path("pdf", Selection(("0123456789ab",)), 1)
    '/export/training_dynamics.pdf?runs=0123456789ab&panel=1'
    """
    return f"/export/{NAME}.{form}{selection.query()}" + ("" if panel is None else f"&panel={panel}")


def add_exports(server: Flask, catalogue: Catalogue, figures: Figures) -> None:
    """Add the download route to the server."""
    drawing = threading.Lock()  # matplotlib's settings belong to the process

    @server.get(f"/export/{NAME}.<form>")
    def export(form: str) -> Response:
        try:
            data = _file(form, _parameters(), catalogue, figures, drawing)
        except SelectionError as error:
            return Response(str(error), status=400, mimetype="text/plain")
        disposition = f'attachment; filename="{NAME}.{form}"'
        return Response(data, content_type=TYPES[form], headers={"Content-Disposition": disposition})


def _parameters() -> Mapping[str, str]:
    for name in request.args:
        if name not in _PARAMETERS or len(request.args.getlist(name)) > 1:
            raise SelectionError(f"Expected each of {', '.join(_PARAMETERS)} once at most; got something else.")
    return request.args.to_dict()


def _file(
    form: str, given: Mapping[str, str], catalogue: Catalogue, figures: Figures, drawing: threading.Lock
) -> bytes:
    if form not in TYPES:
        raise SelectionError(f"Expected one of the formats {', '.join(TYPES)}.")
    selection = Selection.of(given)
    if not selection.keys or len(selection.keys) > MOST_RUNS:
        raise SelectionError(f"runs= expects the keys of 1 to {MOST_RUNS} runs; got {len(selection.keys or ())}.")
    figure = figures.draw(catalogue.find(selection.keys), selection.steps)
    figure = _panel(figure, given["panel"]) if "panel" in given else figure
    if form == "csv":
        return numbers_csv(figure).encode()
    column = given.get("column", "half" if "panel" in given else "full")
    try:
        with drawing:
            return draw(figure, form, given.get("style", "icml2024"), column)
    except ValueError as error:  # the renderer's word on a style or column that there is not
        raise SelectionError(str(error)) from error


def _panel(figure: Figure, text: str) -> Figure:
    if not (text.isascii() and text.isdigit() and len(text) < 3 and int(text) < len(figure.panels)):
        raise SelectionError(f"panel= expects a number from 0 to {len(figure.panels) - 1}.")
    return figure.only(int(text))
