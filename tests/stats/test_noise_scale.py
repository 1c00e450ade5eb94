"""Unbiased on planted gradients, exact where the expectations are put in, and an interval that covers."""

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from gradlens.stats.noise_scale import (
    SimpleNoiseScale,
    moments,
    moving_noise_scale,
    simple_noise_scale,
    step_squares,
)

G = np.array([0.5, -1.0, 0.25, 0.0])
SIGMA = np.diag([4.0, 1.0, 0.5, 2.0]) + 0.3
NOISE_SCALE = np.trace(SIGMA) / (G @ G)
FACTOR = np.linalg.cholesky(SIGMA)


def planted(rng: np.random.Generator, steps: int, sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Estimates of every step of a training whose micro-batches have these sizes, from single samples' gradients."""
    samples = G + rng.standard_normal((steps, sum(sizes), len(G))) @ FACTOR.T
    parts = np.split(samples, np.cumsum(sizes)[:-1], axis=1)
    means = np.stack([part.mean(axis=1) for part in parts], axis=1)
    whole = means.mean(axis=1)  # as of=K: each micro-batch counts the same
    micro = np.linalg.norm(means, axis=-1)
    index = np.repeat(np.arange(steps), len(sizes))
    found = step_squares(index, micro.ravel(), np.tile(sizes, steps), np.full(micro.size, 1 / len(sizes)))
    return moments(found.small_squared, (whole**2).sum(-1), found.small_size, found.large_size)


def test_the_expectations_give_the_truth() -> None:
    for b, big in ((1, 2), (4, 32), (7, 9)):
        small, large = (G @ G + np.trace(SIGMA) / size for size in (b, big))
        g_squared, trace = moments([small], [large], [b], [big])
        assert g_squared[0] == pytest.approx(G @ G, rel=1e-12)
        assert trace[0] == pytest.approx(np.trace(SIGMA), rel=1e-12)


def off_by(values: np.ndarray, truth: float) -> float:
    """In standard errors of the mean."""
    return abs(values.mean() - truth) / (values.std(ddof=1) / math.sqrt(len(values)))


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (1, 1), (8, 8, 2), (1, 3, 9, 2)])
def test_each_step_is_unbiased(sizes: tuple[int, ...]) -> None:
    g_squared, trace = planted(np.random.default_rng(1), 40_000, sizes)
    assert off_by(g_squared, G @ G) < 3
    assert off_by(trace, np.trace(SIGMA)) < 3
    assert (g_squared < 0).mean() > 0.03  # so single steps say nothing


def over_seeds(estimate: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
    return np.array([estimate(*planted(np.random.default_rng(seed), 1_000, (8, 8, 8, 8))) for seed in range(200)])


def test_the_ratio_of_averages_is_right_and_the_average_of_ratios_is_not() -> None:
    values = over_seeds(lambda g, s: simple_noise_scale(g, s, tries=2).value)
    assert off_by(values, NOISE_SCALE) < 3
    assert abs(np.median(values) - NOISE_SCALE) < values.std() < 0.05 * NOISE_SCALE
    assert off_by(over_seeds(lambda g, s: float(np.median(s / g))), NOISE_SCALE) > 3
    averages = over_seeds(lambda g, s: float(np.mean(s / g)))  # of no finite mean, so by their median
    assert abs(np.median(averages) - NOISE_SCALE) > 5 * values.std()


def test_with_sums_over_samples_each_sample_counts_the_same() -> None:
    """Weights in proportion to the sizes make the large size the number of samples, whatever their common factor."""
    found = step_squares([5] * 3, [1.0] * 3, [8, 8, 2], [80.0, 80.0, 20.0])
    assert found.large_size[0] == pytest.approx(18)
    assert found.samples.tolist() == [18]
    assert found.small_size[0] == pytest.approx(3 / (1 / 8 + 1 / 8 + 1 / 2))


def test_steps_that_cannot_answer_are_left_out() -> None:
    steps = [3, 3, 1, 2, 2, 4, 4, 5, 5, 6, 6]
    norms = [1.0, 2.0, 1.0, np.nan, 1.0, 1.0, 1.0, 1.0, np.inf, 1.0, 1.0]
    samples = [2, 2, 2, 2, 2, 2, np.nan, 2, 2, 2, 2]
    weights = [1.0] * 10 + [0.0]
    found = step_squares(steps, norms, samples, weights)
    assert found.steps.tolist() == [3]
    assert found.small_squared.tolist() == [2.5]
    assert len(step_squares([], [], [], []).steps) == 0


def test_rescaled_gradients_have_the_same_noise_scale() -> None:
    g, s = planted(np.random.default_rng(2), 300, (4, 4))
    one, other = simple_noise_scale(g, s), simple_noise_scale(1e-8 * g, 1e-8 * s)
    assert other.value == pytest.approx(one.value, rel=1e-12)
    assert other.interval == pytest.approx(one.interval, rel=1e-12)
    assert other.trace == pytest.approx(1e-8 * one.trace)


def test_the_interval_covers() -> None:
    covered, tries = 0, 300
    for seed in range(tries):
        found = simple_noise_scale(*planted(np.random.default_rng(seed), 400, (8, 8, 8, 8)), tries=299)
        covered += found.interval[0] <= NOISE_SCALE <= found.interval[1]
        assert found.interval[0] < found.value < found.interval[1]
    assert 0.90 <= covered / tries <= 0.985


def test_where_the_gradient_drowns_the_upper_end_is_open() -> None:
    rng = np.random.default_rng(3)
    noise, trace = rng.standard_normal(200), 100 + rng.standard_normal(200)
    noise -= noise.mean()  # whose standard error is 0.07
    hidden = simple_noise_scale(noise - 0.05, trace)
    assert math.isnan(hidden.value)
    assert hidden.interval[1] == math.inf
    assert hidden.interval[0] > 0
    assert hidden.status == (
        f"the squared norm of the gradient is estimated as {hidden.g_squared:.3g} over 200 steps: the noise hides it. "
        "Average over more steps, or use larger batches."
    )
    barely = simple_noise_scale(noise + 0.05, trace)
    assert barely.status == ""
    assert barely.interval[1] == math.inf
    assert barely.interval[0] < barely.value


def test_says_why_it_cannot_answer() -> None:
    few = simple_noise_scale(np.ones(20), np.r_[np.ones(15), np.full(5, np.nan)])
    assert few.status == "a noise scale needs at least 16 steps with two finite estimates; there are 15."
    assert math.isnan(few.value)
    none = simple_noise_scale(np.ones(20), np.full(20, -2.0))
    assert none.status == (
        "the trace of the gradient's covariance is estimated as -2 over 20 steps, which no covariance has: its noise "
        "is larger than itself. Average over more steps."
    )
    assert simple_noise_scale(np.ones(20), np.ones(20)) == SimpleNoiseScale(1.0, (1.0, 1.0), 1.0, 1.0, 20, 1)


def test_two_batch_sizes_are_two() -> None:
    sentence = (
        "the noise scale takes squared norms at two batch sizes, the large one larger than the small one; got small "
        "sizes up to 4 and large sizes from 4."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        moments([1.0, 1.0], [1.0, 1.0], [2, 4], [8, 4])


def test_moving_is_the_ratio_over_each_window() -> None:
    g, s = planted(np.random.default_rng(4), 50, (4, 4))
    g[7] = np.nan
    moving = moving_noise_scale(g, s, 10)
    assert np.isnan(moving[:9]).all()
    for at in range(9, 50):
        sums = np.nansum(g[at - 9 : at + 1]), s[at - 9 : at + 1][~np.isnan(g[at - 9 : at + 1])].sum()
        if sums[0] > 0:
            assert moving[at] == pytest.approx(sums[1] / sums[0])
        else:
            assert np.isnan(moving[at])
    assert np.isnan(moving_noise_scale(g[:5], s[:5], 10)).all()
    with pytest.raises(ValueError, match=r"^window must be at least 1; got 0\.$"):
        moving_noise_scale(g, s, 0)
