"""The Dash application: pages, routes and the gate put together."""

from __future__ import annotations

import logging
import os

from dash import Dash, Input, Output
from flask import Response
from werkzeug.exceptions import HTTPException

from gradlens_app import layout
from gradlens_app.catalogue import Catalogue
from gradlens_app.dynamics_figure import Figures
from gradlens_app.exports import add_exports
from gradlens_app.pages import dynamics, runs
from gradlens_app.security import MAX_BODY, Gate, content_policy

logger = logging.getLogger(__name__)

_INDEX = """<!DOCTYPE html>
<html lang="en">
<head>{%metas%}<title>{%title%}</title><link rel="icon" type="image/svg+xml" href="/assets/mark.svg">{%css%}</head>
<body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body>
</html>"""

# The theme lives in the browser; the server hears of it, since it draws the figures in the theme's colours.
_THEME = """
function(clicks) {
    let theme = null;
    try { theme = window.localStorage.getItem("gradlens-theme"); } catch (error) { theme = null; }
    if (theme !== "dark" && theme !== "light") {
        theme = window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    }
    if (clicks) {
        theme = theme === "dark" ? "light" : "dark";
        try { window.localStorage.setItem("gradlens-theme", theme); } catch (error) { /* a private window */ }
    }
    return [theme, theme, theme === "dark" ? "Light theme" : "Dark theme"];
}
"""


def create_app(root: str | os.PathLike[str]) -> Dash:
    """The dashboard over a folder of runs, as a Dash application; ``serve`` runs it.

    Args:
        root: the folder that a recorder writes to. It is read, never written.

    Raises:
        RunError: if the root is missing or is not a folder.
    """
    catalogue = Catalogue(root)
    figures = Figures(catalogue)
    app = Dash(
        "gradlens_app",
        title="gradlens",
        update_title=None,  # type: ignore[arg-type]  # Dash documents None for a steady title
        index_string=_INDEX,
        serve_locally=True,
        use_pages=False,
        pages_folder="",
        add_log_handler=False,
        enable_mcp=False,
        # Pages come and go with the address, and their callbacks with them.
        suppress_callback_exceptions=True,
    )
    app.layout = layout.frame(catalogue.name)
    app.clientside_callback(
        _THEME,
        Output("theme", "data"),
        Output("provider", "forceColorScheme"),
        Output("theme-switch", "children"),
        Input("theme-switch", "n_clicks"),
    )
    _add_pages(app, catalogue)
    runs.add_callbacks(app, catalogue)
    dynamics.add_callbacks(app, catalogue, figures)
    add_exports(app.server, catalogue, figures)
    _add_error_pages(app)
    app.server.config["MAX_CONTENT_LENGTH"] = MAX_BODY  # also for a body that announced no length
    app.server.wsgi_app = Gate(app.server.wsgi_app, content_policy(app.csp_hashes()))
    return app


def _add_pages(app: Dash, catalogue: Catalogue) -> None:
    @app.callback(
        Output("page", "children"),
        Output("rail", "children"),
        Output("run-count", "children"),
        Input("address", "pathname"),
    )
    def show(path: str | None) -> tuple[object, object, str]:
        path = (path or "/").rstrip("/") or "/"
        listing = catalogue.listing()
        count = len(listing.entries)
        if path not in layout.PAGES:
            content: object = layout.missing_page()
        elif not count:
            content = layout.empty_root(catalogue.name, listing.problems)
        else:
            content = runs.page(listing) if path == runs.PATH else dynamics.page()
        return content, layout.rail(path), f"{count:,} run{'' if count == 1 else 's'}"


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
