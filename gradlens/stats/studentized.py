r"""Intervals from pivots: how many standard errors an estimate is off, resampled.

.. math:: \left[\hat\theta - q_{.975}\,\hat s,\; \hat\theta - q_{.025}\,\hat s\right], \qquad
          q \text{ of } (\theta^* - \hat\theta) / s^*

Where errors grow with x, or a few points weigh much, the middle of the resampled estimates covers too little: a
resample that lacks those points is off and does not know it. Its standard error knows.

References:
    Hall, "Theoretical comparison of bootstrap confidence intervals", Annals of Statistics, 1988.
    Goetze and Kuensch, "Second-order correctness of the blockwise bootstrap for stationary observations", Annals of
    Statistics, 1996: blocks for the resamples' standard errors, a flat-top window for that of the data.
    MacKinnon and White, "Some heteroskedasticity-consistent covariance matrix estimators with improved finite sample
    properties", Journal of Econometrics, 1985: HC3. Bell and McCaffrey, "Bias reduction in standard errors for linear
    regression with multi-stage samples", Survey Methodology, 2002: the same by groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from gradlens.stats.block_length import block_length, long_run_variance
from gradlens.stats.block_sums import block_sums, drawn_blocks
from gradlens.stats.bootstrap import percentile_interval

Floats = NDArray[np.float64]
_MOST_LEVERAGE = 0.8


def long_block(series: Iterable[Floats], n: int) -> int:
    """Block length for an interval: twice the longest of some series' own, which is that of least error of a variance.

    Args:
        series: (n,) each.
        n: their length; a block is no longer than an eighth of it, or than a series' own.
    """
    own = max(block_length(each) for each in series)
    return max(own, min(2 * own, n // 8))


def standard_error(influence: Floats, leverage: Floats, block: int) -> float:
    r"""Standard error of an estimate from what each point adds to it.

    A point that weighs much pulls the line to itself and shows too small a residual, all the more together with those
    around it: each influence is taken by :math:`1 / (1 - h)`, h the leverage of the block around it (HC3 and, in
    blocks, CR3). The larger of two estimates of the variance is taken: by a flat-top window, which may come out too
    small, and by all blocks, which is too small where the dependence reaches beyond a block.

    Args:
        influence: (n,) influence of each point, in the order in which they were measured.
        leverage: (n,) of each point.
        block: block length.

    >>> white = np.random.default_rng(0).standard_normal(10_000)
    >>> round(standard_error(white, np.full(10_000, 1e-4), 1), 3)
    0.01
    """
    n = len(influence)
    around = block_sums(np.roll(leverage, block // 2)[:, None], block)[:, 0]
    lengthened = influence / (1 - np.minimum(around, _MOST_LEVERAGE))
    lengthened -= lengthened.mean()
    sums = block_sums(lengthened[:, None], block)
    return math.sqrt(max(long_run_variance(lengthened), float(np.mean(sums**2)) / block) / n)


def resampled_means(influence: Floats, block: int, tries: int, seed: int = 0) -> tuple[Floats, Floats]:
    """How far the mean influence moves in each resample of a circular block bootstrap, and its standard error there.

    Args:
        influence: (n, k) of each point on k estimates; its mean is 0.
        block: block length.
        tries: resamples.
        seed: of the bootstrap.

    Returns:
        (tries, k) each.
    """
    n, k = influence.shape
    blocks = math.ceil(n / block)
    sums = block_sums(influence, block)
    both = np.concatenate([sums, sums**2], axis=1)
    drawn = np.concatenate([counts @ both for counts in drawn_blocks(n, block, tries, seed)])
    total, squares = drawn[:, :k], drawn[:, k:]
    spread = np.maximum(squares - total**2 / blocks, 0.0)
    return total / (blocks * block), np.sqrt(spread) / (blocks * block)


def studentized_interval(estimate: float, error: float, pivots: Floats, level: float = 0.95) -> tuple[float, float]:
    """The interval; NaN where no pivot is finite.

    Args:
        estimate: from the data.
        error: its standard error.
        pivots: (tries,) of each resample, its estimate less that of the data, over its standard error.
        level: coverage aimed at.

    >>> studentized_interval(1.0, 0.5, np.array([-1.0, 0.0, 2.0]), level=1.0)
    (0.0, 1.5)
    """
    low, high = percentile_interval(pivots, level)
    return estimate - high * error, estimate - low * error
