r"""What is left of a curve in the end: a power law that falls to a constant.

.. math:: y(T) = a\,T^{-k} + \beta, \qquad a, \beta \ge 0

The three are weakly identified: a small k mimics a constant. The interval of beta therefore comes from refitting all
three to resampled seeds, and beta counts as identified only where that interval is off zero and the tail has stopped.
For a given k the best a and beta, relative errors weighted alike, follow from two linear equations; k is searched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm as normal
from scipy.stats import t as student

from gradlens.stats.mean_interval import FEWEST, mean_interval, too_few

Floats = NDArray[np.float64]

STOPPED = 0.1
"""A tail whose exponent is shown to be below this has stopped: it loses less than 7 % when T doubles."""

_EXPONENTS = np.geomspace(0.05, 3.0, 120)


@dataclass(frozen=True, slots=True)
class TailFit:
    """A constant that more iterations do not remove, or why none is identified.

    Attributes:
        beta: the constant; NaN where nothing could be fitted.
        low: lower end of its 95 % interval; NaN for fewer than three seeds.
        high: upper end.
        exponent: k.
        amplitude: a, at T counted in steps.
        slope: exponent of the tail, minus the slope of log y against log T over the last three quarters of the time.
        slope_high: upper end of its interval.
        n: seeds.
        status: empty where beta is identified, otherwise "not identified" and why.
    """

    beta: float
    low: float
    high: float
    exponent: float
    amplitude: float
    slope: float
    slope_high: float
    n: int
    status: str


def tail_fit(steps: ArrayLike, values: ArrayLike, *, tries: int = 400, seed: int = 0) -> TailFit:
    """Fit the mean over seeds, and refit it to resampled seeds.

    Every measurement counts alike: the curve is followed best where they are dense. Where the constant is the question,
    and the beginning is no power law, measure the end as often as the beginning.

    Args:
        steps: (m,) ascending; those at 0 are left out.
        values: (n, m) positive; a row is one seed.
        tries: resamples.
        seed: of a generator of its own.

    >>> t = np.geomspace(10, 10_000, 30)
    >>> seeds = 1 + 0.02 * np.random.default_rng(0).standard_normal((10, 30))
    >>> found = tail_fit(t, (5 / t + 0.1) * seeds)
    >>> round(found.beta, 2), found.status, tail_fit(t, (5 / t) * seeds).status[:42]
    (0.1, '', 'not identified: the interval touches zero.')
    """
    t, y = np.asarray(steps, dtype=np.float64), np.atleast_2d(np.asarray(values, dtype=np.float64))
    y = y[:, t > 0]
    t = t[t > 0]
    y = y[(np.isfinite(y) & (y > 0)).all(axis=1)]
    n = len(y)
    if len(t) < 5 or not n:
        why = f"not identified: the fit takes five steps and a seed at least; got {len(t)} and {n}."
        return TailFit(*(np.nan,) * 7, n=n, status=why)
    k, a, beta = (float(found[0]) for found in _fit(t, y.mean(axis=0)[None]))
    slope = mean_interval(_tail_slopes(t, y))
    low = high = np.nan
    if n >= FEWEST:
        drawn = np.random.default_rng(seed).integers(n, size=(tries, n))
        ends = np.quantile(_fit(t, y[drawn].mean(axis=1))[2], [0.025, 0.975])
        # A bootstrap of few seeds is too narrow, by as much as a normal interval of their mean would be.
        wider = student.ppf(0.975, n - 1) / normal.ppf(0.975) * np.sqrt(n / (n - 1))
        low, high = (max(0.0, float(beta + wider * (end - beta))) for end in ends)
    found = float(slope.mean), float(slope.high)
    return TailFit(beta, low, high, k, a, *found, n=n, status=_why_not(beta, low, *found, n))


def _tail_slopes(t: Floats, y: Floats) -> Floats:
    """(n,) exponents by least squares; transients left in the tail make them too large, which is the careful side."""
    late = t > 0.25 * t[-1]
    x = np.log(t[late]) - np.log(t[late]).mean()
    squares = x @ x
    return -(np.log(y[:, late]) @ x) / squares if squares > 0 else np.full(len(y), np.nan)


def _fit(t: Floats, curves: Floats) -> tuple[Floats, Floats, Floats]:
    """k, a and beta of each curve.

    Args:
        t: (m,) positive.
        curves: (r, m) positive.

    Returns:
        Three of (r,).
    """
    weights = 1 / curves**2
    power = (t / t[-1]) ** -_EXPONENTS[:, None]
    w, wp, wpp = weights.sum(axis=1)[:, None], weights @ power.T, weights @ (power**2).T
    wy, wpy = (weights * curves).sum(axis=1)[:, None], (weights * curves) @ power.T
    determinant = np.maximum(wpp * w - wp**2, 1e-300)
    a, beta = (wpy * w - wp * wy) / determinant, (wpp * wy - wp * wpy) / determinant
    a, beta = np.where(beta < 0, wpy / wpp, a), np.maximum(beta, 0.0)
    a, beta = np.maximum(a, 0.0), np.where(a < 0, wy / w, beta)
    # Sum of weights * curves^2 is the number of points; what is missing of the square does not depend on k.
    loss = a**2 * wpp + 2 * a * beta * wp + beta**2 * w - 2 * a * wpy - 2 * beta * wy
    at = loss.argmin(axis=1)
    rows = np.arange(len(curves))
    k = _EXPONENTS[at]
    return k, a[rows, at] * t[-1] ** k, beta[rows, at]


def _why_not(beta: float, low: float, slope: float, slope_high: float, n: int) -> str:
    if n < FEWEST:
        return f"not identified: {too_few(n)}"
    if not low > 1e-3 * beta or beta <= 0:
        return "not identified: the interval touches zero."
    if not slope_high < STOPPED:
        return f"not identified: the tail still falls, as T^-{slope:.2f} (T^-{slope_high:.2f} is not excluded)."
    return ""
