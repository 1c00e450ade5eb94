r"""Non-negative least squares of a line: the mean of smoothness over the gradient norm.

.. math:: \min_{L_0, L_1 \ge 0} \sum_t (y_t - L_0 - L_1 x_t)^2

With x and y positive at most one of the two constraints acts, so that the answer is in closed form, in each resample of
the bootstrap too.

Reference:
    Zhang, He, Sra and Jadbabaie, "Why gradient clipping accelerates training", ICLR 2020, arXiv 1905.11881, for
    :math:`\lVert \nabla^2 f \rVert \le L_0 + L_1 \lVert \nabla f \rVert`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.bootstrap import block_length, resample_counts
from gradlens.stats.line_fit import LineFit, no_fit, usable_points, why_no_fit, with_intervals

Floats = NDArray[np.float64]
FORM = "least squares"
MOST_RESAMPLED = 2_000_000
FEWEST_TRIES = 199


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
    xs, ys = usable_points(x, y)
    n = len(xs)
    why = why_no_fit(xs)
    if why:
        return no_fit(FORM, n, why)
    x_unit, y_unit = xs.mean(), ys.mean()
    u, v = xs / x_unit, ys / y_unit
    summed = np.stack([u, u * u, v, u * v], axis=1)
    l0, l1 = closed_form(*summed.mean(axis=0))
    residuals = v - l0 - l1 * u
    block = max(block_length(residuals), block_length(residuals * u))
    tries = min(tries, max(FEWEST_TRIES, MOST_RESAMPLED // n))
    means = np.concatenate([counts @ summed / n for counts in resample_counts(n, block, tries, seed)])
    drawn = closed_form(*means.T)
    slope = y_unit / x_unit
    return with_intervals(
        FORM, (float(l0 * y_unit), float(l1 * slope), 1.0), (drawn[0] * y_unit, drawn[1] * slope, np.ones(1)), n, block
    )


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
