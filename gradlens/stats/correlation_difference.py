"""How much more two series correlate in one trajectory than in another."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.bootstrap import percentile_interval
from gradlens.stats.correlation import Correlation, correlate, resampled

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CorrelationDifference:
    """Pearson's r of the second trajectory less that of the first.

    Attributes:
        value: the difference; NaN where one of the two is not defined.
        interval: 95 % interval by a circular block bootstrap of each, independent of the other's.
        n: pairs in each.
        blocks: block length of each, in pairs.
        status: empty, or a sentence that says why there is no answer.
        caveat: empty, or a clause that says why the interval is likely too narrow.
    """

    value: float
    interval: tuple[float, float]
    n: tuple[int, int]
    blocks: tuple[int, int]
    status: str = ""
    caveat: str = ""


def correlation_difference(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], *, tries: int = 999, seed: int = 0
) -> CorrelationDifference:
    """The difference of two correlations, with an interval.

    That one interval of r excludes the other run's r says less: both are uncertain.

    Args:
        first: x and y of one trajectory, (n,) each; pairs with a non-finite member are left out.
        second: x and y of the other, (m,) each.
        tries: resamples; fewer where the series are long, see ``correlate``.
        seed: seed of the bootstrap.

    Returns:
        r of the second less r of the first; ``status`` says why there is none.

    >>> rng = np.random.default_rng(0)
    >>> x, y, noise = rng.standard_normal((3, 800))
    >>> found = correlation_difference((x, noise), (y, 0.75 * y + noise))  # r of 0 and .6
    >>> bool(found.interval[0] < 0.6 < found.interval[1]), found.n
    (True, (800, 800))
    """
    pairs = [_finite(*first), _finite(*second)]
    each = [correlate(*pair, tries=1) for pair in pairs]
    n, blocks = (each[0].n, each[1].n), (each[0].block, each[1].block)
    for answer in each:
        if answer.status:
            return CorrelationDifference(math.nan, (math.nan, math.nan), n, blocks, answer.status)
    draws = [
        resampled(*pair, block=answer.block, tries=tries, seed=seed + place)[0]
        for place, (pair, answer) in enumerate(zip(pairs, each, strict=True))
    ]
    fewest = min(map(len, draws))
    return CorrelationDifference(
        value=each[1].pearson - each[0].pearson,
        interval=percentile_interval(draws[1][:fewest] - draws[0][:fewest]),
        n=n,
        blocks=blocks,
        caveat=_doubt(each),
    )


def _doubt(each: list[Correlation]) -> str:
    """The caveat of the one with fewer independent blocks."""
    fewer = min(each, key=lambda answer: answer.n / answer.block)
    return fewer.caveat


def _finite(x: ArrayLike, y: ArrayLike) -> tuple[Floats, Floats]:
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    kept = np.isfinite(xs) & np.isfinite(ys)
    return xs[kept], ys[kept]
