r"""Quantile regression of a line: the upper envelope of smoothness over the gradient norm.

.. math:: \min_{L_0, L_1 \ge 0} \sum_t \rho_\tau(y_t - L_0 - L_1 x_t), \qquad \rho_\tau(r) = r\,(\tau - 1[r < 0])

For a given slope the best intercept is a quantile of the residuals, or 0 if that is negative; what is left is convex in
the slope, and is searched by golden sections. The interval resamples blocks of the estimating function,
:math:`\theta^* = \theta + J^{-1} \tfrac1n \sum_t c_t X_t (\tau - 1[r_t < 0])` with :math:`c_t` the times that a
resample holds point t, and J by Hendricks' and Koenker's difference of two neighbouring quantile lines; it is
studentised, see :mod:`gradlens.stats.studentized`.

References:
    Koenker and Bassett, "Regression quantiles", Econometrica, 1978.
    Hendricks and Koenker, "Hierarchical spline models for conditional quantiles", JASA, 1992.
    Parzen, Wei and Ying, "A resampling method based on pivotal estimating functions", Biometrika, 1994.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.line_fit import LineFit, Solved, fit_line
from gradlens.stats.nonnegative_line import FEWEST_TRIES, MOST_RESAMPLED
from gradlens.stats.studentized import long_block, resampled_means, standard_error, studentized_interval

Floats = NDArray[np.float64]
MIN_BEYOND = 20
_WIDE = 2.0  # times the usual width, at which J is so noisy that intervals cover too little
_GOLDEN = (math.sqrt(5) - 1) / 2
_SECTIONS = 64  # each leaves .618 of the interval: 1e-13 of the first
_EXACT, _NEARLY, _ROUGH = 1e-11, 1e-4, 1e-2
_PART = 400  # points that say about where the slope of many lies


def quantile_line(x: ArrayLike, y: ArrayLike, quantile: float, *, tries: int = 999, seed: int = 0) -> LineFit:
    """Fit the line L0 + L1 x below which a share of the points lies, both non-negative, with intervals.

    Args:
        x: (n,) positive numbers in the order in which they were measured; others are left out.
        y: (n,) positive numbers.
        quantile: tau in (0, 1): 0.9 leaves one point in ten above the line.
        tries: resamples of the bootstrap; fewer, down to 199, where n times this passes two million.
        seed: its seed.

    Returns:
        The fit; ``status`` says why there is none, ``caveat`` why there is no interval: with fewer than 20 points
        beyond the line, say.

    Raises:
        ValueError: if the quantile is not inside (0, 1).

    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(1, 5, 2000)
    >>> fit = quantile_line(x, (2 + 3 * x) * rng.random(2000), 0.9)  # its .9 quantile is 1.8 + 2.7 x
    >>> bool(fit.l1_interval[0] < 2.7 < fit.l1_interval[1]), bool(np.ptp(fit.l1_interval) < 0.4)
    (True, True)
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must lie between 0 and 1, as .9; got {quantile!r}.")
    return fit_line(f"quantile {quantile:g}", x, y, partial(_solved, quantile=quantile, tries=tries, seed=seed))


def _solved(u: Floats, v: Floats, quantile: float, tries: int, seed: int) -> Solved:
    n, line = len(u), _solve(u, v, quantile)
    influence, leverage = _influence(u, v, quantile, line)
    if not np.isfinite([*line, influence.sum()]).all():
        nothing = np.full(1, np.nan)
        return Solved((*line, 1.0), (nothing, nothing, np.ones(1)), 1)
    block = long_block(influence.T, n)
    tries = min(tries, max(FEWEST_TRIES, MOST_RESAMPLED // n))
    moved, errors = resampled_means(influence, block, tries, seed)
    intervals = [
        studentized_interval(
            estimate, standard_error(influence[:, place], leverage, block), moved[:, place] / errors[:, place]
        )
        for place, estimate in enumerate(line)
    ]
    return Solved(
        (*line, 1.0), (line[0] + moved[:, 0], line[1] + moved[:, 1], np.ones(1)), block, (intervals[0], intervals[1]),
        _too_few(n, quantile),
    )  # fmt: skip


def _too_few(n: int, quantile: float) -> str:
    beyond = n * min(quantile, 1 - quantile)
    if beyond >= MIN_BEYOND - 1e-9:
        return ""
    return f"only about {beyond:.0f} points lie beyond it; an interval needs {MIN_BEYOND}."


def _solve(u: Floats, v: Floats, quantile: float, within: float = _EXACT) -> tuple[float, float]:
    """Intercept and slope of the quantile line of positive numbers, the slope to a share of itself."""
    low, high = _bracket(u, v, quantile)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = _loss(u, v, quantile, left), _loss(u, v, quantile, right)
    for _ in range(_SECTIONS):
        if not high - low > within * high:
            break
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = _loss(u, v, quantile, left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = _loss(u, v, quantile, right)
    slope = low if low == 0 and _loss(u, v, quantile, 0.0) <= min(at_left, at_right) else (low + high) / 2
    return _intercept(v - slope * u, quantile), slope


def _bracket(u: Floats, v: Floats, quantile: float) -> tuple[float, float]:
    """Two slopes with the best one between them: of many points, near that of a part of them where it proves so."""
    widest = 0.0, float((v / u).max())
    part = len(u) // _PART
    if part < 2:
        return widest
    slope = _solve(u[::part], v[::part], quantile, _ROUGH)[1]
    low, high = slope / 1.3, slope * 1.3
    middle = _loss(u, v, quantile, slope)
    proven = middle < min(_loss(u, v, quantile, low), _loss(u, v, quantile, high))  # the loss is convex
    return (low, high) if proven else widest


def _intercept(residuals: Floats, quantile: float) -> float:
    """The least of the residuals that has its share of them at or below it, 0 if that is negative."""
    at = min(len(residuals) - 1, math.ceil(quantile * len(residuals)) - 1)
    return max(0.0, float(np.partition(residuals, at)[at]))


def _loss(u: Floats, v: Floats, quantile: float, slope: float) -> float:
    residuals = v - slope * u
    residuals -= _intercept(residuals, quantile)
    return float(quantile * residuals.sum() - np.minimum(residuals, 0.0).sum())


def _influence(u: Floats, v: Floats, quantile: float, line: tuple[float, float]) -> tuple[Floats, Floats]:
    """(n, 2) what each point adds to intercept and slope, NaN where the points do not determine them; its leverage."""
    n = len(u)
    points = np.stack([np.ones(n), u], axis=1)
    width = min(_WIDE * _bandwidth(n, quantile), 0.9 * min(quantile, 1 - quantile))
    above, below = (np.array(_solve(u, v, quantile + shift, _NEARLY)) for shift in (width, -width))
    gap = points @ (above - below)
    density = np.where(gap > 0, 2 * width / np.where(gap > 0, gap, 1.0), 0.0)
    information = points.T @ (density[:, None] * points) / n
    if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
        return np.full((n, 2), np.nan), np.zeros(n)
    score = points * (quantile - (v < line[0] + line[1] * u))[:, None]
    score -= score.mean(axis=0)  # not quite 0, since a quantile of n points is one of them
    leverage = density * np.einsum("nk,kn->n", points, np.linalg.solve(information, points.T)) / n
    return np.asarray(np.linalg.solve(information, score.T).T), leverage


def _bandwidth(n: int, quantile: float) -> float:
    """Hall's and Sheather's, in quantiles."""
    from scipy.stats import norm  # a recorder, which needs none of it, does not load SciPy

    z = norm.ppf(quantile)
    best = (1.5 * norm.pdf(z) ** 2 / (2 * z**2 + 1)) ** (1 / 3)
    return float(n ** (-1 / 3) * norm.ppf(0.975) ** (2 / 3) * best)
