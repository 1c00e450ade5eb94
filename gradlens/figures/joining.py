"""Fewer marks that look the same: what a browser draws sooner."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gradlens.figures.figure import Line, Panel


def join_faint(panel: Panel) -> Panel:
    """A panel whose faint lines of one colour are one line with gaps, under everything else.

    >>> import numpy as np
    >>> from gradlens.figures.figure import Axis
    >>> one, other = (Line(np.arange(2.0), np.ones(2) * y, "run-0", faint=True) for y in (1, 2))
    >>> (line,) = join_faint(Panel("", "", Axis(""), Axis(""), (one, other))).marks
    >>> line.y.tolist()
    [1.0, 1.0, nan, 2.0, 2.0, nan]
    """
    faint: dict[str, list[Line]] = {}
    for mark in panel.marks:
        if isinstance(mark, Line) and mark.faint:
            faint.setdefault(mark.colour, []).append(mark)
    if all(len(lines) == 1 for lines in faint.values()):
        return panel
    gap = np.array([np.nan])
    joined = tuple(
        Line(
            np.concatenate([part for line in lines for part in (line.x, gap)]),
            np.concatenate([part for line in lines for part in (line.y, gap)]),
            colour,
            faint=True,
        )
        for colour, lines in faint.items()
    )
    return replace(panel, marks=joined + tuple(m for m in panel.marks if not (isinstance(m, Line) and m.faint)))
