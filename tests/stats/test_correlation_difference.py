"""The difference of two r covers the truth, and is symmetric; what cannot be compared says so."""

import numpy as np
import pytest
from scipy.signal import lfilter

from gradlens.stats import correlation_difference


def pair(seed: int, rho: float, n: int = 800, phi: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(seed).standard_normal((2, n + 100))
    noise[1] = rho * noise[0] + np.sqrt(1 - rho**2) * noise[1]
    x, y = np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=1))[:, 100:]
    return x, y


def test_the_interval_of_a_difference_covers() -> None:
    found = [
        correlation_difference(pair(seed, 0.2), pair(seed + 1000, 0.6), tries=199, seed=seed) for seed in range(80)
    ]
    assert np.mean([each.interval[0] <= 0.4 <= each.interval[1] for each in found]) >= 0.86
    assert np.median([np.ptp(each.interval) for each in found]) < 0.45


def test_the_other_way_round_is_the_negative() -> None:
    a, b = pair(0, 0.2), pair(1, 0.6)
    there, back = correlation_difference(a, b), correlation_difference(b, a)
    assert there.value == pytest.approx(-back.value)
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]), abs=0.05)
    same = correlation_difference(a, a)
    assert same.value == 0.0
    assert same.interval[0] < 0 < same.interval[1]  # resampled apart: not the point that one bootstrap of both gives
    assert np.ptp(same.interval) > 0.1


def test_says_why_there_is_no_difference() -> None:
    few = correlation_difference(pair(0, 0.5), ([1.0], [1.0]))
    assert few.status == "a correlation needs at least 16 pairs of finite values; there are 1."
    assert np.isnan([few.value, *few.interval]).all()
    assert few.n == (800, 1)
    slow = correlation_difference(pair(0, 0.5), pair(1, 0.5, phi=0.99), tries=99)
    assert "independent blocks" in slow.caveat
