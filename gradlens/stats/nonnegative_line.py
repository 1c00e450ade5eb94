r"""Non-negative least squares of a line: the mean of smoothness over the gradient norm.

.. math:: \min_{L_0, L_1 \ge 0} \sum_t (y_t - L_0 - L_1 x_t)^2

With x and y positive at most one of the two constraints acts, so that the answer is in closed form. Its interval is by
a block bootstrap, studentised: where errors grow with x and x is skewed, few points decide, and the middle of the
resampled lines covers too little.

Reference:
    Zhang, He, Sra and Jadbabaie, "Why gradient clipping accelerates training", ICLR 2020, arXiv 1905.11881, for
    :math:`\lVert \nabla^2 f \rVert \le L_0 + L_1 \lVert \nabla f \rVert`.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.block_sums import block_sums, drawn_blocks
from gradlens.stats.line_fit import LineFit, Solved, fit_line
from gradlens.stats.studentized import long_block, standard_error, studentized_interval

Floats = NDArray[np.float64]
FORM = "least squares"
MOST_RESAMPLED = 2_000_000
FEWEST_TRIES = 199
_FIRST, _SECOND = np.triu_indices(5)


def nonnegative_line(x: ArrayLike, y: ArrayLike, *, tries: int = 999, seed: int = 0) -> LineFit:
    """Fit L0 + L1 x by least squares, both non-negative, with block-bootstrap intervals.

    Args:
        x: (n,) positive numbers in the order in which they were measured; others are left out.
        y: (n,) positive numbers.
        tries: resamples of the bootstrap; fewer, down to 199, where n times this passes two million.
        seed: its seed.

    Returns:
        The fit; ``status`` says why there is none, ``caveat`` why there is no interval.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(1, 5, 1000)
    >>> fit = nonnegative_line(x, 2 + 3 * x + rng.standard_normal(1000))
    >>> bool(fit.l0_interval[0] < 2 < fit.l0_interval[1]), bool(fit.l1_interval[0] < 3 < fit.l1_interval[1])
    (True, True)
    """
    return fit_line(FORM, x, y, partial(_solve, tries=tries, seed=seed))


def _solve(u: Floats, v: Floats, tries: int, seed: int) -> Solved:
    n = len(u)
    points = np.stack([np.ones(n), u, u * u, v, u * v], axis=1)
    (l0, l1), centred = closed_form(*points[:, 1:].mean(axis=0)), u - u.mean()
    slope = centred * (v - l0 - l1 * u) / np.mean(centred**2)  # influence of each point on L1
    start = v - l0 - l1 * u - u.mean() * slope  # and on L0
    leverage = (1 + centred**2 / np.mean(centred**2)) / n
    block = long_block((start, slope), n)
    sums = block_sums(points, block)
    summed = np.concatenate([sums, sums[:, _FIRST] * sums[:, _SECOND]], axis=1)
    tries = min(tries, max(FEWEST_TRIES, MOST_RESAMPLED // n))
    drawn = np.concatenate([counts @ summed for counts in drawn_blocks(n, block, tries, seed)])
    lines, errors = _lines(drawn)
    estimate = float(l0), float(l1)
    intervals = tuple(
        studentized_interval(
            each, standard_error(influence, leverage, block), (lines[:, place] - each) / errors[:, place]
        )
        for place, (each, influence) in enumerate(zip(estimate, (start, slope), strict=True))
    )
    return Solved((*estimate, 1.0), (lines[:, 0], lines[:, 1], np.ones(1)), block, (intervals[0], intervals[1]))


def _lines(drawn: Floats) -> tuple[Floats, Floats]:
    """(t, 2) L0 and L1 of resamples, of any sign, and their standard errors, from sums of blocks and their products.

    With S the (5, 5) sums of products of the blocks' own sums of 1, x, x^2, y and x y, and A that which makes of them
    the normal equations' left sides at the line, the covariance is :math:`J^{-1} A S A' J^{-1} / n^2`.
    """
    t, n = len(drawn), drawn[:, 0]
    x, xx, y, xy = (drawn[:, 1:5] / n[:, None]).T
    l1 = (xy - x * y) / (xx - x * x)
    l0 = y - l1 * x
    products = np.empty((t, 5, 5))
    products[:, _FIRST, _SECOND] = products[:, _SECOND, _FIRST] = drawn[:, 5:]
    equations = np.zeros((t, 2, 5))
    equations[:, 0, 0] = equations[:, 1, 1] = -l0
    equations[:, 0, 1] = equations[:, 1, 2] = -l1
    equations[:, 0, 3] = equations[:, 1, 4] = 1.0
    middle = equations @ products @ equations.transpose(0, 2, 1)
    inverse = np.stack([xx, -x, -x, np.ones(t)], axis=1).reshape(t, 2, 2) / (xx - x * x)[:, None, None]
    covariance = inverse @ middle @ inverse / (n * n)[:, None, None]
    return np.stack([l0, l1], axis=1), np.sqrt(np.maximum(np.einsum("tkk->tk", covariance), 0.0))


def closed_form(x: ArrayLike, xx: ArrayLike, y: ArrayLike, xy: ArrayLike) -> tuple[Floats, Floats]:
    """L0 and L1 of the non-negative least squares from means over the points, x and y positive.

    Args:
        x: (...) mean of x.
        xx: (...) mean of the squares of x.
        y: (...) mean of y.
        xy: (...) mean of the products.

    Returns:
        (...) each; where x does not vary, L1 is 0.

    >>> [float(value) for value in closed_form(2.0, 5.0, 7.0, 16.0)]  # of the points (1, 5) and (3, 9)
    [3.0, 2.0]
    """
    mx, mxx, my, mxy = (np.asarray(mean, dtype=np.float64) for mean in (x, xx, y, xy))
    spread = mxx - mx * mx
    varies = spread > 1e-13 * mxx
    slope = np.where(varies, (mxy - mx * my) / np.where(varies, spread, 1.0), 0.0)
    slope = np.maximum(slope, 0.0)
    start = my - slope * mx
    through_origin = start < 0
    return np.maximum(start, 0.0), np.where(through_origin, mxy / mxx, slope)
