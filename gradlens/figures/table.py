"""A panel's numbers as a small table: for those who do not see the drawing, or want to read a value off."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradlens.figures.export import numbers_csv
from gradlens.figures.figure import Figure, Line, Panel

ROWS = 24
COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Table:
    """Texts in rows under a head.

    Attributes:
        caption: what the numbers are, and how many there are in all.
        head: names of the columns.
        rows: as many texts each as the head.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(panel: Panel) -> Table:
    """Curves at evenly spaced places along x; of anything else, the first numbers drawn.

    Args:
        panel: any.
    """
    curves = [mark for mark in panel.marks if isinstance(mark, Line) and not mark.faint and len(mark.x)]
    return _of_curves(panel, curves) if curves else _of_marks(panel)


def _of_curves(panel: Panel, curves: Sequence[Line]) -> Table:
    shown = curves[:COLUMNS]
    low, high = min(float(c.x.min()) for c in shown), max(float(c.x.max()) for c in shown)
    places = np.linspace(low, high, ROWS)
    rows = [(f"{x:.6g}", *(_at(curve, float(x)) for curve in shown)) for x in places]
    left = len(curves) - len(shown)
    caption = f"{panel.title}: {panel.y.label} at {ROWS} places along {panel.x.label}"
    caption += f"; {left} more curves are in the CSV." if left else ". All numbers drawn are in the CSV."
    return Table(caption, (panel.x.label, *(c.label or panel.y.label for c in shown)), tuple(dict.fromkeys(rows)))


def _at(curve: Line, x: float) -> str:
    """A curve's value at the drawn point nearest to x; nothing beyond its ends."""
    if not curve.x[0] <= x <= curve.x[-1]:
        return ""
    place = int(np.searchsorted(curve.x, x).clip(0, len(curve.x) - 1))
    if place and x - curve.x[place - 1] < curve.x[place] - x:
        place -= 1
    return f"{curve.y[place]:.4g}"


def _of_marks(panel: Panel) -> Table:
    head, *found = csv.reader(io.StringIO(numbers_csv(Figure("table", (panel,), ""))))
    caption = f"{panel.title}: the first {min(ROWS, len(found))} of {len(found):,} numbers drawn; all are in the CSV."
    return Table(caption, tuple(head[1:]), tuple(tuple(_short(text) for text in row[1:]) for row in found[:ROWS]))


def _short(text: str) -> str:
    try:
        return f"{float(text):.4g}"
    except ValueError:
        return text
