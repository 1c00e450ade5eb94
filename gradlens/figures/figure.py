"""What a figure is: panels of marks over numbers, with no drawing library in sight.

A figure is built once from a result and drawn by either renderer, so that page and paper show the same thing and a test
can ask what a figure shows without looking at an image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Limits = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its label, scale, and limits where they are fixed."""

    label: str
    scale: Literal["linear", "log"] = "linear"
    limits: Limits | None = None


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
    """Markers at (x, y)."""

    x: Floats
    y: Floats
    colour: str
    label: str = ""
    marker: Literal["dot", "cross"] = "dot"


@dataclass(frozen=True, slots=True)
class Band:
    """The area between two curves over x, as of an interval; blank where an end is NaN."""

    x: Floats
    low: Floats
    high: Floats
    colour: str
    label: str = ""


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


Mark = Line | Points | Band | Hexbin | Rule | Text


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


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels in rows, with a caption that states the numbers.

    Attributes:
        name: file name and anchor, as in ``training_dynamics``.
        panels: in reading order.
        caption: the text beside the figure in a paper.
        columns: panels in a row.
    """

    name: str
    panels: tuple[Panel, ...]
    caption: str
    columns: int = 2

    @property
    def rows(self) -> int:
        """Rows of panels."""
        return -(-len(self.panels) // self.columns)

    def only(self, index: int) -> Figure:
        """The figure of one panel alone."""
        return replace(self, panels=(self.panels[index],), columns=1)
