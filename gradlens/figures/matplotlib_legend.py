"""One compact legend above all panels: what is called and coloured alike is named once, and no data are hidden."""

from __future__ import annotations

from typing import Final

from matplotlib.artist import Artist
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gradlens.figures.figure import Band, Bars, Figure, Line, Points, Rule
from gradlens.figures.matplotlib_text import POINTS, width_of
from gradlens.figures.palette import BAND, colour
from gradlens.figures.venues import Page
from gradlens.figures.wrapping import wrapped

Named = Line | Points | Band | Bars | Rule
_HANDLE: Final = 1.6
"""Length of a sample of a line over the size of the type."""

_SPACES: Final = 2.4
"""Between a sample and its name and between two entries, over the size of the type."""


def add_legend(canvas: Canvas, figure: Figure, sheet: Page) -> float:
    """Add the legend, where there is something to name; returns its height in points."""
    entries = _entries(figure)
    if not entries:
        return 0.0
    measure = width_of(sheet, sheet.small)
    width = sheet.width * POINTS
    beside = (_HANDLE + _SPACES) * sheet.small
    names = [wrapped(mark.label, width - beside - 6, measure) for mark in entries]
    widest = max(measure(line) for name in names for line in name.split("\n"))
    columns = max(1, min(len(entries), int((width - 6) / (widest + beside))))
    rows = -(-len(entries) // columns)
    canvas.legend(
        [_sample(mark) for mark in entries],
        # Matplotlib passes over names that begin with an underscore.
        [" " + name if name.startswith("_") else name for name in names],
        loc="outside upper center",
        ncols=columns,
        frameon=False,
        handlelength=_HANDLE,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.25,
        borderpad=0.1,
        borderaxespad=0.2,
    )
    lines = max(name.count("\n") + 1 for name in names)
    return rows * lines * sheet.small * 1.3 + 6


def _entries(figure: Figure) -> list[Named]:
    entries: dict[tuple[str, str], Named] = {}
    for panel in figure.panels:
        for mark in panel.marks:
            if not isinstance(mark, Named) or not mark.label or (isinstance(mark, Points) and mark.values is not None):
                continue
            key = mark.label, mark.colour
            if key not in entries or isinstance(entries[key], Band):
                entries[key] = mark
    return list(entries.values())


def _sample(mark: Named) -> Artist:
    ink = colour(mark.colour)
    match mark:
        case Line():
            return Line2D([], [], color=ink, linewidth=1.0, linestyle="--" if mark.dashed else "-")
        case Rule():
            return Line2D([], [], color=ink, linewidth=1.2, linestyle=":")
        case Points():
            shape = {"dot": "o", "cross": "x"}[mark.marker]
            return Line2D([], [], color=ink, linestyle="", marker=shape, markersize=3, markeredgewidth=0.6)
        case Band():
            return Patch(color=ink, alpha=BAND, linewidth=0.0)
        case Bars():
            return Patch(color=ink, linewidth=0.0)
