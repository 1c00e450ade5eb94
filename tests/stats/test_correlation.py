"""Correlations against SciPy and planted truths; trends told from ties."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gradlens.stats import correlate, detrend, ema, envelope, pearson, spearman


def test_equal_scipy() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 40)).round(1)  # rounded, so that ranks tie
    y = x + rng.standard_normal((5, 40)).round(1)
    for a, b, r, rank in zip(x, y, pearson(x, y), spearman(x, y), strict=True):
        assert np.isclose(r, scipy.stats.pearsonr(a, b).statistic, rtol=1e-12)
        assert np.isclose(rank, scipy.stats.spearmanr(a, b).statistic, rtol=1e-12)


def test_a_shared_trend_is_not_a_tie() -> None:
    rng = np.random.default_rng(1)
    time = np.arange(1000)
    trend = np.exp(-time / 300)
    x, y = (3 * trend + 0.5 * rng.standard_normal(1000) for _ in range(2))
    assert correlate(x, y, tries=99).pearson > 0.5
    low, high = correlate(detrend(x, time), detrend(y, time), tries=999).pearson_interval
    assert low < 0 < high


def test_leaves_out_pairs_that_are_not_finite() -> None:
    x = np.arange(30.0)
    y = 2 * x
    x[3], y[7] = np.nan, np.inf
    result = correlate(x, y, tries=9)
    assert result.n == 28
    assert np.isclose(result.pearson, 1.0)


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (np.arange(5.0), "a correlation needs at least 16 pairs of finite values; there are 5."),
        (np.ones(40), "a correlation needs two series that vary; one of them is constant."),
    ],
)
def test_says_why_there_is_no_answer(x: np.ndarray, why: str) -> None:
    result = correlate(x, np.arange(len(x), dtype=float))
    assert result.status == why
    assert np.isnan(result.pearson)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 0.99))
def test_ema_is_the_weighted_mean_that_it_claims(values: list[float], weight: float) -> None:
    smooth = ema(values, weight)
    for t in range(len(values)):
        weights = weight ** np.arange(t, -1, -1.0)
        assert np.isclose(smooth[t], np.average(values[: t + 1], weights=weights), rtol=1e-6, atol=1e-6)


def test_ema_passes_over_what_is_not_finite() -> None:
    assert ema([1.0, np.nan, 3.0], 0.0)[[0, 2]].tolist() == [1.0, 3.0]
    assert np.isfinite(ema([1.0, np.inf, 3.0], 0.5)).all()
    with pytest.raises(ValueError, match="weight must be at least 0 and below 1; got 1"):
        ema([1.0], 1)


@given(st.integers(0, 2**32 - 1), st.integers(1, 3000), st.integers(8, 200))
def test_envelope_keeps_every_extreme_and_every_hole(seed: int, n: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.standard_cauchy(n)
    y[rng.random(n) < 0.05] = np.nan
    thin = envelope(np.arange(n), y, limit)
    finite = y[np.isfinite(y)]
    assert len(thin.x) <= max(limit, 8)
    assert thin.points == len(finite)
    assert thin.nonfinite_x.tolist() == np.flatnonzero(~np.isfinite(y)).tolist()
    if len(finite):
        assert (thin.y.min(), thin.y.max()) == (finite.min(), finite.max())
    assert (y[thin.x.astype(int)] == thin.y).all()  # points keep their own positions
