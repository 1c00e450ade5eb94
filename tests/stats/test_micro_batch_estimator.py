"""The update of micro-batch clipping: against every draw of tiny sets, closed forms, and honest errors."""

import itertools
import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from gradlens.stats.micro_batch_estimator import micro_batch_estimates, predicted_floor

TINY = np.array([[1.0, 0.0, 0.5], [0.2, 1.5, -0.3], [-2.0, 1.0, 0.0]])
B = 4


def update(samples: list[np.ndarray], b: int) -> np.ndarray:
    """The naive twin: algorithm 1 for one mini-batch."""
    means = [np.mean(samples[start : start + b], axis=0) for start in range(0, len(samples), b)]
    rho = min(np.linalg.norm(mean) for mean in means)
    return np.mean([rho / np.linalg.norm(mean) * mean for mean in means], axis=0)


def truth(b: int) -> tuple[float, float, float, np.ndarray]:
    """From all 3^4 mini-batches of the tiny set: alpha, squared bias, trace, mean update."""
    updates = np.array([update(list(drawn), b) for drawn in itertools.product(TINY, repeat=B)])
    mean, g = updates.mean(axis=0), TINY.mean(axis=0)
    alpha = mean @ g / (g @ g)
    return alpha, ((mean - alpha * g) ** 2).sum(), ((updates - mean) ** 2).sum(axis=1).mean(), mean


TRUTHS = {b: truth(b) for b in (1, 2, 4)}


@pytest.mark.parametrize("b", [1, 2, 4])
def test_every_draw_of_a_tiny_set(b: int) -> None:
    found = micro_batch_estimates(TINY, B, [b], resamples=40_000)[b]
    alpha, squared, trace, mean = TRUTHS[b]
    assert abs(found.alpha - alpha) < 3.5 * found.alpha_error < 0.05
    assert abs(found.bias_squared - squared) < 3.5 * found.bias_squared_error < 0.02
    assert abs(found.trace - trace) < 3.5 * found.trace_error < 0.05
    assert found.weights @ TINY == pytest.approx(mean, abs=0.02)


def pairs(vectors: np.ndarray) -> float:
    """The mean inner product of two different vectors."""
    return float(np.mean([first @ second for first, second in itertools.permutations(vectors, 2)]))


@pytest.mark.parametrize("b", [1, 2, 4])
def test_each_number_agrees_with_a_naive_twin_on_the_same_draws(b: int) -> None:
    """Six draws, so that n, n - 1 and n - 2 lie apart; pairs, and draws left out, are counted one by one."""
    n = 6
    drawn = np.random.default_rng(5).integers(3, size=(n, B))
    updates = np.array([update(list(TINY[row]), b) for row in drawn])
    g = TINY.mean(axis=0)
    kept = np.array([u @ g / (g @ g) for u in updates])
    across = np.array([u - k * g for u, k in zip(updates, kept, strict=True)])
    without = np.array([pairs(np.delete(across, left_out, axis=0)) for left_out in range(n)])
    apart = np.array([np.square(u - updates.mean(axis=0)).sum() * n / (n - 1) for u in updates])

    found = micro_batch_estimates(TINY, B, [b], resamples=n, seed=5)[b]

    assert found.alpha == pytest.approx(kept.mean(), rel=1e-12)
    assert found.alpha_error == pytest.approx(np.sqrt(np.square(kept - kept.mean()).sum() / (n - 1) / n), rel=1e-12)
    assert found.bias_squared == pytest.approx(pairs(across), rel=1e-9)
    assert found.bias_squared_error == pytest.approx(
        np.sqrt((n - 1) / n * np.square(without - without.mean()).sum()), rel=1e-9
    )
    assert found.trace == pytest.approx(np.trace(np.cov(updates.T)), rel=1e-12)
    assert found.trace_error == pytest.approx(np.sqrt(np.square(apart - apart.mean()).sum() / (n - 1) / n), rel=1e-12)
    assert found.weights @ TINY == pytest.approx(updates.mean(axis=0), rel=1e-12)


@pytest.mark.parametrize("b", [1, 2, 4])
def test_estimates_are_unbiased_and_their_errors_honest(b: int) -> None:
    """Over 600 seeds with few resamples; the plug-in estimate of the bias fails the same test."""
    found = [micro_batch_estimates(TINY, B, [b], resamples=25, seed=seed)[b] for seed in range(600)]
    alpha, squared, trace, _ = TRUTHS[b]
    for values, errors, expected in (
        ([f.alpha for f in found], [f.alpha_error for f in found], alpha),
        ([f.bias_squared for f in found], [f.bias_squared_error for f in found], squared),
        ([f.trace for f in found], [f.trace_error for f in found], trace),
    ):
        spread = np.std(values, ddof=1)
        assert abs(np.mean(values) - expected) < 3 * spread / math.sqrt(600)
        assert 0.85 < math.sqrt(np.mean(np.square(errors))) / spread < 1.5  # the jackknife errs on the safe side
    plug_in = np.array([f.bias_squared + f.trace / 25 for f in found])
    assert abs(plug_in.mean() - squared) > 3 * plug_in.std() / math.sqrt(600)


def test_one_micro_batch_is_plain_sgd() -> None:
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((300, 6)) * [3.0, 1.0, 1.0, 0.5, 0.1, 2.0] + 0.4
    found = micro_batch_estimates(gradients, 32, [32], resamples=4000)[32]
    sigma = np.cov(gradients.T, bias=True)
    assert abs(found.alpha - 1) < 3 * found.alpha_error < 0.1
    assert abs(found.bias_squared) < 3 * found.bias_squared_error < 0.01
    assert abs(found.trace - np.trace(sigma) / 32) < 3 * found.trace_error < 0.05
    assert found.weights == pytest.approx(np.full(300, 1 / 300), rel=0.2)
    assert found.weights.sum() == pytest.approx(1)


DIMENSIONS, SHARE, SIZE = 400, 0.3, 16
NORMAL = math.sqrt(DIMENSIONS)  # the norm of a benign sample's gradient, s = 1


def dragged(norm: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Benign N(mu, I), and draggers of one norm orthogonal to mu: gradients, which are draggers, both directions."""
    rng = np.random.default_rng(seed)
    mu, pull = np.zeros(DIMENSIONS), np.zeros(DIMENSIONS)
    mu[0], pull[1] = 2.0, 1.0
    gradients = mu + rng.standard_normal((2000, DIMENSIONS))
    draggers = np.arange(2000) < SHARE * 2000
    gradients[draggers] = norm * pull
    return gradients, draggers, mu / 2.0, pull


@pytest.mark.parametrize("ratio", [0.5, 1.0, 2.0])
def test_draggers_count_by_their_norm_against_the_benign_norm(ratio: float) -> None:
    """D < s sqrt(d): small micro-batches turn the update towards the draggers; D above: away; equal: no difference.

    At b = 1 every sample counts by the inverse of its norm: s sqrt(d) / D for a dragger against a benign one. In the
    middle, where a micro-batch holds m draggers, its norm has m^2 D^2 / b^2 beside (b - m) s^2 d / b^2.
    """
    gradients, draggers, mu, pull = dragged(ratio * NORMAL)
    found = micro_batch_estimates(gradients, SIZE, [1, 2, 4, 8, 16], resamples=1500)
    against = {b: f.weights[draggers].mean() / f.weights[~draggers].mean() for b, f in found.items()}
    assert against[1] == pytest.approx(1 / ratio, rel=0.02)
    assert against[16] == pytest.approx(1, rel=0.02)

    def alignment(b: int) -> float:
        mean = found[b].weights @ gradients
        return float(mean @ mu / math.hypot(mean @ mu, mean @ pull))

    gain = alignment(1) / alignment(16) - 1
    if ratio == 1:
        assert abs(gain) < 0.04
    else:
        assert gain * (ratio - 1) > 0.2


def test_without_draggers_high_dimensions_are_normalised_alone() -> None:
    """Norms agree there: clipping changes nothing, whatever b."""
    gradients = np.random.default_rng(2).standard_normal((3000, 1000)) + 0.1
    found = micro_batch_estimates(gradients, 8, [1, 8], resamples=300)
    assert found[1].alpha == pytest.approx(found[8].alpha, rel=0.06)
    assert found[1].trace == pytest.approx(found[8].trace, rel=0.1)
    assert found[1].bias < 0.1 * math.sqrt(10)


def test_only_inner_products_count() -> None:
    rng = np.random.default_rng(3)
    gradients = rng.standard_normal((20, 5)) + 0.3
    turned = gradients @ np.linalg.qr(rng.standard_normal((300, 300)))[0][:5]  # into 300 dimensions: more than samples
    for b, found in micro_batch_estimates(gradients, 8, [1, 2, 8], resamples=50).items():
        other = micro_batch_estimates(turned, 8, [b], resamples=50)[b]
        for name in ("alpha", "alpha_error", "bias_squared", "bias_squared_error", "trace", "trace_error"):
            assert getattr(other, name) == pytest.approx(getattr(found, name), rel=1e-9, abs=1e-12)
        assert other.weights == pytest.approx(found.weights)


def test_rescaled_gradients_rescale_the_answer() -> None:
    one = micro_batch_estimates(TINY, B, [1], resamples=500)[1]
    other = micro_batch_estimates(1e-6 * TINY, B, [1], resamples=500)[1]
    assert other.alpha == pytest.approx(one.alpha)
    assert other.bias_squared == pytest.approx(1e-12 * one.bias_squared, rel=1e-9, abs=0)
    assert other.trace == pytest.approx(1e-12 * one.trace, rel=1e-9, abs=0)
    assert one.bias == pytest.approx(math.sqrt(one.bias_squared))


def test_where_there_is_no_bias_its_square_is_negative_more_often_than_not() -> None:
    """Two squares, one a dimension across g, less their mean: negative in .632 (equal variances) to .683 (one)."""
    found = [micro_batch_estimates(TINY, B, [4], resamples=50, seed=seed)[4] for seed in range(600)]
    negative = [f for f in found if f.bias_squared < 0]
    error = math.sqrt(0.65 * 0.35 / 600)
    assert 0.632 - 3 * error < len(negative) / 600 < 0.683 + 3 * error
    assert all(f.bias == 0 for f in negative)


def test_draws_are_the_same_whatever_is_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = micro_batch_estimates(TINY, B, [1, 2], resamples=50)
    monkeypatch.setattr("gradlens.stats.micro_batch_estimator._CHUNK", 7 * B * 3)
    for b, found in micro_batch_estimates(TINY, B, [1, 2], resamples=50).items():
        assert found.trace == pytest.approx(whole[b].trace, rel=1e-12)
        assert found.weights == pytest.approx(whole[b].weights)
        assert found.alpha == pytest.approx(whole[b].alpha, rel=1e-12)


def test_a_zero_gradient_is_no_division_by_zero() -> None:
    dead = micro_batch_estimates(np.zeros((4, 3)), 4, [1], resamples=5)[1]
    assert math.isnan(dead.alpha)
    assert math.isnan(dead.bias)
    assert dead.trace == 0
    one_dead = np.vstack([TINY, np.zeros(3)])
    found = micro_batch_estimates(one_dead, 1, [1], resamples=4000)[1]  # B = 1: the plain gradient, zero or not
    assert abs(found.alpha - 1) < 3 * found.alpha_error


def test_the_floor() -> None:
    floor = predicted_floor(0.5, 0.3, 0.2, lr=0.1, smoothness=8.0)
    assert floor == pytest.approx(math.sqrt(0.6**2 + 0.1 * 8 * 0.2 / (2 * 0.5)))
    assert predicted_floor(1.0, 0.0, 0.2, lr=0.1, smoothness=8.0) == pytest.approx(math.sqrt(0.08))
    assert predicted_floor([0.0, -1.0], 0.1, 0.1, 0.1, 1.0).tolist() == [math.inf, math.inf]
    assert predicted_floor(0.0, 0.0, 0.0, 0.1, 1.0) == math.inf  # 0 / 0: no step at all is no descent
    assert np.isnan(predicted_floor(math.nan, 0.1, 0.1, 0.1, 1.0))


def test_the_floor_is_where_sgd_on_a_quadratic_comes_to_rest() -> None:
    """On L theta^2 / 2, one dimension, biased noisy steps -lr (alpha g + e + noise): the mean square of the gradient.

    The stationary second moment is (e/alpha)^2 + lr L tr / (2 alpha - lr L alpha^2): the floor to first order in lr.
    """
    alpha, e, trace, lr, smoothness = 0.7, 0.2, 0.5, 0.01, 3.0
    rng = np.random.default_rng(4)
    theta, squares = np.zeros(2000), []
    for step in range(1500):
        theta -= lr * (alpha * smoothness * theta + e + math.sqrt(trace) * rng.standard_normal(2000))
        if step >= 500:
            squares.append(((smoothness * theta) ** 2).mean())
    assert math.sqrt(np.mean(squares)) == pytest.approx(
        float(predicted_floor(alpha, e, trace, lr, smoothness)), rel=0.02
    )


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: micro_batch_estimates([1.0, 2.0], 4, [1]),
            "gradients takes a matrix of finite numbers, one sample a row; got shape (2,).",
        ),
        (
            lambda: micro_batch_estimates([[1.0, math.nan]], 4, [1]),
            "gradients takes a matrix of finite numbers, one sample a row; got one with an entry that is not.",
        ),
        (
            lambda: micro_batch_estimates(TINY, 4, [2, 3]),
            "micro_batch_sizes takes divisors of batch_size, a positive whole number; got 3 of 4.",
        ),
        (
            lambda: micro_batch_estimates(TINY, 0, [1]),
            "micro_batch_sizes takes divisors of batch_size, a positive whole number; got [1] of 0.",
        ),
        (lambda: micro_batch_estimates(TINY, 4, [1], resamples=2), "resamples must be at least 3; got 2."),
    ],
)
def test_wrong_arguments_are_refused_in_sentences(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        call()
