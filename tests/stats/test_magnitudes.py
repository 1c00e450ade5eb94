"""Numbers far from 1: an answer in their unit, or a sentence; never a warning, and nothing made of rounding."""

import numpy as np
import pytest

from gradlens.stats import correlate, detrend, matched_medians
from gradlens.stats.mean_interval import mean_interval
from gradlens.stats.power_line import power_line
from gradlens.stats.quantile_line import quantile_line

RNG = np.random.default_rng(0)
X = RNG.uniform(0.1, 4, 300)
Y = 2 + 3 * X**2 + 0.3 * RNG.standard_normal(300)


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_answers_follow_the_unit(unit: float) -> None:
    mean = mean_interval(np.array([1.0, 2.0, 4.0]) * unit)
    base = mean_interval([1.0, 2.0, 4.0])
    assert [float(mean.low), float(mean.high)] == pytest.approx([float(base.low) * unit, float(base.high) * unit])
    assert power_line(X, Y * unit, tries=199).l1 == pytest.approx(unit * power_line(X, Y, tries=199).l1)
    assert quantile_line(X * unit, Y, 0.9, tries=199).l1 == pytest.approx(quantile_line(X, Y, 0.9, tries=199).l1 / unit)
    level = np.linspace(3, 1, 300)
    one, other = [(level * unit, Y), (level * unit, X)], [(level, Y), (level, X)]
    assert matched_medians(*one, tries=9).ratio == pytest.approx(matched_medians(*other, tries=9).ratio)


def test_what_cannot_be_summed_has_no_fit() -> None:
    wide = 10.0 ** RNG.uniform(-300, 300, 300)
    for fit in (power_line(wide, wide, tries=199), quantile_line(wide, wide, 0.9, tries=199)):
        assert fit.status == "the numbers are too large, or lie too many orders of magnitude apart, for a line."
        assert np.isnan(fit.l1)


def test_two_lines_leave_nothing_to_correlate() -> None:
    """Their residuals about a cubic are of rounding, and were correlated at .98."""
    time = np.arange(0, 2000, 20)
    found = correlate(detrend(1 - 0.001 * time, time), detrend(3 - 0.002 * time, time))
    assert found.status == "a correlation needs two series that vary; one of them is constant."
    wave = 1e-6 * np.sin(time)  # small, but far above rounding
    assert not correlate(detrend(1 - 0.001 * time + wave, time), detrend(3 - 0.002 * time + wave, time)).status
