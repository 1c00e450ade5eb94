"""Fewer marks that look the same: what a browser draws sooner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradlens.figures.figure import Line, Mark, Panel, Points


@dataclass(frozen=True, slots=True)
class Joined:
    """Which curves a joined mark holds.

    Attributes:
        place: of the mark in its panel.
        starts: index of each curve's first point.
        labels: each curve's name.
    """

    place: int
    starts: tuple[int, ...]
    labels: tuple[str, ...]


def join_faint(panel: Panel) -> Panel:
    """A panel whose faint lines of one colour are one line with gaps, under everything else.

    >>> import numpy as np
    >>> from gradlens.figures.figure import Axis
    >>> one, other = (Line(np.arange(2.0), np.ones(2) * y, "run-0", faint=True) for y in (1, 2))
    >>> (line,) = join_faint(Panel("", "", Axis(""), Axis(""), (one, other))).marks
    >>> line.y.tolist()
    [1.0, 1.0, nan, 2.0, 2.0, nan]
    """
    faint = [mark for mark in panel.marks if isinstance(mark, Line) and mark.faint]
    if len({line.colour for line in faint}) == len(faint):
        return panel
    joined = tuple(_line(lines) for lines in _by_colour(faint))
    return replace(panel, marks=joined + tuple(m for m in panel.marks if not (isinstance(m, Line) and m.faint)))


def join_curves(panel: Panel) -> tuple[Panel, tuple[Joined, ...]]:
    """A panel of many curves with one solid line a colour, and which curves each of those holds.

    Crosses of one colour are one mark too. Faint lines lie under everything, crosses on top.

    >>> import numpy as np
    >>> from gradlens.figures.figure import Axis
    >>> one, other = (Line(np.arange(2.0), np.ones(2) * y, "run-0", f"y = {y}") for y in (1, 2))
    >>> found, (curves,) = join_curves(Panel("", "", Axis(""), Axis(""), (one, other)))
    >>> found.marks[0].y.tolist(), curves.starts, curves.labels
    ([1.0, 1.0, nan, 2.0, 2.0, nan], (0, 3), ('y = 1', 'y = 2'))
    """
    panel = join_faint(panel)
    lines = [mark for mark in panel.marks if isinstance(mark, Line) and not mark.faint]
    crosses = [mark for mark in panel.marks if isinstance(mark, Points) and mark.marker == "cross"]
    single = {id(mark) for mark in (*lines, *crosses)}
    under = tuple(mark for mark in panel.marks if id(mark) not in single)
    groups = _by_colour(lines)
    joined = tuple(
        Joined(
            len(under) + place,
            tuple(np.cumsum([0, *(len(line.x) + 1 for line in group[:-1])]).tolist()),
            tuple(line.label for line in group),
        )
        for place, group in enumerate(groups)
    )
    points = tuple(_crosses([mark for mark in crosses if mark.colour == each]) for each in _colours(crosses))
    return replace(panel, marks=(*under, *map(_line, groups), *points)), joined


def _colours(marks: Sequence[Line | Points]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(mark.colour for mark in marks))


def _by_colour(lines: Sequence[Line]) -> list[list[Line]]:
    return [[line for line in lines if line.colour == each] for each in _colours(lines)]


def _line(lines: Sequence[Line]) -> Line:
    """Several as one with gaps; a single one keeps its name."""
    gap = np.array([np.nan])
    x, y = (np.concatenate([part for line in lines for part in (getattr(line, side), gap)]) for side in "xy")
    return replace(lines[0], x=x, y=y, label=lines[0].label if len(lines) == 1 else "", dashed=False)


def _crosses(marks: Sequence[Points]) -> Mark:
    x, y = (np.concatenate([getattr(mark, side) for mark in marks]) for side in "xy")
    return Points(x, y, marks[0].colour, "NaN or infinite", marker="cross")
