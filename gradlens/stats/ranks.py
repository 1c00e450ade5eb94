"""Ranks, and what each pair adds to their correlation.

Reference:
    Croux and Dehon, "Influence functions of the Spearman and Kendall correlation measures", Statistical Methods &
    Applications, 2010.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ranked(values: Floats) -> Floats:
    """Ranks along the last axis, ties sharing their mean rank.

    >>> ranked(np.array([5.0, 1.0, 5.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    from scipy.stats import rankdata  # a recorder, which needs none of it, does not load SciPy

    return np.asarray(rankdata(values, axis=-1))


def spearman_influence(x_ranks: Floats, y_ranks: Floats) -> Floats:
    r"""How much each pair adds to Spearman's r: its mean is 0.

    .. math:: 12\,\big(F(x) G(y) + E[F(X) 1(Y \ge y)] + E[G(Y) 1(X \ge x)]\big) - 9 - 3 r

    with F and G the shares of the values below, ties counting half.

    Args:
        x_ranks: (n,) ranks of the one series, from 1, ties sharing their mean.
        y_ranks: (n,) of the other.

    >>> places = np.arange(1.0, 201.0)
    >>> bool(np.abs(spearman_influence(places, places)).max() < 0.05)  # a monotone pair says nothing that all do not
    True
    """
    n = len(x_ranks)
    f, g = (x_ranks - 0.5) / n, (y_ranks - 0.5) / n
    found = f * g + _mean_above(f, y_ranks) + _mean_above(g, x_ranks)
    return np.asarray(12 * (found - found.mean()))


def _mean_above(values: Floats, ranks: Floats) -> Floats:
    """(n,) the sum over n of the values whose rank is larger, and of half of those where it is equal."""
    place = (2 * ranks).astype(np.int64)  # a mean rank may end in a half
    totals = np.bincount(place, weights=values)
    above = totals[::-1].cumsum()[::-1] - totals / 2
    return np.asarray(above[place] / len(values))
