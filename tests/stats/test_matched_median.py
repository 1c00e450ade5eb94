"""Smoothness at equal loss: a planted ratio is recovered where a plain ratio of medians is of the trend."""

import numpy as np
import pytest
from scipy.signal import lfilter

from gradlens.stats import matched_medians

N = 600


def track(seed: int, factor: float, fall: float, phi: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """A falling loss, and a value that rises as loss falls, times a factor, with AR(1) noise."""
    rng = np.random.default_rng(seed)
    level = 1 + 2 * np.exp(-np.arange(N) / fall)
    noise = np.asarray(lfilter([1.0], [1.0, -phi], rng.standard_normal(N + 50)))[50:] * np.sqrt(1 - phi**2)
    return level, factor * level**-2 * np.exp(0.4 * noise)


def test_a_planted_ratio_is_recovered_and_the_unmatched_one_is_not() -> None:
    covered, widths, plain = [], [], []
    for seed in range(60):
        slow, fast = track(2 * seed, 1.0, 400), track(2 * seed + 1, 0.7, 100)
        found = matched_medians(slow, fast, tries=199, seed=seed)
        covered.append(found.interval[0] <= 0.7 <= found.interval[1])
        widths.append(np.ptp(found.interval))
        plain.append(np.median(fast[1]) / np.median(slow[1]))
        assert found.first == pytest.approx(found.second / found.ratio)
    assert np.mean(covered) >= 0.8  # .82 over 200 tries, .95 on white noise: the fast one has 25 blocks
    assert np.median(widths) < 0.3
    assert min(plain) > 1.0  # the median over a whole run says the opposite


def test_each_level_counts_alike_and_medians_are_of_bins() -> None:
    """Closed form: values are powers of the level, one run stays at low levels ten times as long, one value is wild."""
    many, few = np.linspace(1.0, 2.0, 1000), np.linspace(2.0, 3.0, 100)
    first = np.concatenate([many, few]), np.exp(2.0 * np.concatenate([many, few]))
    second = np.linspace(1.0, 3.0, 300), 3 * np.exp(2.0 * np.linspace(1.0, 3.0, 300))
    second[1][::29] *= 1000.0
    found = matched_medians(first, second, tries=199)
    assert found.ratio == pytest.approx(3.0, rel=0.05)
    assert np.median(second[1]) / np.median(first[1]) > 5.0
    middles = (found.edges[1:] + found.edges[:-1]) / 2
    assert found.first == pytest.approx(np.exp(2.0 * middles.mean()), rel=0.05)


def test_levels_that_do_not_meet_are_a_sentence() -> None:
    level, value = track(0, 1.0, 200)
    apart = matched_medians((level, value), (level + 10, value))
    assert apart.status.startswith("the levels do not meet: 1.")
    assert np.isnan([apart.ratio, apart.first, *apart.interval]).all()
    hardly = matched_medians((level, value), (level + 1.88, value))
    assert "points of one lie where both have been; a comparison needs 16." in hardly.status
    nothing = matched_medians(([], []), (level, value))
    assert nothing.status == "one of the two has no point with a level and a positive value."
    odd = matched_medians((level, np.where(np.arange(N) < 300, np.nan, value)), (level, -value))
    assert odd.status == nothing.status


def test_levels_at_which_only_one_has_been_are_a_sentence() -> None:
    ends = np.concatenate([np.full(50, 1.0), np.full(50, 3.0)])
    middle = np.concatenate([[1.0], np.full(98, 2.0), [3.0]])
    found = matched_medians((ends, np.ones(100)), (middle, np.ones(100)))
    assert found.status == "" or found.status.startswith("from 1 to 3 there is no level at which both have 8 points.")


def test_a_small_overlap_and_few_blocks_are_named() -> None:
    level, value = track(0, 1.0, 200, phi=0.99)
    found = matched_medians((level, value), (level + 1.0, value), tries=99)
    assert any("points lie at levels that both pass" in caveat for caveat in found.caveats)
    assert any("independent blocks, so its interval is likely too narrow." in caveat for caveat in found.caveats)


def test_a_trend_within_bins_is_named() -> None:
    """The two pass the same range, but dwell at opposite ends of it; what bends is not taken out with a slope."""
    rng = np.random.default_rng(0)
    first, second = 1 + rng.beta(1, 4, 200), 1 + rng.beta(4, 1, 200)
    first_bent, second_bent = (np.exp(60 * (level - 1) ** 4) for level in (first, second))
    found = matched_medians((first, first_bent), (second, second_bent), tries=99)
    assert any("a trend within the bins weighs on it" in caveat for caveat in found.caveats)


def test_a_common_trend_in_the_level_is_taken_out_exactly() -> None:
    rng = np.random.default_rng(1)
    first, second = 1 + rng.beta(1, 3, 200), 1 + rng.beta(3, 1, 40)
    found = matched_medians((first, np.exp(2 * first)), (second, 3 * np.exp(2 * second)), tries=9)
    assert found.ratio == pytest.approx(3.0, rel=1e-9)
