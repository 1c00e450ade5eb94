"""How the table of runs is sorted and filtered, as the address says it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from gradlens_app.view import View, ViewError

_MOST = 4_000
_TOGETHER = ("AND", "OR")


def sorting(view: View) -> list[dict[str, Any]]:
    """The columns that the table is sorted by, the first one first.

    >>> sorting(View(given={"sort": "config a%2Cb:asc,loss:desc"}))
    [{'colId': 'config a,b', 'sort': 'asc', 'sortIndex': 0}, {'colId': 'loss', 'sort': 'desc', 'sortIndex': 1}]
    """
    parts = [text.rpartition(":") for text in view.words("sort")]
    known = [(column, way) for column, _, way in parts if column and way in ("asc", "desc")]
    return [{"colId": column, "sort": way, "sortIndex": place} for place, (column, way) in enumerate(known)]


def resorted(columns: Sequence[Mapping[str, Any]] | None, by: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The state of a table's columns, sorted otherwise.

    >>> resorted([{"colId": "loss", "width": 80, "sort": "asc", "sortIndex": 0}], [])
    [{'colId': 'loss', 'width': 80, 'sort': None, 'sortIndex': None}]
    """
    found = {column["colId"]: column for column in by}
    none = {"sort": None, "sortIndex": None}
    return [{**column, **none, **found.get(column["colId"], {})} for column in columns or by]


def filters(view: View) -> dict[str, Any]:
    """The filters of the table's columns.

    Raises:
        ViewError: if they are not of the form that the table gives them.

    >>> filters(View(given={"filter": '{"steps": {"filterType": "number", "type": "lessThan", "filter": 5}}'}))
    {'steps': {'filterType': 'number', 'type': 'lessThan', 'filter': 5}}
    """
    text = view.given.get("filter", "")
    if not text:
        return {}
    try:
        found = json.loads(text) if len(text) <= _MOST else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(map(_is_filter, found.values())):
        raise ViewError("filter= expects the filters of the table as Copy link writes them.")
    return found


def _is_filter(one: object) -> bool:
    if not isinstance(one, Mapping):
        return False
    if "conditions" in one:
        conditions = one["conditions"]
        plain = {name: value for name, value in one.items() if name != "conditions"}
        return (
            isinstance(conditions, list)
            and one.get("operator") in _TOGETHER
            and all(isinstance(each, Mapping) and "conditions" not in each and _is_filter(each) for each in conditions)
            and _is_plain(plain)
        )
    return _is_plain(one)


def _is_plain(one: Mapping[str, object]) -> bool:
    return "filterType" in one and all(isinstance(value, (str, int, float, type(None))) for value in one.values())
