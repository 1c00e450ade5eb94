r"""Medians of a quantity in two trajectories, at equal values of another: smoothness at equal loss, say.

The levels that both trajectories pass are cut into bins that hold equally many points of the two together. Two that
pass a bin at different speeds lie at different levels within it, so the slope of the logarithm over the level that both
have in common there is taken out first. With :math:`m_{ik}` the median of trajectory i at the middle of bin k, the
ratio is

.. math:: \exp \frac1K \sum_k (\log m_{2k} - \log m_{1k})

so that each level counts alike, however long a trajectory stays there. The interval resamples blocks of each one's
residuals about a cubic in the level, apart from the other's: points in a bin follow one another in time, so that to
resample the points themselves would hardly vary a bin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.block_length import block_length, few_blocks
from gradlens.stats.bootstrap import bootstrap_draws, percentile_interval
from gradlens.stats.correlation import detrend

Floats = NDArray[np.float64]
MOST_BINS = 10
MIN_IN_BIN = 8
_MOST_RESAMPLED = 1_000_000
_FEWEST_TRIES = 199


@dataclass(frozen=True, slots=True)
class MatchedMedians:
    """The answer for two trajectories.

    Attributes:
        first: median in the first, averaged over the bins as a logarithm; NaN where there is no answer.
        second: the same in the second.
        ratio: second over first.
        interval: its 95 % interval.
        overlap: lowest and highest level that both pass.
        shares: which share of each one's points lies there.
        edges: (bins + 1,) levels between the bins.
        n: points of each within them.
        blocks: block length of each, in points.
        status: empty, or a sentence that says why there is no answer.
        caveats: sentences that say why the answer is fragile.
    """

    first: float
    second: float
    ratio: float
    interval: tuple[float, float]
    overlap: tuple[float, float]
    shares: tuple[float, float]
    edges: Floats
    n: tuple[int, int]
    blocks: tuple[int, int]
    status: str = ""
    caveats: tuple[str, ...] = ()


def matched_medians(
    first: tuple[ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike], *, tries: int = 999, seed: int = 0
) -> MatchedMedians:
    """Compare two trajectories' medians at equal levels.

    Args:
        first: levels and positive values of one trajectory in the order of time, (n,) each.
        second: the same of the other, (m,) each.
        tries: resamples of the bootstrap; fewer, down to 199, where the points times this pass one million.
        seed: its seed.

    Returns:
        Both medians, their ratio and its interval; ``status`` says so where the levels do not meet.

    >>> rng = np.random.default_rng(0)
    >>> level = np.linspace(3, 1, 600)
    >>> value = level * np.exp(0.3 * rng.standard_normal((2, 600)))
    >>> found = matched_medians((level, value[0]), (level, 0.5 * value[1]))
    >>> bool(found.interval[0] < 0.5 < found.interval[1]), bool(np.ptp(found.interval) < 0.1)
    (True, True)
    """
    tracks = _usable(*first), _usable(*second)
    if not all(len(level) for level, _ in tracks):
        return _no_answer((math.nan, math.nan), "one of the two has no point with a level and a positive value.")
    low, high = max(level.min() for level, _ in tracks), min(level.max() for level, _ in tracks)
    within = [(level >= low) & (level <= high) for level, _ in tracks]
    ranges = [f"{level.min():.4g} to {level.max():.4g}" for level, _ in tracks]
    if not all(inside.any() for inside in within):
        return _no_answer((math.nan, math.nan), f"the levels do not meet: {ranges[0]} against {ranges[1]}.")
    fewest = min(int(inside.sum()) for inside in within)
    if fewest < 2 * MIN_IN_BIN:
        why = (
            f"the levels hardly meet ({ranges[0]} against {ranges[1]}): {fewest} points of one lie where both have "
            f"been; a comparison needs {2 * MIN_IN_BIN}."
        )
        return _no_answer((low, high), why)
    edges = _edges(tracks, within, min(MOST_BINS, fewest // (2 * MIN_IN_BIN)))
    if not len(edges):
        why = f"from {low:.4g} to {high:.4g} there is no level at which both have {MIN_IN_BIN} points."
        return _no_answer((low, high), why)
    found = [
        _medians(track, logs, place, tries, seed + turn)
        for turn, (track, (logs, place)) in enumerate(zip(tracks, _level_out(tracks, edges), strict=True))
    ]
    logs = [one.log_median for one in found]
    fewest = min(len(one.draws) for one in found)
    interval = percentile_interval(np.exp(found[1].draws[:fewest] - found[0].draws[:fewest]))
    shares = float(within[0].mean()), float(within[1].mean())
    coarse = _edges(tracks, within, max(1, (len(edges) - 1) // 2))
    points = [_point(logs, place) for logs, place in _level_out(tracks, coarse)]
    coarse_ratio = math.exp(points[1] - points[0])
    ratio = math.exp(logs[1] - logs[0])
    return MatchedMedians(
        first=math.exp(logs[0]),
        second=math.exp(logs[1]),
        ratio=ratio,
        interval=interval,
        overlap=(float(low), float(high)),
        shares=shares,
        edges=edges,
        n=(found[0].n, found[1].n),
        blocks=(found[0].block, found[1].block),
        caveats=_caveats(found, shares, ratio, coarse_ratio, interval),
    )


@dataclass(frozen=True, slots=True)
class _Track:
    """One trajectory: its mean log median over the bins, that in each resample, points and block length."""

    log_median: float
    draws: Floats
    n: int
    block: int


def _usable(levels: ArrayLike, values: ArrayLike) -> tuple[Floats, Floats]:
    level, value = np.asarray(levels, dtype=np.float64), np.asarray(values, dtype=np.float64)
    kept = np.isfinite(level) & np.isfinite(value) & (value > 0)
    return level[kept], value[kept]


def _edges(tracks: tuple[tuple[Floats, Floats], ...], within: list[NDArray[np.bool_]], bins: int) -> Floats:
    """Edges of the most bins, up to a number, of which each holds enough points of both; empty without one."""
    levels = [level[inside] for (level, _), inside in zip(tracks, within, strict=True)]
    for number in range(bins, 0, -1):
        edges = np.unique(np.quantile(np.concatenate(levels), np.linspace(0, 1, number + 1)))
        counts = [np.histogram(level, edges)[0] for level in levels] if len(edges) > 1 else [np.zeros(1)]
        if min(count.min() for count in counts) >= MIN_IN_BIN:
            return np.asarray(edges)
    return np.empty(0)


def _bins(level: Floats, edges: Floats) -> NDArray[np.int64]:
    """(n,) the bin of each level, -1 outside."""
    place = np.minimum(np.searchsorted(edges, level, side="right") - 1, len(edges) - 2)
    return np.where((level >= edges[0]) & (level <= edges[-1]), place, -1)


def _level_out(tracks: tuple[tuple[Floats, Floats], ...], edges: Floats) -> list[tuple[Floats, NDArray[np.int64]]]:
    """Each one's logarithms, moved along their bin's common slope to its middle; and the bin of each, -1 outside."""
    places = [_bins(level, edges) for level, _ in tracks]
    logs = [np.log(value) for _, value in tracks]
    unit = edges[-1] - edges[0]  # squares of levels beyond 1e154 would overflow
    for k in range(len(edges) - 1):
        inside = [place == k for place in places]
        x = [(level[chosen] - level[chosen].mean()) / unit for (level, _), chosen in zip(tracks, inside, strict=True)]
        y = [log[chosen] - log[chosen].mean() for log, chosen in zip(logs, inside, strict=True)]
        spread = sum(float(each @ each) for each in x)
        slope = sum(float(a @ b) for a, b in zip(x, y, strict=True)) / spread if spread > 0 else 0.0
        middle = (edges[k] + edges[k + 1]) / 2
        for (level, _), log, chosen in zip(tracks, logs, inside, strict=True):
            log[chosen] -= slope * ((level[chosen] - middle) / unit)
    return list(zip(logs, places, strict=True))


def _point(logs: Floats, place: NDArray[np.int64]) -> float:
    return float(np.mean([np.median(logs[place == k]) for k in range(place.max() + 1)]))


def _medians(track: tuple[Floats, Floats], logs: Floats, place: NDArray[np.int64], tries: int, seed: int) -> _Track:
    inside = place >= 0
    level, value, bins = track[0][inside], track[1][inside], place[inside]
    residuals = detrend(np.log(value), level, min(3, len(np.unique(level)) - 1))
    residuals -= np.median(residuals)
    members = [np.flatnonzero(bins == k) for k in range(bins.max() + 1)]
    block = block_length(np.sign(residuals))
    n = len(residuals)

    def shift(drawn: Floats) -> Floats:
        """(tries,) how far the residuals move the mean of the medians."""
        return np.asarray(np.mean([np.median(drawn[..., each], axis=-1) for each in members], axis=0))

    tries = min(tries, max(_FEWEST_TRIES, _MOST_RESAMPLED // n))
    point = _point(logs, place)
    return _Track(point, point + bootstrap_draws(shift, residuals, block=block, tries=tries, seed=seed), n, block)


def _caveats(
    found: list[_Track], shares: tuple[float, float], ratio: float, coarse: float, interval: tuple[float, float]
) -> tuple[str, ...]:
    caveats = []
    if min(shares) < 0.5:
        which = "first" if shares[0] <= shares[1] else "second"
        caveats.append(f"only {min(shares):.0%} of the {which} one's points lie at levels that both pass.")
    fewest = min(found, key=lambda one: one.n / one.block)
    few = few_blocks(fewest.n, fewest.block)
    if few:
        caveats.append(f"{few}.")
    half = 0.5 * math.log(interval[1] / interval[0]) if 0 < interval[0] <= interval[1] else math.inf
    if math.isfinite(coarse) and abs(math.log(coarse / ratio)) > half:
        caveats.append(f"with half as many bins the ratio is {coarse:.2f}: a trend within the bins weighs on it.")
    return tuple(caveats)


def _no_answer(overlap: tuple[float, float], why: str) -> MatchedMedians:
    nan = math.nan
    return MatchedMedians(nan, nan, nan, (nan, nan), overlap, (nan, nan), np.empty(0), (0, 0), (0, 0), why)
