"""What a figure is: panels of marks over numbers, with no drawing library in sight.

A figure is built once from a result and drawn by either renderer, so that page and paper show the same thing and a test
can ask what a figure shows without looking at an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradlens.store import Run

Floats = NDArray[np.float64]
Limits = tuple[float, float]

_BARS_WIDTH = 0.8


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its label, its scale, fixed limits, and ticks as (position, text) where they are named."""

    label: str
    scale: Literal["linear", "log"] = "linear"
    limits: Limits | None = None
    ticks: tuple[tuple[float, str], ...] | None = None

    @property
    def title(self) -> str:
        """The label, and that the scale is logarithmic where it is."""
        return f"{self.label}, log scale" if self.scale == "log" else self.label


@dataclass(frozen=True, slots=True)
class Line:
    """A polyline through (x, y); a faint one is the raw data under a smoothed one."""

    x: Floats
    y: Floats
    colour: str
    label: str = ""
    faint: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Points:
    """Markers at (x, y), of one colour or coloured by a value each, with a vertical interval each where known.

    Attributes:
        x: (n,) positions.
        y: (n,) heights.
        colour: role; of the intervals too.
        label: name in the legend.
        marker: shape.
        values: (n,) what colours the points, by viridis; a point whose value is NaN is grey.
        values_label: name of the colour bar.
        error_low: (n,) lower ends of the intervals, NaN where there is none.
        error_high: (n,) upper ends.
    """

    x: Floats
    y: Floats
    colour: str
    label: str = ""
    marker: Literal["dot", "cross"] = "dot"
    values: Floats | None = None
    values_label: str = ""
    error_low: Floats | None = None
    error_high: Floats | None = None

    def __post_init__(self) -> None:
        each = {"y": self.y, "values": self.values, "error_low": self.error_low, "error_high": self.error_high}
        _check_lengths("points", len(self.x), each)
        if (self.error_low is None) != (self.error_high is None):
            raise ValueError("points with intervals take both ends, error_low and error_high; got one.")


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two curves over x, as of an interval; blank where an end is NaN."""

    x: Floats
    low: Floats
    high: Floats
    colour: str
    label: str = ""

    def __post_init__(self) -> None:
        _check_lengths("a band", len(self.x), {"low": self.low, "high": self.high})


@dataclass(frozen=True, slots=True)
class Heatmap:
    """Cells coloured by viridis, the first row at the top.

    Attributes:
        x: (m + 1,) edges of the cells, ascending.
        rows: names of the rows.
        values: (rows, m), NaN blank; so are values that a log scale does not have.
        label: name of the colour bar.
        scale: of the colours.
    """

    x: Floats
    rows: tuple[str, ...]
    values: Floats
    label: str
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        expected = len(self.rows), len(self.x) - 1
        if self.values.shape != expected:
            raise ValueError(f"a heatmap of {expected[0]} rows and {len(self.x)} edges takes {expected} values; "
                             f"got {self.values.shape}.")  # fmt: skip

    @property
    def shown(self) -> Floats:
        """(rows, m) what the colours stand for: the values, NaN where a cell is blank."""
        kept = np.isfinite(self.values) & (self.values > 0 if self.scale == "log" else True)
        shown: Floats = np.where(kept, self.values, np.nan)
        return shown


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar for each category, from zero; several in a panel stand side by side.

    Attributes:
        names: categories, in the order of the axis.
        values: (n,) heights, NaN for none.
        colour: role.
        label: name in the legend.
        low: (n,) lower ends of the intervals.
        high: (n,) upper ends.
    """

    names: tuple[str, ...]
    values: Floats
    colour: str
    label: str = ""
    low: Floats | None = None
    high: Floats | None = None

    def __post_init__(self) -> None:
        _check_lengths("bars", len(self.names), {"values": self.values, "low": self.low, "high": self.high})
        if (self.low is None) != (self.high is None):
            raise ValueError("bars with intervals take both ends, low and high; got one.")


@dataclass(frozen=True, slots=True)
class Hexbin:
    """Points counted in hexagons, white to ``colour``; limits and grid fix the lattice, so panels compare."""

    x: Floats
    y: Floats
    colour: str
    x_limits: Limits
    y_limits: Limits
    columns: int = 26
    label: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A dotted straight line across the panel, at one x or one y."""

    at: float
    along: Literal["x", "y"]
    label: str = ""
    colour: str = "ink"


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence inside the panel, where there is nothing else to draw."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", sentence(self.text))


Mark = Line | Points | Band | Heatmap | Bars | Hexbin | Rule | Text


@dataclass(frozen=True, slots=True)
class Panel:
    """One set of axes.

    Attributes:
        title: what is shown.
        subtitle: what is measured, and where.
        x: horizontal axis.
        y: vertical axis.
        marks: drawn in order.
        foot: how many points are shown, and how.
    """

    title: str
    subtitle: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    foot: str = ""

    @property
    def categories(self) -> tuple[str, ...]:
        """Names under the bars, at 0, 1, 2, ..."""
        return tuple(dict.fromkeys(name for mark in self.marks if isinstance(mark, Bars) for name in mark.names))

    @property
    def heatmap(self) -> Heatmap | None:
        """The panel's heatmap, whose rows are at 0, 1, 2, ... downwards; None without one."""
        return next((mark for mark in self.marks if isinstance(mark, Heatmap)), None)

    def places(self, mark: Bars) -> tuple[Floats, float]:
        """Centres and width of a mark's bars."""
        groups = [other for other in self.marks if isinstance(other, Bars)]
        turn = next(index for index, other in enumerate(groups) if other is mark)
        width = _BARS_WIDTH / len(groups)
        middle = [self.categories.index(name) for name in mark.names]
        return np.array(middle, dtype=np.float64) + (turn - (len(groups) - 1) / 2) * width, width


@dataclass(frozen=True, slots=True)
class Source:
    """What a figure was made of.

    Attributes:
        name: of the drawing.
        runs: in order.
        arguments: what else it was given.
    """

    name: str
    runs: tuple[Run, ...]
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels in rows, with a caption that states the numbers.

    Attributes:
        name: file name and anchor, as in ``training_dynamics``.
        panels: in reading order.
        caption: the text beside the figure in a paper.
        columns: panels in a row.
        source: what it was made of, None where that is not known.
    """

    name: str
    panels: tuple[Panel, ...]
    caption: str
    columns: int = 2
    source: Source | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "caption", sentence(self.caption))

    @property
    def rows(self) -> int:
        """Rows of panels."""
        return -(-len(self.panels) // self.columns)

    def only(self, index: int) -> Figure:
        """The figure of one panel alone."""
        return replace(self, panels=(self.panels[index],), columns=1, source=None)


def sentence(text: str) -> str:
    """A clause, as the analysis says it after a colon, where it stands alone.

    >>> sentence("run 'a' has no steps.")
    "Run 'a' has no steps."
    """
    return text[:1].upper() + text[1:]


def _check_lengths(what: str, n: int, each: dict[str, Floats | None]) -> None:
    for name, values in each.items():
        if values is not None and values.shape != (n,):
            raise ValueError(f"{what} at {n} places take {n} of {name}; got an array of shape {values.shape}.")
