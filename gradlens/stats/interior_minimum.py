"""Whether a curve over micro-batch sizes, or any other ladder, has its minimum inside: not at either end.

Each seed runs every size, so that sizes are compared by paired differences. The best size is chosen by the data that
then judge it; intervals are therefore simultaneous over all pairs of sizes, which holds whichever pair is looked at.
Differences that are the same in every seed tell nothing of seeds that were not run: copies of one run look so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.mean_interval import FEWEST, MeanInterval, mean_interval, too_few

Floats = NDArray[np.float64]
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class InteriorMinimum:
    """The answer for one curve.

    Attributes:
        sizes: (m,) ascending.
        best: the size with the least mean; 0 where there is none.
        excess: (m,) each size's value less the best one's, with simultaneous paired 95 % intervals; zero for the best.
        ties: sizes that are not distinguishable from the best, which is among them; also those whose difference is the
            same in every seed.
        interior: whether both ends are shown to be worse than the best.
        n: seeds.
        status: why there is no interior minimum; empty where there is one.
    """

    sizes: NDArray[np.int64]
    best: int
    excess: MeanInterval
    ties: tuple[int, ...]
    interior: bool
    n: int
    status: str


def interior_minimum(sizes: ArrayLike, values: ArrayLike) -> InteriorMinimum:
    """Ask a curve for an interior minimum.

    Args:
        sizes: (m,) ascending.
        values: (m, n) to be small; a column is one seed. Seeds that lack a size are left out.

    Raises:
        ValueError: if the shapes do not fit or the sizes do not ascend.

    >>> seeds = np.linspace(0.0, 0.3, 5)  # seeds differ more than sizes do: only paired differences can tell
    >>> noise = 0.01 * np.random.default_rng(0).standard_normal((3, 5))
    >>> found = interior_minimum([1, 8, 64], np.array([[0.5], [0.3], [0.4]]) + seeds + noise)
    >>> found.best, found.interior, found.ties
    (8, True, (8,))
    """
    b, y = np.asarray(sizes, dtype=np.int64), np.asarray(values, dtype=np.float64)
    if y.ndim != 2 or b.shape != y.shape[:1] or (np.diff(b) <= 0).any():
        raise ValueError(f"expected (m,) ascending sizes and (m, n) values; got shapes {b.shape} and {y.shape}.")
    y = y[:, np.isfinite(y).all(axis=0)]
    m, n = y.shape
    if not m or not n:
        none = mean_interval(np.full((m, 1), np.nan))
        return InteriorMinimum(b, 0, none, (), interior=False, n=n, status="no seed has every size.")
    at = int(np.argmin(y.mean(axis=1)))
    excess = mean_interval(y - y[at], comparisons=max(1, m * (m - 1) // 2))
    alike = excess.above & (excess.high - excess.low <= _ROUNDING * np.abs(y).max(axis=1))
    tied = ~excess.above | alike if n >= FEWEST else np.ones(m, dtype=np.bool_)
    ties = tuple(int(size) for size in b[tied])
    why = _why_none(b, at, excess, alike, n)
    return InteriorMinimum(b, int(b[at]), excess, ties, interior=not why, n=n, status=why)


def _why_none(b: NDArray[np.int64], at: int, excess: MeanInterval, alike: NDArray[np.bool_], n: int) -> str:
    if len(b) < 3:
        return f"not identified: an interior minimum takes three sizes; there are {len(b)}."
    if n < FEWEST:
        return f"not identified: {too_few(n)}"
    if at in (0, len(b) - 1):
        return f"no interior minimum: the best size, {b[at]}, is an end of those tried."
    if alike[0] or alike[-1]:
        return "not identified: the seeds do not differ."
    level = [int(b[end]) for end in (0, -1) if not excess.above[end]]
    if level:
        ends = " and ".join(map(str, level))
        return f"no interior minimum: at size {ends} the value is not shown to be worse than at {b[at]}."
    return ""
