"""Two runs side by side: is r higher in one, and did one lead into smoother parts of the landscape?

Reference:
    Seetharaman, Wichern, Pardo and Le Roux, "AutoClip: Adaptive gradient clipping for source separation networks",
    MLSP 2020, arXiv 2007.14469, whose claims both questions are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING
from gradlens.analysis.norm_smoothness import NormSmoothness, norm_smoothness
from gradlens.analysis.placebo import Placebo
from gradlens.stats import (
    CorrelationDifference,
    MatchedMedians,
    correlation_difference,
    detrend,
    matched_medians,
)
from gradlens.store import Run

Floats = NDArray[np.float64]
_AROUND = 0.02


@dataclass(frozen=True, slots=True)
class PlaceboDifference:
    """r of the second run's placebo less that of the first's: what optimizer, clip rule and estimator make alone.

    Attributes:
        value: of the means; NaN where one of the runs has no placebo.
        range: 5th and 95th percentile over all pairs of simulated trajectories.
    """

    value: float
    range: tuple[float, float]


@dataclass(frozen=True, slots=True)
class SmoothnessComparison:
    """The second run against the first.

    Attributes:
        first: norm against smoothness in the first run.
        second: the same in the second.
        raw: r of the logs in the second less that in the first.
        detrended: the same, a cubic trend in the step removed.
        placebo_raw: the difference of the placebos of r.
        placebo_detrended: the same without trend.
        matched: medians of smoothness at equal training loss; a ratio below 1 says that the second is smoother there.
        levels: mean training loss around each probe of the first and of the second, NaN where there is none.
        status: empty, or a sentence that says why a run has no answer.
    """

    first: NormSmoothness
    second: NormSmoothness
    raw: CorrelationDifference
    detrended: CorrelationDifference
    placebo_raw: PlaceboDifference
    placebo_detrended: PlaceboDifference
    matched: MatchedMedians
    levels: tuple[Floats, Floats]
    status: str = ""


def compare_smoothness(
    run_a: Run, run_b: Run, *, tries: int = 999, answers: tuple[NormSmoothness, NormSmoothness] | None = None
) -> SmoothnessComparison:
    """Compare the second run with the first.

    Loss is matched by its mean over the 2 % of the steps around each probe, since that of one batch says less about
    where a training is than about the batch.

    Args:
        run_a: the first run, the one without a clip, say.
        run_b: the second.
        tries: resamples of each block bootstrap.
        answers: what ``norm_smoothness`` gave for each; computed if not given.

    Returns:
        Differences with 95 % intervals, their placebo, and smoothness at matched loss. Each part has its own
        ``status``. One pair of runs says nothing about another seed: repeat it.
    """
    first, second = answers or (norm_smoothness(run_a, tries=tries), norm_smoothness(run_b, tries=tries))
    logs = [(np.log(answer.grad_norm), np.log(answer.smoothness)) for answer in (first, second)]
    status = first.status or second.status
    levels = local_loss(run_a, first.steps), local_loss(run_b, second.steps)
    raw = correlation_difference(logs[0], logs[1], tries=tries)
    flat = [
        tuple(detrend(log, answer.steps) for log in pair) if len(answer.steps) else pair
        for pair, answer in zip(logs, (first, second), strict=True)
    ]
    detrended = correlation_difference((flat[0][0], flat[0][1]), (flat[1][0], flat[1][1]), tries=tries)
    return SmoothnessComparison(
        first=first,
        second=second,
        raw=raw if raw.status or not status else replace(raw, status=status),
        detrended=detrended if detrended.status or not status else replace(detrended, status=status),
        placebo_raw=_placebo(first.placebo, second.placebo, "raw_each"),
        placebo_detrended=_placebo(first.placebo, second.placebo, "detrended_each"),
        matched=_matched((run_a, run_b), (first, second), levels, tries),
        levels=levels,
        status=status,
    )


def _placebo(first: Placebo | None, second: Placebo | None, which: str) -> PlaceboDifference:
    if first is None or second is None:
        return PlaceboDifference(math.nan, (math.nan, math.nan))
    a, b = getattr(first, which), getattr(second, which)
    low, high = np.quantile(b[:, None] - a[None, :], [0.05, 0.95])
    return PlaceboDifference(float(b.mean() - a.mean()), (float(low), float(high)))


def _matched(
    runs: tuple[Run, Run], answers: tuple[NormSmoothness, NormSmoothness], levels: tuple[Floats, Floats], tries: int
) -> MatchedMedians:
    first, second = ((level, answer.smoothness) for level, answer in zip(levels, answers, strict=True))
    found = matched_medians(first, second, tries=tries)
    if not found.status:
        return found
    for run, level in zip(runs, levels, strict=True):
        if not np.isfinite(level).any():
            return replace(found, status=f"run {run.name!r} has no smoothness probe near a finite training loss.")
    return replace(found, status="training losses: " + found.status)


def local_loss(run: Run, steps: NDArray[np.int64]) -> Floats:
    """(n,) mean training loss over the 2 % of the steps around each step, finite losses only; NaN where there is none.

    Args:
        run: a run that recorded its loss.
        steps: (n,) steps.
    """
    known, losses = run.several("loss").get("loss", NOTHING)
    if not len(known):
        return np.full(len(steps), np.nan)
    half = _AROUND / 2 * float(known[-1] - known[0])
    finite = np.isfinite(losses)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, losses, 0.0))])
    number = np.concatenate([[0], np.cumsum(finite)])
    begin = np.searchsorted(known, steps - half, side="left")
    end = np.searchsorted(known, steps + half, side="right")
    count = number[end] - number[begin]
    return np.where(count > 0, (total[end] - total[begin]) / np.maximum(count, 1), np.nan)
