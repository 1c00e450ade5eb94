r"""Least squares of the power form: how fast smoothness grows with the gradient norm.

.. math:: \min_{L_0, L_1 \ge 0,\; \rho} \sum_t (y_t - L_0 - L_1 x_t^\rho)^2

For a given exponent the problem is a non-negative line, in closed form; the exponent is searched on a grid from 0.1 to
4 and refined by a parabola through the three best sums of squares, in each resample of the bootstrap too.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.block_sums import block_sums, drawn_blocks
from gradlens.stats.line_fit import LineFit, Solved, fit_line
from gradlens.stats.nonnegative_line import FEWEST_TRIES, closed_form
from gradlens.stats.studentized import long_block

Floats = NDArray[np.float64]
FORM = "power"
_BETWEEN = 0.1
EXPONENTS: Floats = _BETWEEN * np.arange(1, 41, dtype=np.float64)
_MOST_RESAMPLED = 1_000_000
_NEAR = 8


def power_line(x: ArrayLike, y: ArrayLike, *, tries: int = 999, seed: int = 0) -> LineFit:
    """Fit L0 + L1 x^rho by least squares, L0 and L1 non-negative, with block-bootstrap intervals.

    Args:
        x: (n,) positive numbers in the order in which they were measured; others are left out.
        y: (n,) positive numbers.
        tries: resamples of the bootstrap; fewer, down to 199, where n times this passes one million.
        seed: its seed.

    Returns:
        The fit; ``status`` says why there is none, ``caveat`` why there is no interval.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0.1, 4, 1000)
    >>> fit = power_line(x, 2 + 3 * x**2 + rng.standard_normal(1000))
    >>> low, high = fit.rho_interval
    >>> bool(low < 2 < high), bool(high - low < 0.3)
    (True, True)
    """
    return fit_line(FORM, x, y, partial(_solve, tries=tries, seed=seed), unit=_geometric_mean)


def _geometric_mean(values: Floats) -> float:
    return float(np.exp(np.log(values).mean()))


def _solve(u: Floats, v: Floats, tries: int, seed: int) -> Solved:
    n = len(u)
    powers = np.multiply.accumulate(np.broadcast_to(u[:, None] ** _BETWEEN, (n, len(EXPONENTS))), axis=1)
    points = np.concatenate([powers, powers**2, v[:, None] * powers, v[:, None], v[:, None] ** 2], axis=1)
    if not np.isfinite(points).all():
        return Solved((np.inf,) * 3, (np.ones(1),) * 3, 1)
    l0, l1, rho = (float(part[0]) for part in _profile(points.mean(axis=0)[None], EXPONENTS))
    residuals = v - l0 - l1 * u**rho
    slopes = residuals * u**rho
    block = long_block((residuals, slopes, slopes * np.log(u)), n)
    tries = min(tries, max(FEWEST_TRIES, _MOST_RESAMPLED // n))
    lines = _resampled(points, rho, block, tries, seed)
    return Solved((l0, l1, rho), lines, block, why_none=_why_no_exponent(rho, lines[2]))


def _resampled(points: Floats, rho: float, block: int, tries: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """The same in each resample: first among exponents near the data's own, among all if one ends at those' edge."""
    size, last = len(EXPONENTS), len(EXPONENTS) - 1
    middle = int(np.abs(EXPONENTS - rho).argmin())
    for reach in (_NEAR, size):
        begin, end = max(0, middle - reach), min(last, middle + reach)
        chosen = np.arange(begin, end + 1)
        columns = np.concatenate([chosen, size + chosen, 2 * size + chosen, [3 * size, 3 * size + 1]])
        summed, blocks = block_sums(points[:, columns], block), math.ceil(len(points) / block)
        drawn = np.concatenate([counts @ summed for counts in drawn_blocks(len(points), block, tries, seed)])
        lines = _profile(drawn / (blocks * block), EXPONENTS[chosen])
        cut = (begin > 0 and (lines[2] <= EXPONENTS[begin]).any()) or (
            end < last and (lines[2] >= EXPONENTS[end]).any()
        )
        if not cut:
            break
    return lines


def _profile(means: Floats, exponents: Floats) -> tuple[Floats, Floats, Floats]:
    """(t,) L0, L1 and rho of each row of means, which are of the powers, their squares and their products with y."""
    size = len(exponents)
    power, square, product = (means[:, size * part : size * (part + 1)] for part in range(3))
    y, yy = means[:, -2:-1], means[:, -1:]
    l0, l1 = closed_form(power, square, np.broadcast_to(y, power.shape), product)
    left = yy + l0**2 + l1**2 * square - 2 * l0 * y - 2 * l1 * product + 2 * l0 * l1 * power
    rows = np.arange(len(means))
    best = left.argmin(axis=1)
    inner = np.clip(best, 1, size - 2)
    before, at, after = (left[rows, inner + shift] for shift in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(bend > 0, 0.5 * (before - after) / np.where(bend > 0, bend, 1.0), 0.0)
    shift = np.where(best == inner, np.clip(shift, -0.5, 0.5), best - inner)
    rho = exponents[inner] + shift * _BETWEEN
    return _between(l0, rows, inner, shift), _between(l1, rows, inner, shift), rho


def _between(values: Floats, rows: NDArray[np.int64], at: NDArray[np.int64], shift: Floats) -> Floats:
    """Values of a grid, read between its points by the parabola through three, never below 0."""
    before, middle, after = (values[rows, at + step] for step in (-1, 0, 1))
    curve = middle + shift * (after - before) / 2 + shift**2 * (before - 2 * middle + after) / 2
    return np.where(middle > 0, np.maximum(curve, 0.0), 0.0)


def _why_no_exponent(rho: float, drawn: Floats) -> str:
    """Empty, or the sentence that says that the search's own ends, not the data, bound the exponent."""
    low, high = EXPONENTS[0], EXPONENTS[-1]
    outside = float(np.mean((drawn <= low) | (drawn >= high)))
    if low < rho < high and outside <= 0.025:
        return ""
    return (
        f"rho is not determined between {low:g} and {high:g} ({outside:.0%} of the resamples end at a bound): "
        "no interval."
    )
