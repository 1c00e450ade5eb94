"""Block bootstrap for dependent data.

Reference: Politis and Romano, "A circular block-resampling procedure for stationary data", 1992.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Statistic = Callable[..., Floats]
"""Takes one array per series, each (..., n), and reduces the last axis."""

_CHUNK = 4_000_000  # resampled numbers held at once: 32 MB a series


def bootstrap_interval(
    statistic: Statistic,
    *series: ArrayLike,
    block: int,
    level: float = 0.95,
    tries: int = 999,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a statistic under a circular block bootstrap.

    Blocks of ``block`` consecutive entries, wrapping round the end, are drawn with replacement until they make up a
    series of the same length; series given together are resampled together. ``block=1`` is the i.i.d. bootstrap.

    Args:
        statistic: takes one array per series, each (tries, n), and reduces the last axis.
        series: one or more (n,) arrays.
        block: block length, at least 1.
        level: coverage aimed at, in (0, 1).
        tries: resamples.
        seed: seed of a generator of its own.

    Returns:
        (low, high); NaN where no resample gave a finite statistic.

    Raises:
        ValueError: if the series differ in length or the block is shorter than 1.

    >>> x = np.random.default_rng(1).standard_normal(400)
    >>> low, high = bootstrap_interval(lambda x: x.mean(-1), x, block=1)
    >>> low < x.mean() < high
    np.True_
    """
    return percentile_interval(bootstrap_draws(statistic, *series, block=block, tries=tries, seed=seed), level)


def bootstrap_draws(statistic: Statistic, *series: ArrayLike, block: int, tries: int = 999, seed: int = 0) -> Floats:
    """(tries,) a statistic in each resample; arguments and resamples as of :func:`bootstrap_interval`.

    >>> bootstrap_draws(lambda x: x.max(-1), [1.0, 2.0], block=2, tries=3)
    array([2., 2., 2.])
    """
    arrays = [np.asarray(values, dtype=np.float64) for values in series]
    n = len(arrays[0])
    if any(len(values) != n for values in arrays):
        raise ValueError(f"series must have one length; got {[len(values) for values in arrays]}.")
    if block < 1:
        raise ValueError(f"block must be at least 1; got {block!r}.")
    if n < 2:
        return np.empty(0)
    rng = np.random.default_rng(seed)
    blocks = math.ceil(n / block)
    within = np.arange(block)
    results: list[Floats] = []
    chunk = max(1, _CHUNK // n)
    for first in range(0, tries, chunk):
        starts = rng.integers(0, n, size=(min(chunk, tries - first), blocks, 1))
        index = ((starts + within) % n).reshape(len(starts), -1)[:, :n]
        results.append(np.asarray(statistic(*(values[index] for values in arrays))))
    return np.concatenate(results)


def percentile_interval(drawn: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The middle of what a statistic was over the resamples.

    Args:
        drawn: (tries,) the statistic in each resample; those that are not finite are left out.
        level: share of the resamples between the ends.

    Returns:
        (low, high); NaN where none is finite.

    >>> percentile_interval([0.0, 1.0, 2.0, 3.0, 4.0, float("nan")], level=0.5)
    (1.0, 3.0)
    """
    values = np.asarray(drawn, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
