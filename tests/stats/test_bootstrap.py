"""Intervals cover what they promise on dependent data, and the i.i.d. bootstrap does not."""

import numpy as np
import pytest
from scipy.signal import lfilter

from gradlens.stats import block_length, bootstrap_interval, correlate, pearson

TRIES = 400
PHI, RHO, LENGTH = 0.8, 0.5, 1000


def ar1_pair(seed: int) -> np.ndarray:
    """Two AR(1) series whose innovations, and so the series themselves, correlate with RHO."""
    noise = np.random.default_rng(seed).standard_normal((2, LENGTH + 200))
    noise[1] = RHO * noise[0] + np.sqrt(1 - RHO**2) * noise[1]
    return np.asarray(lfilter([1.0], [1.0, -PHI], noise, axis=1))[:, 200:]


def coverage(*, iid: bool) -> float:
    covered = 0
    for seed in range(TRIES):
        x, y = ar1_pair(seed)
        block = 1
        if not iid:
            sx, sy, r = (x - x.mean()) / x.std(), (y - y.mean()) / y.std(), float(pearson(x, y))
            block = block_length(sx * sy - r / 2 * (sx**2 + sy**2))
        low, high = bootstrap_interval(pearson, x, y, block=block, tries=299, seed=seed)
        covered += low <= RHO <= high
    return covered / TRIES


def test_block_bootstrap_of_r_covers_on_ar1() -> None:
    assert 0.87 <= coverage(iid=False) <= 0.98


def test_iid_bootstrap_of_r_fails_the_same_test() -> None:
    assert coverage(iid=True) <= 0.70


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
