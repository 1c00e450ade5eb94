r"""The mean over seeds with a t interval, several of them simultaneously.

.. math:: \bar x \pm t_{n-1,\,1-(1-\gamma)/(2m)} \, s / \sqrt n

By Bonferroni's inequality all m intervals hold together with probability :math:`\gamma`, whatever their dependence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

Floats = NDArray[np.float64]

FEWEST = 3
"""Values below which there is no interval: of two seeds nobody knows the spread."""


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """Means, each with an interval.

    Attributes:
        mean: (...) NaN where there is no value.
        low: (...) lower end; NaN where there are fewer than three values.
        high: (...) upper end.
        n: (...) finite values behind each.
    """

    mean: Floats
    low: Floats
    high: Floats
    n: NDArray[np.int64]

    @property
    def above(self) -> NDArray[np.bool_]:
        """(...) whether the mean is shown to be above zero."""
        return self.low > 0

    @property
    def below(self) -> NDArray[np.bool_]:
        """(...) whether the mean is shown to be below zero."""
        return self.high < 0


def mean_interval(values: ArrayLike, *, comparisons: int = 1, level: float = 0.95) -> MeanInterval:
    """Average over the last axis.

    Args:
        values: (..., n) one value a seed; those that are not finite are left out. Differences of two arms with the same
            seed make the interval a paired one.
        comparisons: how many intervals are to hold together, this one included.
        level: with which probability they do.

    Raises:
        ValueError: for comparisons below 1 or a level outside (0, 1).

    >>> found = mean_interval([[1.0, 2.0, 3.0], [1.0, 2.0, np.nan]])
    >>> found.mean.tolist(), found.low.round(3).tolist(), found.n.tolist()
    ([2.0, 1.5], [-0.484, nan], [3, 2])
    """
    if comparisons < 1 or not 0 < level < 1:
        raise ValueError(f"expected 1 comparison or more and a level in (0, 1); got {comparisons!r} and {level!r}.")
    x = np.atleast_1d(np.asarray(values, dtype=np.float64))
    there = np.isfinite(x)
    # By a power of two, which rounds nothing: squares beyond 1e154 would overflow.
    unit = np.ldexp(1.0, max(-1000, int(np.frexp(np.abs(x[there]).max(initial=0.0))[1]) - 1))
    x = x / unit
    n = there.sum(axis=-1)
    some = np.maximum(n, 1)
    mean = np.where(n > 0, np.where(there, x, 0.0).sum(axis=-1) / some, np.nan)
    squares = np.where(there, (np.where(there, x, 0.0) - np.expand_dims(np.nan_to_num(mean), -1)) ** 2, 0.0).sum(
        axis=-1
    )
    freedom = np.maximum(n - 1, 1)
    half = student.ppf(1 - (1 - level) / (2 * comparisons), freedom) * np.sqrt(squares / freedom / some)
    half = np.where(n >= FEWEST, half, np.nan)
    return MeanInterval(mean * unit, (mean - half) * unit, (mean + half) * unit, n.astype(np.int64))


def too_few(n: int, what: str = "seed") -> str:
    """What is said of fewer values than an interval takes; empty where they are enough.

    >>> too_few(1), too_few(2, "probe"), too_few(3)
    ('1 seed supports no interval; take three at least, better ten.',
     '2 probes support no interval; take three at least, better ten.', '')
    """
    many = f"{n} {what} supports" if n == 1 else f"{n} {what}s support"
    return "" if n >= FEWEST else f"{many} no interval; take three at least, better ten."
