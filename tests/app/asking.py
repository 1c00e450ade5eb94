"""What a browser asks the dashboard for, without a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from gradlens_app.data import Data
from gradlens_app.looking import Shown, drawn, look, words
from gradlens_app.page import Words
from gradlens_app.pages import PAGES

Place = tuple[str, str]
DYNAMICS = next(page for page in PAGES if page.path == "/dynamics")


def keys_of(*roots: Path) -> list[str]:
    """The keys of the runs, oldest first."""
    return [entry.key for entry in Data(roots).listing().entries]


def callback(
    client: FlaskClient,
    outputs: Sequence[Place],
    inputs: Mapping[Place, Any],
    state: Mapping[Place, Any],
    **headers: str,
) -> Any:
    """Call a callback as the browser does."""

    def given(values: Mapping[Place, Any]) -> list[dict[str, Any]]:
        return [{"id": name, "property": prop, "value": value} for (name, prop), value in values.items()]

    places = [{"id": name, "property": prop} for name, prop in outputs]
    several = len(outputs) > 1
    joined = "...".join(f"{name}.{prop}" for name, prop in outputs)
    body = {
        "output": f"..{joined}.." if several else joined,
        "outputs": places if several else places[0],
        "inputs": given(inputs),
        "state": given(state),
        "changedPropIds": [],
    }
    return client.post("/_dash-update-component", headers=headers, json=body)


def fill_table(
    client: FlaskClient,
    known: list[dict[str, Any]] | None = None,
    columns: list[str] | None = None,
    baseline: str | None = None,
    has: str | None = None,
    n: int = 0,
    **headers: str,
) -> Any:
    """What the browser asks for to fill the run table, and which columns it shows."""
    outputs = [("run-table", "rowData"), ("run-table", "columnDefs"), ("table-foot", "children")]
    outputs += [("table-problems", "children"), ("fill", "disabled"), ("asked", "data"), ("rows", "data")]
    outputs += [("rows-answered", "data")]
    state = {
        ("columns", "value"): columns,
        ("baseline", "value"): baseline,
        ("run-table", "columnDefs"): known,
        ("asked", "data"): {},
        ("rows", "data"): has,
    }
    return callback(client, outputs, {("rows-tick", "data"): n}, state, **headers)


def see(data: Data, search: str | None = None) -> Shown:
    """What the Dynamics page shows at an address, of all runs if it is None."""
    if search is None:
        search = "?runs=" + ",".join(entry.key for entry in data.listing().entries)
    return look(DYNAMICS, data, search)


def read(data: Data, search: str | None = None) -> tuple[list[str], Words]:
    """The feet of its charts, and its words."""
    found = see(data, search)
    feet = [drawn(chart).panels[0].foot for chart in found.answer.charts]
    return feet, words(found.answer)
