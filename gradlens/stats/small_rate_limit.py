r"""The floor of the gradient norm as the learning rate goes to zero, from floors at several constant ones.

.. math:: y(\eta)^2 = \beta^2 + c\,\eta

to first order: noise adds to the squared norm in proportion to the learning rate, a constant bias does not. The line is
fitted to each seed, with weights that make relative errors alike, and beta is the root of the mean intercept.

The law is not taken for granted. The line through the two smallest rates must have the same intercept, by paired
differences over seeds, and beta's interval covers that of either line. A power of the rate without any constant,
:math:`y^2 = c\,\eta^p`, must be excluded: by squares that bend upwards on log axes, or hardly depend on the rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.mean_interval import FEWEST, mean_interval, too_few

Floats = NDArray[np.float64]

FEWEST_RATES = 3
_FLAT = 0.5  # a local exponent shown to be below this is of no noise: most of the smallest floor's square is constant


@dataclass(frozen=True, slots=True)
class SmallRateLimit:
    """A constant that smaller learning rates do not remove, or why none is identified.

    Attributes:
        beta: the limit; 0 where the intercept is negative, NaN where nothing could be fitted.
        low: lower end of its interval, which covers the 95 % intervals by all rates and by the two smallest; NaN for
            fewer than three seeds.
        high: upper end.
        slope: c, by how much the squared norm grows with the learning rate.
        n: seeds.
        status: empty where beta is identified, otherwise "not identified" and why.
    """

    beta: float
    low: float
    high: float
    slope: float
    n: int
    status: str


def small_rate_limit(rates: ArrayLike, floors: ArrayLike) -> SmallRateLimit:
    """Extrapolate floors to a learning rate of zero.

    Args:
        rates: (m,) learning rates, all different.
        floors: (n, m) the stationary gradient norm at each; a row is one seed. Incomplete seeds are left out.

    >>> rates, rng = np.array([0.1, 0.3, 1.0]), np.random.default_rng(0)
    >>> floors = np.sqrt(0.2**2 + 0.05 * rates) * (1 + 0.02 * rng.standard_normal((10, 3)))
    >>> found = small_rate_limit(rates, floors)
    >>> round(found.beta, 2), found.low < 0.2 < found.high, found.status
    (0.2, True, '')
    """
    lr, y = np.asarray(rates, dtype=np.float64), np.atleast_2d(np.asarray(floors, dtype=np.float64))
    y = y[(np.isfinite(y) & (y > 0)).all(axis=1)]
    n = len(y)
    if len(lr) < FEWEST_RATES or not n:
        why = f"not identified: the limit takes three learning rates and a seed at least; got {len(lr)} and {n}."
        return SmallRateLimit(math.nan, math.nan, math.nan, math.nan, n, why)
    order = np.argsort(lr)
    lr, squares = lr[order], y[:, order] ** 2
    weights = squares.mean(axis=0) ** -2
    weights /= weights.sum()
    centre = weights @ lr
    slopes = squares @ (weights * (lr - centre)) / (weights @ (lr - centre) ** 2)
    intercepts = squares @ weights - slopes * centre
    nearer = squares[:, 0] - lr[0] * (squares[:, 1] - squares[:, 0]) / (lr[1] - lr[0])
    ends = mean_interval(np.stack([intercepts, nearer]))
    low, high = (_root(float(end)) for end in (ends.low.min(), ends.high.max()))
    status = _why_not(low, slopes, nearer, intercepts, _exponents(lr, squares))
    return SmallRateLimit(_root(float(ends.mean[0])), low, high, float(slopes.mean()), n, status)


def _exponents(lr: Floats, squares: Floats) -> Floats:
    """(2, n) of the squares as a power of the rate: between the two smallest rates, and between the two largest."""
    found = np.diff(np.log(squares), axis=1) / np.diff(np.log(lr))
    return found[:, [0, -1]].T


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0)) if not math.isnan(square) else math.nan


def _why_not(low: float, slopes: Floats, nearer: Floats, intercepts: Floats, exponents: Floats) -> str:
    n = len(slopes)
    if n < FEWEST:
        return f"not identified: {too_few(n)}"
    # Floors that are alike but for rounding neither fall nor bend.
    least = 1e-12 * float(np.abs(intercepts).mean())
    slope, bend = (mean_interval(np.where(np.abs(x) > least, x, 0.0)) for x in (slopes, nearer - intercepts))
    if slope.below:
        return "not identified: the floor falls as the rate grows."
    if bend.below or bend.above:
        alone = _root(float(nearer.mean()))
        return f"not identified: the squares are on no line; the two smallest rates alone give {alone:.3g}."
    if not low > 0:
        return "not identified: the interval touches zero."
    if not (mean_interval(exponents[1] - exponents[0]).above or mean_interval(exponents[0]).high < _FLAT):
        power = float(exponents[0].mean())
        return f"not identified: the squares may be a power of the rate, about {power:.2g}, without a constant."
    return ""
