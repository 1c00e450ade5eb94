r"""The floor of the gradient norm as the learning rate goes to zero, from floors at several constant ones.

.. math:: y(\eta)^2 = \beta^2 + c\,\eta

to first order: noise adds to the squared norm in proportion to the learning rate, a constant bias does not. The line is
fitted to each seed, with weights that make relative errors alike, and beta is the root of the mean intercept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.mean_interval import FEWEST, mean_interval, too_few

Floats = NDArray[np.float64]

FEWEST_RATES = 3
_BENT = 0.25  # how far, of beta, the two smallest rates may disagree with all


@dataclass(frozen=True, slots=True)
class SmallRateLimit:
    """A constant that smaller learning rates do not remove, or why none is identified.

    Attributes:
        beta: the limit; 0 where the intercept is negative, NaN where nothing could be fitted.
        low: lower end of its 95 % interval; NaN for fewer than three seeds.
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
    squares = y**2
    weights = squares.mean(axis=0) ** -2
    weights /= weights.sum()
    centre = weights @ lr
    slopes = squares @ (weights * (lr - centre)) / (weights @ (lr - centre) ** 2)
    found = mean_interval(squares @ weights - slopes * centre)
    beta, low, high = (_root(float(end)) for end in (found.mean, found.low, found.high))
    nearer = _root(float(_two_smallest(lr, squares.mean(axis=0))))
    return SmallRateLimit(beta, low, high, float(slopes.mean()), n, _why_not(beta, low, nearer, n))


def _two_smallest(lr: Floats, squares: Floats) -> float:
    """Intercept of the line through the two smallest rates: another where the law does not hold up to the largest."""
    first, second = np.argsort(lr)[:2]
    slope = (squares[second] - squares[first]) / (lr[second] - lr[first])
    return float(squares[first] - slope * lr[first])


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0)) if not math.isnan(square) else math.nan


def _why_not(beta: float, low: float, nearer: float, n: int) -> str:
    if n < FEWEST:
        return f"not identified: {too_few(n)}"
    if not low > 0:
        return "not identified: the interval touches zero."
    if abs(nearer - beta) > _BENT * beta:
        return f"not identified: the squares are on no line; the two smallest rates alone give {nearer:.3g}."
    return ""
