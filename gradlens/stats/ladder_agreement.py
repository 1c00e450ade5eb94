"""How well a predicted curve over a ladder of sizes agrees with a swept one: its minimum, and its order."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata


@dataclass(frozen=True, slots=True)
class LadderAgreement:
    """One prediction against one sweep.

    Attributes:
        predicted: size at which the prediction is least; 0 where there is none.
        swept: size at which the sweep is least.
        hit: whether the two are within the factor.
        rank_correlation: Spearman's, over the sizes that both have; NaN for fewer than three, or a constant curve.
    """

    predicted: int
    swept: int
    hit: bool
    rank_correlation: float


def ladder_agreement(
    sizes: ArrayLike, predicted: ArrayLike, swept: ArrayLike, *, factor: float = 2.0
) -> LadderAgreement:
    """Compare two curves over the same sizes.

    Args:
        sizes: (m,) positive.
        predicted: (m,) what is to be small; infinite ranks last, NaN is left out.
        swept: (m,) the same as measured; what is not finite is left out.
        factor: how far apart the two best sizes may be.

    >>> found = ladder_agreement([1, 2, 4, 8], [0.9, 0.4, 0.3, 0.35], [0.6, 0.3, 0.28, 0.25])
    >>> found.predicted, found.swept, found.hit, round(found.rank_correlation, 6)
    (4, 8, True, 0.8)
    """
    b, p, s = np.asarray(sizes, dtype=np.int64), np.asarray(predicted, float), np.asarray(swept, float)
    usable = ~np.isnan(p) & np.isfinite(s)
    b, p, s = b[usable], p[usable], s[usable]
    if not len(b) or not np.isfinite(p).any():
        return LadderAgreement(0, 0, hit=False, rank_correlation=math.nan)
    at, is_at = int(b[p.argmin()]), int(b[s.argmin()])
    ranks = np.stack([rankdata(p), rankdata(s)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = float(np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1]))
    rank = float(ranks[0] @ ranks[1]) / lengths if len(b) > 2 and lengths > 0 else math.nan
    return LadderAgreement(at, is_at, hit=max(at, is_at) <= factor * min(at, is_at), rank_correlation=rank)
