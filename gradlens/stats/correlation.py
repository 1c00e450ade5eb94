"""Correlation of two dependent series, with an interval that knows they are dependent."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.block_length import block_length, few_blocks
from gradlens.stats.block_sums import block_sums, drawn_blocks
from gradlens.stats.bootstrap import percentile_interval
from gradlens.stats.ranks import ranked, spearman_influence

Floats = NDArray[np.float64]
_MOST_RESAMPLED = 2_000_000
_FEWEST_TRIES = 199
_ROUNDING = 1e-12  # of the largest number: what varies by less varies by rounding


@dataclass(frozen=True, slots=True)
class Correlation:
    """Pearson's and Spearman's r of two series.

    Attributes:
        pearson: Pearson's r, NaN where it is not defined.
        pearson_interval: 95 % interval by circular block bootstrap.
        spearman: Spearman's rank correlation.
        spearman_interval: its interval.
        n: pairs used.
        block: block length of the bootstrap, in pairs.
        status: empty, or a sentence that says why there is no answer.
    """

    pearson: float
    pearson_interval: tuple[float, float]
    spearman: float
    spearman_interval: tuple[float, float]
    n: int
    block: int
    status: str = ""

    @property
    def caveat(self) -> str:
        """Empty, or a clause that says why the intervals are likely too narrow.

        On AR(1) data the 95 % intervals cover about .87 with 60 blocks in the series, .80 with 12, .70 with 5.
        """
        return few_blocks(self.n, self.block)


def pearson(x: Floats, y: Floats) -> Floats:
    """Pearson's r along the last axis.

    Args:
        x: (..., n) float64.
        y: (..., n) float64.

    Returns:
        (...) float64; NaN where either series is constant.

    >>> float(pearson(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])).round(6))
    1.0
    """
    x = x - x.mean(axis=-1, keepdims=True)
    y = y - y.mean(axis=-1, keepdims=True)
    scale = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((x * y).sum(axis=-1) / scale)


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rank correlation along the last axis, ties sharing their mean rank.

    >>> float(spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0, 5.0])))
    0.5
    """
    return pearson(ranked(x), ranked(y))


def detrend(values: ArrayLike, time: ArrayLike, degree: int = 3) -> Floats:
    """What is left of a series after its least-squares polynomial in time.

    Two independent series that share a trend are correlated; their residuals are not.

    Args:
        values: (n,) numbers.
        time: (n,) the time of each.
        degree: degree of the polynomial; 3 follows the fall and the levelling of a training curve.

    Returns:
        (n,) float64 residuals; exactly 0 where all of them are of rounding, so that nothing correlates with them.

    >>> detrend([1.0, 8.0, 27.0, 64.0, 125.0], [1, 2, 3, 4, 5]).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0]
    """
    y = np.asarray(values, dtype=np.float64)
    t = np.asarray(time, dtype=np.float64)
    fit = np.polynomial.Polynomial.fit(t, y, degree)
    residuals = np.asarray(y - fit(t))
    rounding = _ROUNDING * np.abs(y).max(initial=0.0)
    return np.zeros(len(y)) if np.abs(residuals).max(initial=0.0) <= rounding else residuals


def correlate(x: ArrayLike, y: ArrayLike, *, tries: int = 999, seed: int = 0, iid: bool = False) -> Correlation:
    r"""Correlation of two series sampled together along one trajectory.

    The variance of r is governed by the series of its influence function,
    :math:`\tilde x_t \tilde y_t - \tfrac r2 (\tilde x_t^2 + \tilde y_t^2)` with standardised x and y, so the
    block length is chosen from that series.

    Args:
        x: (n,) numbers.
        y: (n,) numbers; pairs with a non-finite member are left out.
        tries: resamples of the bootstrap; fewer, down to 199, where n times this passes two million.
        seed: its seed.
        iid: resample single pairs instead of blocks. Wrong for dependent data; offered as the control that shows it.

    Returns:
        Both coefficients with 95 % intervals. Fewer than 16 pairs, or a constant series, give a status sentence.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal(500)
    >>> result = correlate(x, x + rng.standard_normal(500))
    >>> low, high = result.pearson_interval
    >>> bool(low < 0.5**0.5 < high), result.n
    (True, 500)
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    usable = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[usable], ys[usable]
    n = len(xs)
    if n < 16:
        return _no_answer(n, f"a correlation needs at least 16 pairs of finite values; there are {n}.")
    if _constant(xs) or _constant(ys):
        return _no_answer(n, "a correlation needs two series that vary; one of them is constant.")
    block = 1 if iid else correlation_block(xs, ys)
    ranks = ranked(xs), ranked(ys)
    pearsons, spearmans = resampled(xs, ys, block=block, tries=tries, seed=seed, ranks=ranks)
    return Correlation(
        pearson=float(pearson(xs, ys)),
        pearson_interval=percentile_interval(pearsons),
        spearman=float(pearson(*ranks)),
        spearman_interval=percentile_interval(spearmans),
        n=n,
        block=block,
    )


def correlation_block(x: Floats, y: Floats) -> int:
    """Block length for the bootstrap of Pearson's r, from the series of its influence function.

    >>> rng = np.random.default_rng(0)
    >>> correlation_block(*rng.standard_normal((2, 400))) < 5
    True
    """
    r = float(pearson(x, y))
    sx, sy = _standardised(x), _standardised(y)
    return block_length(sx * sy - r / 2 * (sx * sx + sy * sy))


def resampled(
    x: Floats, y: Floats, *, block: int, tries: int, seed: int = 0, ranks: tuple[Floats, Floats] | None = None
) -> tuple[Floats, Floats]:
    """Pearson's and Spearman's r in each resample of a circular block bootstrap, from sums over its blocks.

    Pearson's is that of the resample. Spearman's is moved on Fisher's scale by the mean influence of the pairs in it,
    which is what ranking each resample anew comes to as n grows, at a fraction of the cost.

    Args:
        x: (n,) finite numbers that vary.
        y: (n,) the same.
        block: block length in pairs.
        tries: resamples; fewer, down to 199, where n times this passes two million.
        seed: seed of a generator of its own.
        ranks: of x and of y, from :func:`ranked`, where Spearman's is wanted.

    Returns:
        (tries,) float64 each; the second is empty without ranks.

    >>> x = np.arange(20.0)
    >>> [draws.round(6).tolist() for draws in resampled(x, x**3, block=2, tries=2)]
    [[..., ...], []]
    """
    n = len(x)
    tries = min(tries, max(_FEWEST_TRIES, _MOST_RESAMPLED // n))
    sx, sy = _standardised(x), _standardised(y)
    columns = [np.ones(n), sx, sy, sx * sx, sy * sy, sx * sy]
    if ranks is not None:
        columns.append(spearman_influence(*ranks))
    summed = block_sums(np.stack(columns, axis=1), block)
    drawn = np.concatenate([counts @ summed for counts in drawn_blocks(n, block, tries, seed)])
    means = drawn[:, 1:] / drawn[:, :1]
    if ranks is None:
        return _of_moments(means), np.empty(0)
    middle = float(pearson(*ranks))
    stretch = max(1 - middle * middle, _ROUNDING)  # Fisher's scale has the slope 1 / (1 - r^2)
    moved = np.tanh(np.arctanh(np.clip(middle, -1 + _ROUNDING, 1 - _ROUNDING)) + means[:, 5] / stretch)
    return _of_moments(means[:, :5]), moved


def _of_moments(means: Floats) -> Floats:
    x, y, xx, yy, xy = means.T
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((xy - x * y) / np.sqrt((xx - x * x) * (yy - y * y)))


def _standardised(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / values.std())


def _constant(values: Floats) -> bool:
    """Whether a series varies by rounding only."""
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max(initial=0.0))


def _no_answer(n: int, why: str) -> Correlation:
    nothing = (math.nan, math.nan)
    return Correlation(math.nan, nothing, math.nan, nothing, n, 0, why)
