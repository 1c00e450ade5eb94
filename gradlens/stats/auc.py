"""How well a score tells two kinds apart: the area under the ROC curve, within groups and over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.block_length import block_length
from gradlens.stats.bootstrap import bootstrap_interval

Floats = NDArray[np.float64]
_MOST_BLOCKS = 2000


@dataclass(frozen=True, slots=True)
class Concordance:
    """Pairs of one known and one other in each group.

    Attributes:
        wins: (groups,) pairs in which the known one scores higher, ties counting half.
        pairs: (groups,) all such pairs.
    """

    wins: Floats
    pairs: Floats


@dataclass(frozen=True, slots=True)
class Auc:
    """Area under the ROC curve.

    Attributes:
        value: share of the pairs that the score orders rightly; .5 is chance; NaN without a pair.
        interval: 95 % interval, by a block bootstrap over groups.
        groups: groups with a pair.
        block: block length of the bootstrap, in groups, or in stretches of groups where there are more than 2,000.
        status: empty, or a sentence that says why there is no answer.
    """

    value: float
    interval: tuple[float, float]
    groups: int
    block: int = 1
    status: str = ""

    @property
    def caveat(self) -> str:
        """Empty, or a clause that says why the interval is likely too narrow."""
        blocks = min(self.groups, _MOST_BLOCKS) / self.block
        narrow = np.isfinite(self.interval[0]) and blocks < 50
        return f"only about {blocks:.0f} independent blocks, so its interval is likely too narrow" * bool(narrow)


def concordance(scores: ArrayLike, known: ArrayLike, groups: ArrayLike) -> Concordance:
    r"""Wins and pairs of the known over the others within each group, by the sum of ranks (Mann and Whitney).

    .. math:: U_k = \sum_{i \in k,\ known} R_i - \frac{n_k (n_k + 1)}{2}, \qquad \mathrm{pairs}_k = n_k m_k

    with R the ranks in the group, ties sharing their mean, and n and m the numbers of known and others. Comparing
    within groups only keeps what the groups differ in, such as the time in a training, out of the comparison.

    Args:
        scores: (n,) numbers; those that are not finite are left out.
        known: (n,) bool.
        groups: (n,) int64 in 0, ..., as :func:`numpy.unique` numbers them.

    Returns:
        Wins and pairs, a number for each group from 0 to the largest.

    >>> found = concordance([3.0, 1.0, 2.0, 5.0], [True, False, False, True], [0, 0, 0, 1])
    >>> found.wins.tolist(), found.pairs.tolist()
    ([2.0, 0.0], [2.0, 0.0])
    """
    score, is_known = np.asarray(scores, dtype=np.float64), np.asarray(known, dtype=np.bool_)
    group = np.asarray(groups, dtype=np.int64)
    size = int(group.max()) + 1 if len(group) else 0
    usable = np.isfinite(score)
    score, is_known, group = score[usable], is_known[usable], group[usable]
    order = np.lexsort((score, group))
    score, is_known, group = score[order], is_known[order], group[order]
    n = len(score)
    if not n:
        return Concordance(np.zeros(size), np.zeros(size))
    new = np.append(True, (np.diff(score) != 0) | (np.diff(group) != 0))
    starts = np.flatnonzero(new)
    tie = np.cumsum(new) - 1
    middle = (starts + np.append(starts[1:], n) - 1) / 2
    counts = np.bincount(group, minlength=size)
    rank = middle[tie] - (np.cumsum(counts) - counts)[group] + 1
    ours = np.bincount(group[is_known], minlength=size).astype(np.float64)
    sums = np.bincount(group[is_known], weights=rank[is_known], minlength=size)
    return Concordance(sums - ours * (ours + 1) / 2, ours * (counts - ours))


def auc(found: Concordance, *, tries: int = 499, seed: int = 0) -> Auc:
    """Area under the ROC curve of all groups together: the sum of their wins over the sum of their pairs.

    Groups follow each other in time and may depend on each other: the interval resamples blocks of them, of a length
    chosen from the ratio's influence series. More than 2,000 groups are first added up to 2,000 stretches. Where groups
    wander as AR(1) of .8 does, 95 % intervals cover .86 with 240 groups, .89 with 600, .92 with 1,500.

    Args:
        found: wins and pairs of each group, in the order of time.
        tries: resamples.
        seed: of the bootstrap.

    >>> even = auc(Concordance(np.full(20, 2.0), np.full(20, 4.0)))
    >>> even.value, even.interval
    (0.5, (0.5, 0.5))
    """
    some = found.pairs > 0
    wins, pairs = found.wins[some], found.pairs[some]
    groups = len(pairs)
    if not groups:
        return Auc(np.nan, (np.nan, np.nan), 0, status="no group holds both a known one and another.")
    value = float(wins.sum() / pairs.sum())
    if groups < 8:
        why = f"an interval needs at least 8 groups with both kinds; there are {groups}."
        return Auc(value, (np.nan, np.nan), groups, status=why)
    if groups > _MOST_BLOCKS:
        starts = np.linspace(0, groups, _MOST_BLOCKS, endpoint=False).astype(np.int64)
        wins, pairs = np.add.reduceat(wins, starts), np.add.reduceat(pairs, starts)
    block = block_length(wins - value * pairs)

    def ratio(some_wins: Floats, of: Floats) -> Floats:
        return np.asarray(some_wins.sum(axis=-1) / of.sum(axis=-1))

    interval = bootstrap_interval(ratio, wins, pairs, block=block, tries=tries, seed=seed)
    return Auc(value, interval, groups, block)
