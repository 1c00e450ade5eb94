"""A line with two non-negative coefficients, and what may be said of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.block_length import FEW_BLOCKS
from gradlens.stats.bootstrap import percentile_interval

Floats = NDArray[np.float64]
Interval = tuple[float, float]
NO_INTERVAL: Interval = (math.nan, math.nan)
MIN_POINTS = 16
_TAIL = 0.025
FEW_LONG_BLOCKS = 30
"""Blocks of twice the usual length below which a studentised interval may be too narrow."""


@dataclass(frozen=True, slots=True)
class LineFit:
    r"""A fit of :math:`y \approx L_0 + L_1 x^\rho` with :math:`L_0, L_1 \ge 0`.

    Attributes:
        form: ``least squares``, ``quantile 0.9`` and the like, or ``power``.
        l0: value at x = 0, in the unit of y.
        l1: slope, in the unit of y over that of x to the power rho.
        rho: exponent; 1 but for the power form.
        l0_interval: 95 % interval by circular block bootstrap; NaN where there is none.
        l1_interval: the same of the slope.
        rho_interval: the same of the exponent.
        n: points used.
        block: block length of the bootstrap, in points; 0 without one.
        status: empty, or a sentence that says why there is no fit.
        caveat: empty, or a sentence that says why there is no interval, or why it is likely too narrow.
    """

    form: str
    l0: float
    l1: float
    rho: float
    l0_interval: Interval
    l1_interval: Interval
    rho_interval: Interval
    n: int
    block: int
    status: str = ""
    caveat: str = ""

    def at(self, x: ArrayLike) -> Floats:
        """The fit at x.

        >>> fit = LineFit("power", 1.0, 2.0, 0.5, NO_INTERVAL, NO_INTERVAL, NO_INTERVAL, 16, 0)
        >>> fit.at([0.0, 4.0])
        array([1., 5.])
        """
        return np.asarray(self.l0 + self.l1 * np.asarray(x, dtype=np.float64) ** self.rho)


@dataclass(frozen=True, slots=True)
class Solved:
    """What one form's solver finds, in units of its own.

    Attributes:
        estimate: L0, L1 and rho.
        draws: (tries,) each, the same in the resamples of a block bootstrap.
        block: its block length, in points.
        intervals: 95 % intervals of L0 and L1; the middle of the draws if None.
        why_none: empty, or a sentence that says why there is no interval.
    """

    estimate: tuple[float, float, float]
    draws: tuple[Floats, Floats, Floats]
    block: int
    intervals: tuple[Interval, Interval] | None = None
    why_none: str = ""


def mean(values: Floats) -> float:
    """The unit of most forms: numbers are then about 1.

    >>> mean(np.array([1.0, 3.0]))
    2.0
    """
    return float(values.mean())


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what overflows has no fit, which is said
def fit_line(
    form: str,
    x: ArrayLike,
    y: ArrayLike,
    solve: Callable[[Floats, Floats], Solved],
    unit: Callable[[Floats], float] = mean,
) -> LineFit:
    """A line of one form: its usable points in units of about 1 are solved, and the answer is given in theirs.

    Args:
        form: name of the form.
        x: (n,) numbers in the order in which they were measured; those that are not positive are left out.
        y: (n,) numbers, the same.
        solve: from x and y in units of about 1.
        unit: of x, from its values; that of y is their mean.
    """
    xs, ys = usable_points(x, y)
    n, why = len(xs), why_no_fit(xs)
    if why:
        return no_fit(form, n, why)
    x_unit, y_unit = unit(xs), mean(ys)
    found = solve(xs / x_unit, ys / y_unit)

    def scaled(l0: Any, l1: Any, rho: Any) -> tuple[Any, Any, Any]:
        return l0 * y_unit, l1 * y_unit / x_unit**rho, rho

    estimate = scaled(*found.estimate)
    if not np.isfinite([x_unit, y_unit, *estimate]).all():
        return no_fit(form, n, "the numbers are too large, or lie too many orders of magnitude apart, for a line.")
    own = found.intervals
    if own is not None:
        ends = [scaled(l0, l1, found.estimate[2])[:2] for l0, l1 in zip(*own, strict=True)]
        own = (ends[0][0], ends[1][0]), (ends[0][1], ends[1][1])
    fit = with_intervals(form, estimate, scaled(*found.draws), n, found.block, own)
    return without_intervals(fit, found.why_none) if found.why_none else fit


def usable_points(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    """The points at which both numbers are finite and positive.

    >>> usable_points([1.0, 2.0, 0.0], [3.0, float("nan"), 1.0])
    (array([1.]), array([3.]))
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    kept = np.isfinite(xs) & np.isfinite(ys) & (xs > 0) & (ys > 0)
    return xs[kept], ys[kept]


def why_no_fit(x: Floats) -> str:
    """Empty, or the sentence that says why points support no line.

    >>> why_no_fit(np.ones(20))
    'a line needs x to vary; it is constant.'
    """
    if len(x) < MIN_POINTS:
        return f"a line needs at least {MIN_POINTS} points with both numbers finite and positive; there are {len(x)}."
    if np.ptp(x) <= 1e-12 * x.max():
        return "a line needs x to vary; it is constant."
    return ""


def no_fit(form: str, n: int, why: str) -> LineFit:
    """The fit that there is not."""
    nan = math.nan
    return LineFit(form, nan, nan, nan, NO_INTERVAL, NO_INTERVAL, NO_INTERVAL, n, 0, why)


def with_intervals(
    form: str,
    estimate: tuple[float, float, float],
    draws: tuple[Floats, Floats, Floats],
    n: int,
    block: int,
    own: tuple[Interval, Interval] | None = None,
) -> LineFit:
    """A fit with its intervals, or with the sentence why it has none.

    A bootstrap is inconsistent where a parameter lies on the edge of what is allowed (Andrews, "Inconsistency of the
    bootstrap when a parameter is on the boundary of the parameter space", Econometrica, 2000). It lies there, or is not
    told from it, where more than one resample in forty puts it there; the other parameters depend on it. No end of an
    interval is negative.

    Args:
        form: name of the fit.
        estimate: L0, L1 and rho.
        draws: (tries,) each, the same in the resamples; of rho, empty where it is fixed.
        n: points.
        block: block length.
        own: intervals of L0 and L1, where they are not the middle of the draws.
    """
    middle = [percentile_interval(drawn) for drawn in draws]
    intervals = [(max(low, 0.0), high) for low, high in (*(own or middle[:2]), middle[2])]
    blocks = n / block
    few = blocks < (FEW_BLOCKS if own is None else FEW_LONG_BLOCKS)
    caveat = f"only about {blocks:.0f} independent blocks, so its intervals are likely too narrow." * few
    fit = LineFit(form, *estimate, intervals[0], intervals[1], intervals[2], n, block, caveat=caveat)
    for name, value, drawn in zip(("L0", "L1"), estimate, draws, strict=False):
        share = float(np.mean(drawn <= 0)) if len(drawn) else 0.0
        if value <= 0 or share > _TAIL:
            what = "is 0" if value <= 0 else f"is not told from 0 ({share:.0%} of the resamples put it there)"
            return without_intervals(
                fit, f"{name} {what}, the edge of what is allowed, where a bootstrap is not valid: no interval."
            )
    return fit


def without_intervals(fit: LineFit, why: str) -> LineFit:
    """The fit without its intervals, and the sentence that says why."""
    return replace(fit, l0_interval=NO_INTERVAL, l1_interval=NO_INTERVAL, rho_interval=NO_INTERVAL, caveat=why)
