"""What a correlation of norm and smoothness comes to, beside its interval and its placebo, in a clause."""

from __future__ import annotations

from gradlens.analysis.norm_smoothness import NormSmoothness
from gradlens.analysis.smoothness_comparison import SmoothnessComparison
from gradlens.stats import MatchedMedians

Interval = tuple[float, float]


def smoothness_verdict(answer: NormSmoothness) -> str:
    """What is left of a run's r: beside nothing, beside constant curvature, and without a trend in time.

    Args:
        answer: from :func:`gradlens.analysis.norm_smoothness`.

    Returns:
        A clause; empty where the run has no answer.
    """
    if answer.status or answer.placebo is None:
        return ""
    if _holds(answer.raw.pearson_interval, 0.0):
        return "the interval holds 0: no tie is shown"
    if _holds(answer.placebo.raw_range, answer.raw.pearson):
        return "within the placebo's range: constant curvature gives as much"
    if _holds(answer.detrended.pearson_interval, 0.0):
        return "mostly trend: without it the interval holds 0"
    if _holds(answer.placebo.detrended_range, answer.detrended.pearson):
        return "mostly trend: without it within the placebo's range"
    return "outside the placebo's range, with and without trend"


def difference_verdict(found: SmoothnessComparison) -> str:
    """What the difference of two runs' r comes to.

    Args:
        found: from :func:`gradlens.analysis.compare_smoothness`.

    Returns:
        A clause; empty where there is no difference.
    """
    if found.raw.status:
        return ""
    if _holds(found.raw.interval, 0.0):
        return "the interval holds 0: no difference is shown"
    if _holds(found.placebo_raw.range, found.raw.value):
        return "within the placebo's range: optimizer and clip alone give as much"
    if found.detrended.status or _holds(found.detrended.interval, 0.0):
        return "the difference is of the trends: without them the interval holds 0"
    return "outside the placebo's range, and there without trend"


def matched_verdict(found: MatchedMedians) -> str:
    """Which of two runs was in smoother parts at equal loss.

    Args:
        found: ``matched`` of a comparison.

    Returns:
        A clause; empty where there is no ratio.
    """
    if found.status:
        return ""
    if _holds(found.interval, 1.0):
        return "the interval holds 1: no difference is shown"
    return "the second run is smoother at equal loss" if found.ratio < 1 else "the first run is smoother at equal loss"


def _holds(interval: Interval, value: float) -> bool:
    """Whether a value is inside; an interval that is not known holds everything."""
    return not (value < interval[0] or value > interval[1])
