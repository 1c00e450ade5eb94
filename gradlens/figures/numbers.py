"""The numbers drawn in a figure, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from gradlens.figures.figure import Band, Bars, Figure, Floats, Heatmap, Hexbin, Line, Mark, Points, Rule, Text

Row = dict[str, str]
COLUMNS = ("panel", "mark", "label", "x", "x_end", "y", "low", "high", "value")


def numbers_csv(figure: Figure) -> str:
    """Every number drawn in a figure, a row a point: panel, mark, label, x, x_end, y, low, high, value.

    Only a heatmap's cells have ``x_end``; their ``y`` is the row's name, as ``x`` is a bar's. ``low`` and ``high`` are
    the ends of an interval or a band, ``value`` is what a colour stands for. A hexbin gives its points. Text that a
    spreadsheet would take for a formula gets a quote in front.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for panel in figure.panels:
        for mark in panel.marks:
            head = {"panel": _inert(panel.title), "mark": _name(mark), "label": _inert(_label(mark))}
            writer.writerows(head | row for row in _rows(mark))
    return out.getvalue()


def _rows(mark: Mark) -> Iterator[Row]:
    match mark:
        case Line() | Hexbin():
            yield from _columns(x=mark.x, y=mark.y)
        case Points():
            yield from _columns(x=mark.x, y=mark.y, low=mark.error_low, high=mark.error_high, value=mark.values)
        case Band():
            yield from _columns(x=mark.x, low=mark.low, high=mark.high)
        case Bars():
            names = ({"x": _inert(name)} for name in mark.names)
            yield from map(_joined, names, _columns(y=mark.values, low=mark.low, high=mark.high))
        case Heatmap():
            for name, values in zip(mark.rows, mark.values, strict=True):
                for row in _columns(x=mark.x[:-1], x_end=mark.x[1:], value=values):
                    yield row | {"y": _inert(name)}
        case Rule():
            yield {mark.along: f"{mark.at:.9g}"}
        case Text():
            yield {}


def _columns(**given: Floats | None) -> Iterator[Row]:
    columns = {name: [f"{x:.9g}" for x in values.tolist()] for name, values in given.items() if values is not None}
    for row in zip(*columns.values(), strict=True):
        yield dict(zip(columns, row, strict=True))


def _joined(one: Row, other: Row) -> Row:
    return one | other


def _name(mark: Mark) -> str:
    return type(mark).__name__.lower() + (" (raw)" if isinstance(mark, Line) and mark.faint else "")


def _label(mark: Mark) -> str:
    return mark.text if isinstance(mark, Text) else mark.label


def _inert(text: str) -> str:
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
