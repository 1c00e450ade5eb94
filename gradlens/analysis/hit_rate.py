"""How often predicted sweet spots were right, by sweeps of the same trainings; beside it, what a guess hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from gradlens.analysis.ladders import Ladder
from gradlens.analysis.sweet_spot import SweetSpot
from gradlens.stats.ladder_agreement import LadderAgreement, ladder_agreement


@dataclass(frozen=True, slots=True)
class HitRate:
    """How often predictions were right.

    Attributes:
        agreements: one for each pair.
        rate: share of the pairs whose best sizes are within the factor; NaN for none.
        rank_correlation: mean of Spearman's correlations; NaN where there is none.
        n: pairs.
        n_believed: pairs whose prediction had no doubt of its own.
        rate_believed: the share among those.
        hits: pairs whose best sizes are within the factor.
        low: lower end of the exact 95 % binomial interval of the rate (Clopper and Pearson), as if the pairs were
            independent; NaN for none.
        high: upper end.
        constant: the size that hits most often if it is always guessed, seen in hindsight; 0 for no pairs.
        constant_hits: how often it does.
    """

    agreements: tuple[LadderAgreement, ...]
    rate: float
    rank_correlation: float
    n: int
    n_believed: int
    rate_believed: float
    hits: int
    low: float
    high: float
    constant: int
    constant_hits: int


def hit_rate(predictions: Sequence[SweetSpot], sweeps: Sequence[Ladder], *, factor: float = 2.0) -> HitRate:
    """Judge predictions by sweeps of the same trainings.

    Args:
        predictions: one for each task or learning rate.
        sweeps: the gradient norm over the sizes, as ``micro_batch_bias(runs).sweeps[i].norm``, in the same order.
        factor: how far apart the two best sizes may be.

    Raises:
        ValueError: if they are not as many.
    """
    if len(predictions) != len(sweeps):
        raise ValueError(f"hit_rate takes a sweep for each prediction; got {len(predictions)} and {len(sweeps)}.")
    pairs = [_agreement(prediction, swept, factor) for prediction, swept in zip(predictions, sweeps, strict=True)]
    believed = [pair.hit for pair, each in zip(pairs, predictions, strict=True) if not each.status]
    hits = sum(pair.hit for pair in pairs)
    interval = binomtest(hits, len(pairs)).proportion_ci(method="exact") if pairs else (np.nan, np.nan)
    constant, constant_hits = _best_guess([pair.swept for pair in pairs], sweeps, factor)
    ranks = [pair.rank_correlation for pair in pairs if np.isfinite(pair.rank_correlation)]
    return HitRate(
        agreements=tuple(pairs),
        rate=hits / len(pairs) if pairs else np.nan,
        rank_correlation=float(np.mean(ranks)) if ranks else np.nan,
        n=len(pairs),
        n_believed=len(believed),
        rate_believed=float(np.mean(believed)) if believed else np.nan,
        hits=hits,
        low=float(interval[0]),
        high=float(interval[1]),
        constant=constant,
        constant_hits=constant_hits,
    )


def _best_guess(swept: Sequence[int], sweeps: Sequence[Ladder], factor: float) -> tuple[int, int]:
    """The one size that is within the factor of most swept best ones, and of how many."""
    hits = {
        int(b): sum(max(b, best) <= factor * min(b, best) for best in swept)
        for b in sorted({int(b) for sweep in sweeps for b in sweep.sizes})
    }
    return max(hits.items(), key=lambda item: item[1]) if hits else (0, 0)


def _agreement(prediction: SweetSpot, swept: Ladder, factor: float) -> LadderAgreement:
    sizes, at, at_swept = np.intersect1d(prediction.sizes, swept.sizes, return_indices=True)
    means = swept.interval.mean[at_swept]
    return ladder_agreement(sizes, prediction.floor[at], means, factor=factor)
