"""Planted L0, L1 and rho are recovered with the coverage stated; the edge 0 is named; wrong estimators fail.

What 95 % intervals cover, over more cases and tries than here: ``python -m benchmarks.line_coverage``.
"""

import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import scipy.optimize
from scipy.signal import lfilter
from scipy.stats import norm

from gradlens.stats import LineFit, block_length, nonnegative_line, power_line, quantile_line
from gradlens.stats.block_sums import block_sums, drawn_blocks
from gradlens.stats.bootstrap import percentile_interval
from gradlens.stats.line_fit import FEW_LONG_BLOCKS, with_intervals
from gradlens.stats.nonnegative_line import closed_form

N = 1000
L0, L1, RHO = 1.0, 2.0, 1.5


def dependent(seed: int, phi: float) -> tuple[np.ndarray, np.ndarray]:
    """A log-normal norm and standard normal noise, both AR(1)."""
    noise = np.random.default_rng(seed).standard_normal((2, N + 100))
    z, e = np.asarray(lfilter([1.0], [1.0, -phi], noise, axis=1))[:, 100:] * np.sqrt(1 - phi**2)
    return np.exp(0.6 * z), e


def held(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def planted(seed: int, phi: float, noise: str, skew: float = 0.6, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    """L0 + L1 x and an AR(1) error: added, in proportion to the line, or log-normal in proportion to it."""
    z, e = (series[:n] for series in dependent(seed, phi))
    x = np.exp(skew * np.log(z) / 0.6)
    line = L0 + L1 * x
    return x, {
        "added": np.maximum(line + 0.5 * e, 0.01),
        "proportional": line * np.maximum(1 + 0.3 * e, 0.01),
        "log-normal": line * np.exp(0.5 * e - 0.125),
    }[noise]


def quantiles(noise: str, quantile: float) -> tuple[float, float]:
    """The planted envelope's L0 and L1."""
    at = norm.ppf(quantile)
    if noise == "added":
        return L0 + 0.5 * at, L1
    factor = 1 + 0.3 * at if noise == "proportional" else np.exp(0.5 * at - 0.125)
    return L0 * factor, L1 * factor


def coverage(fits: list[LineFit], truth: tuple[float, float]) -> float:
    """Share of the intervals that hold the truth, the worse of L0 and L1, among fits that have any."""
    some = [fit for fit in fits if np.isfinite(fit.l0_interval[0])]
    assert len(some) > 0.8 * len(fits)
    of = [[held(fit.l0_interval, truth[0]), held(fit.l1_interval, truth[1])] for fit in some]
    return float(np.mean(of, axis=0).min())


CASES = [
    (0.0, "added", 0.6, 0.1),
    (0.0, "proportional", 1.0, 0.7),
    (0.8, "added", 0.6, 0.25),
    (0.8, "proportional", 0.6, 0.95),
    (0.8, "log-normal", 0.6, 1.5),
    (0.8, "proportional", 1.0, 1.1),
]
"""Dependence, kind of error, spread of log x, and the widest that an interval of L1 may be in the middle."""


@pytest.mark.parametrize(("phi", "noise", "skew", "widest"), CASES)
def test_the_line_of_means_is_recovered(phi: float, noise: str, skew: float, widest: float) -> None:
    fits = [nonnegative_line(*planted(seed, phi, noise, skew), tries=199, seed=seed) for seed in range(150)]
    assert coverage(fits, (L0, L1)) >= 0.9
    assert np.nanmedian([np.ptp(fit.l1_interval) for fit in fits]) < widest


@pytest.mark.parametrize(
    ("phi", "noise", "widest"),
    [(0.0, "added", 0.3), (0.0, "proportional", 0.8), (0.8, "added", 0.4), (0.8, "proportional", 1.3)],
)
@pytest.mark.parametrize("quantile", [0.9, 0.95])
def test_the_upper_envelope_is_recovered(quantile: float, phi: float, noise: str, widest: float) -> None:
    fits = [quantile_line(*planted(seed, phi, noise), quantile, tries=199, seed=seed) for seed in range(100)]
    assert coverage(fits, quantiles(noise, quantile)) >= 0.9
    assert np.nanmedian([np.ptp(fit.l1_interval) for fit in fits]) < widest


@pytest.mark.parametrize("fit", [nonnegative_line, partial(quantile_line, quantile=0.9)])
def test_single_pairs_fail_the_same_test(fit: Callable[..., LineFit], monkeypatch: pytest.MonkeyPatch) -> None:
    """What blocks are for: resampled one by one, dependent points miss the truth six times as often as said."""
    for module in ("nonnegative_line", "quantile_line"):
        monkeypatch.setattr(sys.modules[f"gradlens.stats.{module}"], "long_block", lambda _series, _n: 1)
    monkeypatch.setattr("gradlens.stats.studentized.long_run_variance", lambda _series: 0.0)
    fits = [fit(*planted(seed, 0.95, "proportional"), tries=199, seed=seed) for seed in range(100)]
    truth = (L0, L1) if fit is nonnegative_line else quantiles("proportional", 0.9)
    assert coverage(fits, truth) <= 0.7


def test_the_middle_of_the_resamples_fails_where_few_points_decide() -> None:
    """What standard errors are for: without them L1 is missed twice as often as said, and more."""
    middle, own = [], []
    for seed in range(150):
        x, y = planted(seed, 0.8, "proportional", 1.0, 250)
        own.append(nonnegative_line(x, y, tries=199, seed=seed))
        points = np.stack([np.ones(250), x, x * x, y, x * y], axis=1)
        sums = block_sums(points, own[-1].block // 2)
        drawn = np.concatenate([counts @ sums for counts in drawn_blocks(250, own[-1].block // 2, 199, seed)])
        slopes = closed_form(*(drawn[:, 1:] / drawn[:, :1]).T)[1]
        middle.append(held(percentile_interval(slopes), L1))
    assert np.mean(middle) <= 0.88
    assert coverage(own, (L0, L1)) >= 0.9


@pytest.mark.parametrize(("phi", "least", "widest"), [(0.0, 0.88, 0.07), (0.8, 0.83, 0.12)])
def test_the_power_is_recovered(phi: float, least: float, widest: float) -> None:
    fits = []
    for seed in range(60):
        x, e = dependent(seed, phi)
        fits.append(power_line(x, np.maximum(L0 + L1 * x**RHO + 0.5 * e, 0.01), tries=199, seed=seed))
    for name, truth in (("l0", L0), ("l1", L1), ("rho", RHO)):
        assert np.mean([held(getattr(fit, f"{name}_interval"), truth) for fit in fits]) >= least
    assert np.median([np.ptp(fit.rho_interval) for fit in fits]) < widest


def test_least_squares_in_the_envelopes_place_fail_the_same_test() -> None:
    fits = [nonnegative_line(*planted(seed, 0.0, "proportional"), tries=199, seed=seed) for seed in range(60)]
    assert coverage(fits, quantiles("proportional", 0.9)) <= 0.2


def test_equals_nonnegative_least_squares_of_scipy() -> None:
    rng = np.random.default_rng(0)
    edges = set()
    for tilt in (-1.0, 0.0, 1.0, 3.0):
        for _ in range(10):
            x = rng.uniform(0.1, 5, 40)
            y = np.maximum(1 + tilt * (x - 1) + rng.standard_normal(40), 0.01)
            truth, _ = scipy.optimize.nnls(np.stack([np.ones(40), x], axis=1), y)
            found = closed_form(x.mean(), (x * x).mean(), y.mean(), (x * y).mean())
            assert np.allclose([float(part) for part in found], truth, atol=1e-9)
            edges.add((bool(truth[0] > 0), bool(truth[1] > 0)))
    assert edges == {(True, True), (True, False), (False, True)}


@pytest.mark.parametrize("start", [0.0, 1.0, -0.5])
@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95])
def test_equals_the_linear_programme(quantile: float, start: float) -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(0.5, 5, 300)
    y = np.maximum(start + 2 * x * rng.random(300), 0.01)
    rows = np.stack([np.ones(300), x])
    dual = scipy.optimize.linprog(-y, A_ub=rows, b_ub=[0, 0], bounds=(quantile - 1, quantile))
    fit = quantile_line(x, y, quantile, tries=9)
    left = y - fit.at(x)
    assert np.where(left > 0, quantile * left, (quantile - 1) * left).sum() == pytest.approx(-dual.fun, rel=1e-9)
    assert min(fit.l0, fit.l1) >= 0


@pytest.mark.parametrize("quantile", [0.9, 0.95])
def test_a_share_of_the_points_lies_below_the_envelope(quantile: float) -> None:
    x, e = dependent(1, 0.0)
    y = np.exp(0.5 * e) * (L0 + L1 * x)
    assert np.mean(y <= quantile_line(x, y, quantile, tries=9).at(x) + 1e-9) == pytest.approx(quantile, abs=0.004)


def without_interval(fit: LineFit) -> bool:
    return bool(np.isnan([*fit.l0_interval, *fit.l1_interval, *fit.rho_interval]).all())


def test_at_the_edge_there_is_a_sentence_and_no_interval() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 5, 800)
    falling = np.maximum(10 - x + rng.standard_normal(800), 0.01)
    steep = np.maximum(3 * (x - 0.9) + 0.1 * rng.standard_normal(800), 0.01)
    touching = np.maximum(3 * x + 2 * rng.standard_normal(800), 0.01)
    edge = ", the edge of what is allowed, where a bootstrap is not valid: no interval."
    for y, value, start in ((falling, "l1", "L1 is 0"), (steep, "l0", "L0 is 0")):
        for fit in (nonnegative_line(x, y), quantile_line(x, y, 0.9)):
            assert getattr(fit, value) == 0.0
            assert fit.caveat == start + edge
            assert without_interval(fit)
    near = nonnegative_line(x, touching)
    assert near.caveat.startswith("L0 is")
    assert near.caveat.endswith(edge)
    assert without_interval(near)
    assert without_interval(power_line(x, falling))


def test_a_resample_in_forty_on_the_edge_is_too_many() -> None:
    draws = np.linspace(-0.02, 0.98, 1001)
    fit = with_intervals("least squares", (0.5, 1.0, 1.0), (np.maximum(draws, 0), draws + 1, np.ones(1)), 500, 1)
    assert fit.caveat == ""
    more = with_intervals(
        "least squares", (0.5, 1.0, 1.0), (np.maximum(draws - 0.01, 0), draws + 1, np.ones(1)), 500, 1
    )
    assert more.caveat.startswith("L0 is not told from 0 (3% of the resamples put it there)")


def test_an_exponent_at_the_end_of_the_search_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(1, 3, 500)
    fit = power_line(x, 1 + x**6 * np.exp(0.01 * rng.standard_normal(500)))
    assert fit.caveat.startswith("rho is not determined between 0.1 and 4 (100% of the resamples end at a bound)")
    assert without_interval(fit)


def test_few_points_beyond_the_envelope_bound_nothing() -> None:
    x, e = dependent(0, 0.0)
    fit = quantile_line(x[:100], (1 + x * np.exp(0.3 * e))[:100], 0.95)
    assert fit.caveat == "only about 5 points lie beyond it; an interval needs 20."
    assert without_interval(fit)


def test_few_blocks_are_named() -> None:
    x, e = dependent(0, 0.98)
    y = (5 + x) * np.exp(0.1 * e)
    fit = nonnegative_line(x, y)
    assert N / fit.block < FEW_LONG_BLOCKS
    assert fit.caveat == f"only about {N / fit.block:.0f} independent blocks, so its intervals are likely too narrow."


@pytest.mark.parametrize("fit", [nonnegative_line, power_line, lambda x, y: quantile_line(x, y, 0.9)])
def test_says_why_there_is_no_line(fit: object) -> None:
    assert callable(fit)
    few = fit([1.0, 2.0, np.nan, -1.0], [1.0, np.inf, 1.0, 1.0])
    assert few.status == "a line needs at least 16 points with both numbers finite and positive; there are 1."
    assert few.n == 1
    assert np.isnan([few.l0, few.l1, few.rho]).all()
    assert fit(np.full(50, 2.0), np.arange(1.0, 51)).status == "a line needs x to vary; it is constant."
    constant = fit(np.arange(1.0, 51), np.full(50, 3.0))  # y may be constant: a flat line
    assert constant.at([1.0, 50.0]) == pytest.approx([3.0, 3.0])
    assert without_interval(constant)


def test_units_do_not_matter() -> None:
    x, e = dependent(2, 0.5)
    y = (L0 + L1 * x) * np.exp(0.2 * e)
    for fit in (nonnegative_line, power_line, lambda x, y: quantile_line(x, y, 0.9)):
        here, there = fit(x, y), fit(1e-6 * x, 1e9 * y)
        assert there.l0 == pytest.approx(1e9 * here.l0, rel=1e-6)
        assert there.l1 == pytest.approx(1e9 * here.l1 * 1e6**here.rho, rel=1e-4)
        assert there.l0_interval == pytest.approx([1e9 * end for end in here.l0_interval], rel=1e-6)


def test_quantiles_lie_between_0_and_1() -> None:
    with pytest.raises(ValueError, match=r"quantile must lie between 0 and 1, as \.9; got 90"):
        quantile_line([1.0], [1.0], 90)


def test_block_lengths_follow_the_noise() -> None:
    x, e = dependent(4, 0.9)
    y = (L0 + L1 * x) * np.maximum(1 + 0.3 * e, 0.01)
    assert nonnegative_line(x, y).block >= block_length(e) // 2 > 5
