"""Curves over sizes, time and learning rates: planted minima, constants and limits, and what must not be claimed."""

import numpy as np
import pytest
from scipy.signal import lfilter

from gradlens.stats.interior_minimum import interior_minimum
from gradlens.stats.ladder_agreement import ladder_agreement
from gradlens.stats.mean_interval import mean_interval
from gradlens.stats.small_rate_limit import small_rate_limit
from gradlens.stats.stationarity import stationarity
from gradlens.stats.tail_fit import tail_fit

SIZES = [1, 2, 4, 8, 16, 32, 64]
U = np.array([0.59, 0.32, 0.25, 0.28, 0.39, 0.42, 0.42])  # the noisy digits
FALLING = np.array([0.5, 0.4, 0.35, 0.3, 0.28, 0.26, 0.25])


def seeds(means: np.ndarray, n: int, spread: float, noise: float, seed: int = 0) -> np.ndarray:
    """Seeds differ by ``spread`` together, and by ``noise`` at each size."""
    rng = np.random.default_rng(seed)
    return means[:, None] + spread * rng.standard_normal(n) + noise * rng.standard_normal((len(means), n))


def test_a_planted_minimum_is_found_although_seeds_differ_more_than_sizes() -> None:
    found = interior_minimum(SIZES, seeds(U, 10, spread=0.5, noise=0.02))
    assert (found.best, found.interior, found.status) == (4, True, "")
    assert set(found.ties) <= {4, 8}
    assert found.excess.low[0] < 0.34 < found.excess.high[0]


def test_unpaired_seeds_do_not_show_it() -> None:
    """The same numbers with seeds out of order: what an unpaired comparison would see."""
    values = seeds(U, 10, spread=0.5, noise=0.02)
    rng = np.random.default_rng(1)
    found = interior_minimum(SIZES, np.stack([rng.permutation(row) for row in values]))
    assert not found.interior
    assert len(found.ties) > 3


def test_a_monotone_curve_has_none() -> None:
    found = interior_minimum(SIZES, seeds(FALLING, 10, spread=0.1, noise=0.01))
    assert not found.interior
    assert found.status == "no interior minimum: the best size, 64, is an end of those tried."


def test_flat_curves_seldom_seem_to_have_one() -> None:
    """Nothing is there: in 400 tries, both ends are called worse than the best in 5 % at most."""
    false = [interior_minimum(SIZES, seeds(np.ones(7), 10, 0.1, 0.1, seed)).interior for seed in range(400)]
    assert np.mean(false) <= 0.05


def test_a_minimum_at_one_side_only_is_none() -> None:
    shallow = np.array([0.59, 0.32, 0.25, 0.25, 0.25, 0.25, 0.252])
    found = interior_minimum(SIZES, seeds(shallow, 10, 0.1, 0.01))
    assert found.status.startswith("no interior minimum: at size 64 the value is not shown to be worse than at")


def test_too_little_to_say() -> None:
    two = interior_minimum(SIZES, seeds(U, 2, 0.1, 0.0))
    assert two.status == "not identified: 2 seeds support no interval; take three at least, better ten."
    assert two.ties == tuple(SIZES)
    assert interior_minimum([1, 64], seeds(U[[0, 6]], 5, 0.1, 0.01)).status.startswith("not identified: an interior")
    assert interior_minimum([1, 4], np.full((2, 3), np.nan)).status == "no seed has every size."
    with pytest.raises(ValueError, match=r"^expected \(m,\) ascending sizes and \(m, n\) values; got shapes"):
        interior_minimum([4, 1], np.ones((2, 3)))


T = np.arange(100.0, 8001, 100)


def noisy(curve: np.ndarray, n: int, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return curve * np.exp(noise * rng.standard_normal((n, len(curve))))


def test_a_planted_constant_is_covered() -> None:
    """k = 1, ten seeds, beta = .1: identified, and covered in most of 60 tries (a bootstrap of ten seeds is short)."""
    found = [tail_fit(T, noisy(20 / T + 0.1, 10, 0.05, seed), tries=200) for seed in range(60)]
    assert np.mean([fit.low < 0.1 < fit.high for fit in found]) > 0.85
    assert np.mean([fit.status == "" for fit in found]) > 0.9
    assert np.median([fit.beta for fit in found]) == pytest.approx(0.1, rel=0.03)


def test_what_falls_to_nothing_is_not_called_a_constant() -> None:
    """The square-root law without a constant, also where a fit of three parameters would like one."""
    for noise in (0.05, 0.2):
        found = [tail_fit(T, noisy(3 / np.sqrt(T), 10, noise, seed), tries=100) for seed in range(30)]
        assert all(fit.status.startswith("not identified") for fit in found)
        assert np.median([fit.slope for fit in found]) == pytest.approx(0.5, abs=0.05)


def test_a_weakly_identified_constant_is_called_so() -> None:
    """k = .5 and 20 % noise, one curve alone: many fits say zero though beta is .1; a seed alone identifies nothing."""
    one = [tail_fit(T, noisy(20 / np.sqrt(T) + 0.1, 1, 0.2, seed)) for seed in range(100)]
    assert 0.02 < np.mean([fit.beta < 1e-9 for fit in one]) < 0.5
    assert {fit.status for fit in one} == {
        "not identified: 1 seed supports no interval; take three at least, better ten."
    }
    three = tail_fit(T, noisy(30 / np.sqrt(T) + 0.01, 3, 0.2, 0))
    assert three.status.startswith("not identified")


def test_the_limit_of_small_rates() -> None:
    rates = np.array([0.05, 0.1, 0.3, 1.0])
    rng = np.random.default_rng(2)

    def floors(beta: float) -> np.ndarray:
        return np.sqrt(beta**2 + 0.04 * rates) * np.exp(0.05 * rng.standard_normal((10, 4)))

    with_bias = [small_rate_limit(rates, floors(0.1)) for _ in range(200)]
    without = [small_rate_limit(rates, floors(0.0)) for _ in range(200)]
    assert np.mean([fit.low <= 0.1 <= fit.high for fit in with_bias]) > 0.9
    assert np.mean([fit.status == "" for fit in with_bias]) > 0.9
    assert np.mean([fit.status == "" for fit in without]) < 0.07
    assert np.mean([fit.slope for fit in with_bias]) == pytest.approx(0.04, rel=0.05)
    assert small_rate_limit(rates[:2], floors(0.1)[:, :2]).status == (
        "not identified: the limit takes three learning rates and a seed at least; got 2 and 10."
    )
    assert small_rate_limit(rates, floors(0.1)[:2]).status.startswith("not identified: 2 seeds support no interval")


def test_rest_is_shown_or_not_claimed() -> None:
    t = np.arange(0, 2000, 20.0)
    still = stationarity(t, noisy(np.ones(100), 10, 0.3, 0))
    assert still.status.startswith("not shown to be stationary: over the last quarter of the time it may change by ")
    falling = stationarity(t, noisy(1 / (1 + t), 10, 0.3, 0))
    assert falling.falls
    assert falling.status.startswith("not stationary: over the last quarter of the time it falls by ")
    loud = stationarity(t[:8], noisy(np.ones(8), 3, 1.0, 0))
    assert loud.status.startswith("not shown to be stationary: over the last quarter of the time it may change by ")
    assert stationarity(t, np.ones((2, 100))).status.startswith("not shown to be stationary: 2 seeds support no")
    assert stationarity([], np.empty((0, 0))).status.startswith("not shown to be stationary: 0 seeds")


def autoregressive(n: int, m: int, phi: float, noise: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.exp(noise * lfilter([np.sqrt(1 - phi**2)], [1, -phi], rng.standard_normal((n, m + 100)))[:, 100:])


@pytest.mark.parametrize(("phi", "noise"), [(0.0, 0.01), (0.0, 0.1), (0.6, 0.1)])
def test_a_power_law_is_not_at_rest_and_a_floor_is(phi: float, noise: float) -> None:
    """Ten seeds, 80 points, white and autoregressive noise: T^-.3 changes by a tenth over the last quarter."""
    curves = [autoregressive(10, len(T), phi, noise, seed) for seed in range(40)]
    for exponent in (0.3, 0.5, 0.7):
        assert not any(stationarity(T, T**-exponent * each).stationary for each in curves)
    assert np.mean([stationarity(T, each).stationary for each in curves]) > 0.85


def test_a_limit_is_not_identified_where_its_law_is_broken() -> None:
    """Ten seeds: floors that fall as the rate grows; powers of the rate, and a bent law, all without a constant."""
    rates, rng = np.array([0.1, 0.3, 1.0]), np.random.default_rng(3)

    def identified(squares: np.ndarray, noise: float, tries: int = 100) -> float:
        floors = np.sqrt(squares) * (1 + noise * rng.standard_normal((tries, 10, 3)))
        return float(np.mean([small_rate_limit(rates, each).status == "" for each in floors]))

    falling = np.array([0.089, 0.080, 0.076]) * (1 + 0.01 * rng.standard_normal((10, 3)))
    assert small_rate_limit(rates, falling).status == "not identified: the floor falls as the rate grows."
    for noise in (0.01, 0.03, 0.1):
        for power in (1.0, 0.95, 0.9, 0.8, 0.7):
            assert identified(0.05 * rates**power, noise) <= 0.08
        assert identified(0.05 * rates / (1 + rates), noise) <= 0.05
    assert identified(0.1**2 + 0.05 * rates, 0.03) > 0.85
    alike = np.tile([[0.2], [0.21], [0.22]], 3)  # the same at each rate, but for rounding
    assert small_rate_limit(rates, alike).status == ""


def test_the_limits_interval_covers_both_lines() -> None:
    """The two smallest rates alone know less than all: the interval is theirs at least."""
    rates, rng = np.array([0.1, 0.3, 1.0]), np.random.default_rng(4)
    floors = np.sqrt(0.1**2 + 0.05 * rates) * (1 + 0.03 * rng.standard_normal((10, 3)))
    squares = floors[:, :2] ** 2
    two = mean_interval(squares[:, 0] - 0.1 * (squares[:, 1] - squares[:, 0]) / 0.2)
    found = small_rate_limit(rates, floors)
    assert found.low <= np.sqrt(two.low) + 1e-12
    assert found.high >= np.sqrt(two.high) - 1e-12
    assert small_rate_limit(rates[::-1], floors[:, ::-1]) == found


def test_seeds_that_do_not_differ_show_nothing() -> None:
    copies = interior_minimum([1, 8, 64], np.array([[0.5] * 3, [0.48] * 3, [0.5] * 3]) + np.array([0.0, 0.1, 0.2]))
    assert (copies.interior, copies.ties) == (False, (1, 8, 64))
    assert copies.status == "not identified: the seeds do not differ."


def test_agreement_of_a_prediction() -> None:
    found = ladder_agreement(SIZES, [np.inf, 0.44, 0.26, 0.28, 0.32, 0.33, 0.36], U)
    assert (found.predicted, found.swept, found.hit) == (4, 4, True)
    assert found.rank_correlation > 0.7
    assert not ladder_agreement(SIZES, FALLING, U).hit
    assert np.isnan(ladder_agreement(SIZES, np.ones(7), U).rank_correlation)
    assert ladder_agreement(SIZES, np.full(7, np.nan), U).predicted == 0
