"""A series as marks: raw and faint, smoothed on top, spikes and non-finite steps kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.figures.figure import Line, Mark, Points
from gradlens.figures.palette import dashed
from gradlens.stats import ema, envelope

Floats = NDArray[np.float64]
LIMIT = 4000


@dataclass(frozen=True, slots=True)
class Curve:
    """Marks of one series, and how many of its points they draw."""

    marks: tuple[Mark, ...]
    drawn: int
    points: int
    nonfinite: int


def curve(
    steps: NDArray[np.int64],
    values: Floats,
    colour: str,
    label: str,
    smoothing: float,
    shown: tuple[float, float] | None = None,
) -> Curve:
    """Draw a series: raw and faint under a bias-corrected moving average, a cross where it is NaN or infinite.

    Args:
        steps: (n,) steps.
        values: (n,) values, as they are to be drawn.
        colour: role.
        label: name in the legend.
        smoothing: span of the average as a share of the series, 0 for none.
        shown: first and last step to draw, all if None. The average runs over the whole series all the same, so that a
            close-up shows the curve of the overview.
    """
    kept = within(steps, shown)
    raw = envelope(steps[kept], values[kept], LIMIT)
    marks: list[Mark] = []
    span = smoothing * len(values)
    if span > 2:
        smooth = envelope(steps[kept], ema(values, 1 - 1 / span)[kept], LIMIT)
        marks = [
            Line(raw.x, raw.y, colour, faint=True),
            Line(smooth.x, smooth.y, colour, label, dashed=dashed(colour)),
        ]
    else:
        marks = [Line(raw.x, raw.y, colour, label, dashed=dashed(colour))]
    holes = raw.nonfinite_x
    if len(holes):
        holes = holes[thinned(len(holes))]
        floor = np.full(len(holes), raw.y.min() if len(raw.y) else 0.0)
        marks.append(Points(holes, floor, colour, "NaN or infinite", marker="cross"))
    return Curve(tuple(marks), len(raw.x), raw.points, len(raw.nonfinite_x))


def thinned(count: int) -> NDArray[np.int64]:
    """Places of those points of a cloud that are drawn: all, or as many as there are pixels for, evenly spread.

    >>> thinned(3).tolist(), len(thinned(10**6))
    ([0, 1, 2], 4000)
    """
    return np.unique(np.linspace(0, count - 1, min(count, LIMIT)).astype(np.int64))


def within(steps: NDArray[np.int64], shown: tuple[float, float] | None) -> NDArray[np.bool_]:
    """Which steps are shown: those from the first to the last, both included.

    >>> within(np.array([0, 1, 2, 3]), (1, 2)).tolist()
    [False, True, True, False]
    """
    if shown is None:
        return np.ones(len(steps), dtype=bool)
    mask: NDArray[np.bool_] = (steps >= shown[0]) & (steps <= shown[1])
    return mask


def foot(curves: list[Curve], smoothing: float) -> str:
    """The line under a chart: how many points are drawn, and how."""
    if not curves:
        return ""
    text = f"{sum(c.drawn for c in curves):,} of {sum(c.points for c in curves):,} points"
    if smoothing:
        text += f"; raw faint, average over {100 * smoothing:g} % of the steps"
    lost = sum(c.nonfinite for c in curves)
    return text + (f"; {lost:,} NaN or infinite, marked ×" if lost else "")
