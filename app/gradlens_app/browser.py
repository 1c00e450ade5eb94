"""The callbacks that run in the browser alone: see ``assets/``."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from dash import ALL, ClientsideFunction, Dash, Input, Output, State

_CHOICES = {"type": "choice", "name": ALL}
_SLIDERS = {"type": "slider", "name": ALL}
_RAIL = {"type": "rail", "path": ALL}


class _Add(Protocol):
    def __call__(self, name: str, *arguments: Any, **named: Any) -> None:
        """Add a function of ``assets/`` as a callback."""


def connect(app: Dash) -> None:
    """Add the callbacks."""
    add = partial(_add, app)
    _write_address(add)
    _follow_address(add)
    _attend_charts(add)
    _keep_theme(add)


def _add(app: Dash, name: str, *arguments: Any, **named: Any) -> None:
    app.clientside_callback(ClientsideFunction("gradlens", name), *arguments, **named)


def _write_address(add: _Add) -> None:
    """What the reader does becomes a new address."""
    new = Output("go", "search", allow_duplicate=True)
    asked = [Input(_CHOICES, "value"), Input(_SLIDERS, "value"), State(_CHOICES, "id"), State(_SLIDERS, "id")]
    add("control", new, *asked, State("told", "data", allow_optional=True), prevent_initial_call=True)
    add("unzoom", new, Input("zoom-out", "n_clicks"), prevent_initial_call=True)
    add("pause", new, Input("live-switch", "n_clicks"), prevent_initial_call=True)
    add("until", Output("until", "data"), Input(_SLIDERS, "value"), State(_SLIDERS, "id"))


def _follow_address(add: _Add) -> None:
    """What stands around a page follows the address."""
    add(
        "address",
        Output(_RAIL, "href"),
        Output(_RAIL, "className"),
        Output("live", "disabled"),
        Output("live-switch", "children"),
        Input("address", "search"),
        Input("address", "pathname"),
        Input("theme", "data"),
        State(_RAIL, "id"),
        State("prefix", "data"),
    )
    add("zoomed", Output("zoomed", "className"), Output("zoom-text", "children"), Input("view", "data"))
    add("told", Output("chosen", "data"), Input("told", "data"), State("view", "data", allow_optional=True))


def _attend_charts(add: _Add) -> None:
    """Charts are asked for anew when what they show changes."""
    view = Input("view", "data", allow_optional=True)
    add("ask", Output("drawn", "data"), view, Input("theme", "data"), Input("until", "data"))


def _keep_theme(add: _Add) -> None:
    add(
        "theme",
        Output("theme", "data"),
        Output("provider", "forceColorScheme"),
        Output("theme-switch", "children"),
        Input("theme-switch", "n_clicks"),
    )
