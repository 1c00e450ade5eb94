"""Means over seeds: coverage of one interval and of several together, and what two seeds say."""

import numpy as np
import pytest

from gradlens.stats.mean_interval import mean_interval


def test_one_interval_covers_as_often_as_it_says() -> None:
    """4,000 planted means: 95 % within three standard errors of the count."""
    rng = np.random.default_rng(0)
    found = mean_interval(3.0 + rng.standard_normal((4000, 5)))
    covered = ((found.low < 3.0) & (found.high > 3.0)).mean()
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 4000)


def test_several_intervals_hold_together() -> None:
    """Six means at once, dependent or not: all of them are covered in 95 % of the tries at least."""
    rng = np.random.default_rng(1)
    for shared in (0.0, 1.0):
        noise = rng.standard_normal((2000, 6, 8)) + shared * rng.standard_normal((2000, 1, 8))
        found = mean_interval(noise, comparisons=6)
        together = ((found.low < 0) & (found.high > 0)).all(axis=1).mean()
        assert together > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 2000)
        alone = mean_interval(noise)
        if not shared:
            assert ((alone.low < 0) & (alone.high > 0)).all(axis=1).mean() < 0.8


def test_two_seeds_support_no_interval() -> None:
    found = mean_interval([[1.0, 2.0], [1.0, np.nan], [np.nan, np.nan]])
    assert found.n.tolist() == [2, 1, 0]
    assert found.mean[:2].tolist() == [1.5, 1.0]
    assert np.isnan([*found.low, *found.high, found.mean[2]]).all()
    assert not found.above.any()
    assert not found.below.any()


def test_a_constant_has_an_interval_of_no_width() -> None:
    found = mean_interval([2.0, 2.0, 2.0])
    assert (found.low, found.high) == (2.0, 2.0)


@pytest.mark.parametrize(("comparisons", "level"), [(0, 0.95), (1, 1.0)])
def test_wrong_arguments_are_refused(comparisons: int, level: float) -> None:
    with pytest.raises(ValueError, match=r"^expected 1 comparison or more and a level in \(0, 1\); got "):
        mean_interval([1.0], comparisons=comparisons, level=level)
