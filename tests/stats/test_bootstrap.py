"""Intervals cover what they promise on dependent data, and the i.i.d. bootstrap does not."""

import numpy as np
import pytest
from scipy.signal import lfilter

from gradlens.stats import block_length, bootstrap_interval, correlate, pearson, spearman
from gradlens.stats.block_sums import block_sums, drawn_blocks
from gradlens.stats.bootstrap import percentile_interval
from gradlens.stats.correlation import correlation_block, resampled
from gradlens.stats.ranks import ranked

TRIES = 400
PHI, RHO, LENGTH = 0.8, 0.5, 1000


def ar1_pair(seed: int) -> np.ndarray:
    """Two AR(1) series whose innovations, and so the series themselves, correlate with RHO."""
    noise = np.random.default_rng(seed).standard_normal((2, LENGTH + 200))
    noise[1] = RHO * noise[0] + np.sqrt(1 - RHO**2) * noise[1]
    return np.asarray(lfilter([1.0], [1.0, -PHI], noise, axis=1))[:, 200:]


def coverage(*, iid: bool) -> tuple[float, float]:
    """Share of 95 % intervals that hold the truth, and their median width."""
    intervals = []
    for seed in range(TRIES):
        x, y = ar1_pair(seed)
        block = 1 if iid else correlation_block(x, y)
        intervals.append(percentile_interval(resampled(x, y, block=block, tries=299, seed=seed)[0]))
    low, high = np.array(intervals).T
    return float(np.mean((low <= RHO) & (high >= RHO))), float(np.median(high - low))


def test_block_bootstrap_of_r_covers_on_ar1() -> None:
    covered, width = coverage(iid=False)
    assert 0.87 <= covered <= 0.98
    assert width < 0.25  # an interval that holds everything holds the truth too


def test_iid_bootstrap_of_r_fails_the_same_test() -> None:
    assert coverage(iid=True)[0] <= 0.70


@pytest.mark.parametrize("block", [1, 3, 20, 59])
def test_counting_is_drawing(block: int) -> None:
    """The fast path against its naive twin, which draws each resample."""
    x, y = np.random.default_rng(block).standard_normal((2, 60))
    starts = np.random.default_rng(5).integers(0, 60, size=(200, -(-60 // block), 1))
    index = ((starts + np.arange(block)) % 60).reshape(200, -1)
    fast = resampled(x, y, block=block, tries=200, seed=5)[0]
    assert np.allclose(fast, pearson(x[index], y[index]), rtol=1e-9)


@pytest.mark.parametrize("slope", [0.0, 1.0, 4.0])
def test_ranks_that_are_moved_are_as_ranks_formed_anew(slope: float) -> None:
    x, noise = np.random.default_rng(1).standard_normal((2, 800)).round(2)  # some tie
    y = slope * x + noise
    low, high = percentile_interval(resampled(x, y, block=4, tries=1000, seed=2, ranks=(ranked(x), ranked(y)))[1])
    anew = bootstrap_interval(spearman, x, y, block=4, tries=1000, seed=3)
    assert abs(low - anew[0]) + abs(high - anew[1]) < 0.25 * (anew[1] - anew[0])


@pytest.mark.parametrize("block", [1, 7, 50])
def test_counts_are_those_of_blocks(block: int) -> None:
    counts = np.concatenate(list(drawn_blocks(50, block, tries=300, seed=1)))
    assert (counts.sum(axis=1) == -(-50 // block)).all()
    assert abs(counts.mean() * 50 - -(-50 // block)) < 1e-9
    series = np.random.default_rng(0).standard_normal((50, 2))
    slow = [[series[np.arange(at, at + block) % 50, k].sum() for k in range(2)] for at in range(50)]
    assert np.allclose(block_sums(series, block), slow)


def test_correlate_uses_that_block_length() -> None:
    x, y = ar1_pair(3)
    blocks, single = correlate(x, y, tries=499), correlate(x, y, tries=499, iid=True)
    assert blocks.block > 5
    assert single.block == 1
    assert np.ptp(blocks.pearson_interval) > 1.5 * np.ptp(single.pearson_interval)


def test_block_length_grows_with_dependence() -> None:
    rng = np.random.default_rng(0)
    lengths = [block_length(lfilter([1.0], [1.0, -phi], rng.standard_normal(4000))) for phi in (0.0, 0.5, 0.9)]
    assert lengths == sorted(lengths)
    assert lengths[0] <= 4
    assert lengths[2] >= 20


@pytest.mark.parametrize("series", [[], [1.0], [2.0] * 50])
def test_block_length_of_nothing_to_measure_is_one(series: list[float]) -> None:
    assert block_length(series) == 1


def test_interval_of_a_mean_matches_the_normal_one() -> None:
    x = np.random.default_rng(0).standard_normal(2000)
    low, high = bootstrap_interval(lambda values: values.mean(-1), x, block=1, tries=4000)
    half = 1.96 * x.std() / np.sqrt(len(x))
    assert np.allclose([low, high], [x.mean() - half, x.mean() + half], atol=0.1 * half)


def test_refuses_series_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match=r"series must have one length; got \[3, 2\]"):
        bootstrap_interval(pearson, [1.0, 2.0, 3.0], [1.0, 2.0], block=1)
    with pytest.raises(ValueError, match="block must be at least 1; got 0"):
        bootstrap_interval(pearson, [1.0, 2.0], [1.0, 2.0], block=0)
