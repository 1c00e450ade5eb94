"""The Dash application: pages, routes and the gate put together."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import plotly
from dash import Dash, Input, Output, State
from dash.fingerprint import build_fingerprint
from flask import Response
from werkzeug.exceptions import HTTPException

from gradlens_app import frame, layout
from gradlens_app.body import body
from gradlens_app.data import Data
from gradlens_app.drawings import add_drawings
from gradlens_app.exports import add_exports
from gradlens_app.page import Page
from gradlens_app.pages import PAGES
from gradlens_app.responses import keep_responses
from gradlens_app.security import MAX_BODY, Gate, content_policy, prefixed, script_hash
from gradlens_app.warming import warm_pages

logger = logging.getLogger(__name__)

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head><script>NATIVES</script>{%metas%}<title>{%title%}</title>
<link rel="icon" type="image/svg+xml" href="PREFIXassets/mark.svg">{%css%}
<script defer src="PREFIXPLOTLY"></script></head>
<body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body>
</html>"""

_NATIVES = "window.gradlens = { parseInt, parseFloat, trim: String.prototype.trim };"
"""Dash's polyfills replace these by slow ones, which assets/charts.js takes back: Plotly calls them all the time."""


def create_app(
    *roots: str | os.PathLike[str],
    base_path: str = "/",
    token: str = "",
    hosts: tuple[str, ...] = (),
    fresh: float | None = None,
) -> Dash:
    """The dashboard over folders of runs, as a Dash application; ``serve`` runs it.

    Args:
        roots: the folders that recorders write to. They are read, never written.
        base_path: what every address begins with, as behind a proxy that serves more than this.
        token: what a reader must bring once; none is asked for if empty.
        hosts: names beside this machine's own to answer to.
        fresh: seconds that a look at the folders is good for; see ``gradlens_app.data``.

    Raises:
        RunError: if a root is missing or is not a folder.
        ValueError: for a base path that is none.
    """
    prefix = prefixed(base_path)
    data = Data(roots, fresh)
    app = Dash(
        "gradlens_app",
        title="gradlens",
        update_title=None,  # type: ignore[arg-type]  # Dash documents None for a steady title
        index_string=_INDEX.replace("NATIVES", _NATIVES).replace("PREFIX", prefix).replace("PLOTLY", _plotly()),
        url_base_pathname=prefix,
        serve_locally=True,
        use_pages=False,
        pages_folder="",
        add_log_handler=False,
        enable_mcp=False,
        # Pages come and go with the address, and their callbacks with them.
        suppress_callback_exceptions=True,
    )
    pages = {page.path: page for page in PAGES}
    app.layout = lambda: layout.frame(data.name, PAGES, prefix, there=bool(data.listing().entries))
    frame.connect(app, data, pages)
    _add_pages(app, data, pages, prefix)
    for page in PAGES:
        if page.connect is not None:
            page.connect(app, data)
    add_exports(app.server, data, pages, prefix)
    add_drawings(app.server, data, pages, prefix)
    keep_responses(app.server, data, prefix)
    warm_pages(app.server, data, pages, prefix)
    _add_error_pages(app)
    app.server.config["MAX_CONTENT_LENGTH"] = MAX_BODY  # also for a body that announced no length
    app.server.wsgi_app = Gate(
        app.server.wsgi_app,
        content_policy((*app.csp_hashes(), script_hash(_NATIVES))),
        token=token,
        hosts=hosts,
        prefix=prefix,
    )
    return app


def _plotly() -> str:
    """Where Dash serves Plotly: under a name that changes with it, so that a browser keeps it for good.

    It runs once the renderer has asked for the layout, and is there before the first chart.
    """
    path = "package_data/plotly.min.js"
    package = Path(plotly.__file__).parent
    changed = int((package / path).stat().st_mtime)
    return f"_dash-component-suites/plotly/{build_fingerprint(path, plotly.__version__, changed)}"


def _add_pages(app: Dash, data: Data, pages: Mapping[str, Page], prefix: str) -> None:
    @app.callback(
        Output("page", "children"), Input("address", "pathname"), Input("there", "data"), State("address", "search")
    )
    def show(path: str | None, _there: bool | None, search: str | None) -> object:
        page = pages.get(frame.bare(app, path))
        listing = data.listing()
        if page is None:
            return layout.missing_page(prefix)
        if not listing.entries:
            return layout.empty_root(data.name, listing.problems)
        return page.body(data) if page.body is not None else body(page, data, path or "/", search or "")


def _add_error_pages(app: Dash) -> None:
    @app.server.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        return Response(f"{error.code} {error.name}.", status=error.code, mimetype="text/plain")

    @app.server.errorhandler(Exception)
    def failed(error: Exception) -> Response:
        if isinstance(error, RecursionError):
            return Response("The request is nested too deeply.", status=400, mimetype="text/plain")
        logger.error("a request failed", exc_info=error)
        sentence = "gradlens could not answer this request; the terminal it runs in says why."
        return Response(sentence, status=500, mimetype="text/plain")
