r"""The simple noise scale: the batch size at which the noise of the gradient equals its signal.

.. math:: B_{simple} = \frac{\mathrm{tr}\,\Sigma}{\lVert G \rVert^2}

with G the gradient over the distribution of samples and Sigma the covariance of the gradients of single samples.

Reference: McCandlish, Kaplan, Amodei and the OpenAI Dota Team, "An Empirical Model of Large-Batch Training", 2018,
arXiv 1812.06162, equation 2.9 and appendix A.1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.block_length import block_length
from gradlens.stats.bootstrap import bootstrap_interval

Floats = NDArray[np.float64]
MIN_STEPS = 16


@dataclass(frozen=True, slots=True)
class StepSquares:
    """What the micro-batches of each step say together.

    Attributes:
        steps: (n,) steps with at least two micro-batches whose numbers are all there, ascending.
        small_squared: (n,) mean squared norm of the micro-batches' gradients.
        small_size: (n,) how many samples a micro-batch has: the harmonic mean.
        large_size: (n,) how many equally weighted samples would make the mini-batch's gradient as noisy as it is: their
            number, where every sample counts the same.
        samples: (n,) their number.
        weight: (n,) sum of the weights: by what the step's gradient is to be divided to be a mean.
    """

    steps: NDArray[np.int64]
    small_squared: Floats
    small_size: Floats
    large_size: Floats
    samples: Floats
    weight: Floats


@dataclass(frozen=True, slots=True)
class SimpleNoiseScale:
    """The noise scale over many steps.

    Attributes:
        value: B_simple in samples; NaN where there is no answer.
        interval: its 95 % interval by circular block bootstrap; the upper end may be infinite.
        g_squared: mean over steps of the estimates of the squared norm of G.
        trace: mean over steps of the estimates of the trace of Sigma.
        n: steps used.
        block: block length of the bootstrap, in steps.
        status: empty, or a sentence that says why there is no answer.
    """

    value: float
    interval: tuple[float, float]
    g_squared: float
    trace: float
    n: int
    block: int
    status: str = ""


def step_squares(steps: ArrayLike, norms: ArrayLike, samples: ArrayLike, weights: ArrayLike) -> StepSquares:
    r"""Gather micro-batches into steps.

    With :math:`g_j` the mean gradient of :math:`b_j` samples and the mini-batch's gradient
    :math:`\sum_j w_j g_j`, :math:`\sum_j w_j = 1`:

    .. math:: E \tfrac1K \sum_j \lVert g_j \rVert^2 = \lVert G \rVert^2 + \mathrm{tr}\,\Sigma \, \tfrac1K \sum_j 1/b_j,
              \qquad
              E \lVert \textstyle\sum_j w_j g_j \rVert^2 =
              \lVert G \rVert^2 + \mathrm{tr}\,\Sigma \sum_j w_j^2 / b_j

    so that the sizes are the inverses of the two factors of the trace, also for micro-batches of unequal size.

    Args:
        steps: (m,) the step of each micro-batch.
        norms: (m,) L2 norm of its mean gradient.
        samples: (m,) how many samples it has.
        weights: (m,) with what weight it enters the step, up to a factor that the whole step shares.

    Returns:
        One entry for each step that has at least two micro-batches; steps with a number that is missing, not finite, or
        not positive where it must be, are left out.

    >>> found = step_squares([0, 0, 1, 1], [3.0, 5.0, 1.0, np.nan], [4, 4, 4, 4], [0.5, 0.5, 0.5, 0.5])
    >>> found.steps, found.small_squared, found.small_size, found.large_size
    (array([0]), array([17.]), array([4.]), array([8.]))
    """
    n, b, w = (np.asarray(values, dtype=np.float64) for values in (norms, samples, weights))
    which, place = np.unique(np.asarray(steps, dtype=np.int64), return_inverse=True)
    sound = np.isfinite(n) & np.isfinite(b) & (b > 0) & np.isfinite(w) & (w > 0)
    n, b, w = (np.where(sound, values, 1.0) for values in (n, b, w))

    def total(values: ArrayLike) -> Floats:
        return np.bincount(place, values, len(which)).astype(np.float64)

    count = total(np.ones(len(n)))
    usable = (count >= 2) & (total(1.0 - sound) == 0)
    count = np.maximum(count, 1)
    return StepSquares(
        steps=which[usable],
        small_squared=(total(n * n) / count)[usable],
        small_size=(count / total(1 / b))[usable],
        large_size=(total(w) ** 2 / total(w * w / b))[usable],
        samples=total(b)[usable],
        weight=total(w)[usable],
    )


def moments(
    small_squared: ArrayLike, large_squared: ArrayLike, small_size: ArrayLike, large_size: ArrayLike
) -> tuple[Floats, Floats]:
    r"""Unbiased estimates, step by step, from squared norms at two batch sizes.

    .. math:: \lVert G \rVert^2 \approx \frac{B \lVert g_B \rVert^2 - b \lVert g_b \rVert^2}{B - b}, \qquad
              \mathrm{tr}\,\Sigma \approx \frac{\lVert g_b \rVert^2 - \lVert g_B \rVert^2}{1/b - 1/B}

    Each is right on average and very noisy in one step; either may be negative.

    Args:
        small_squared: (n,) squared norm of the gradient of b samples, or a mean of several.
        large_squared: (n,) squared norm of the gradient of B samples.
        small_size: (n,) b.
        large_size: (n,) B, larger than b.

    Returns:
        Estimates of the squared norm of G and of the trace of Sigma, (n,) each.

    Raises:
        ValueError: if a large size is not larger than the small one.

    >>> moments([5.0], [2.0], [4], [16])
    (array([1.]), array([16.]))
    """
    small, large, b, big = (
        np.asarray(values, dtype=np.float64) for values in (small_squared, large_squared, small_size, large_size)
    )
    if not np.all((b > 0) & (big > b)):
        raise ValueError(
            "the noise scale takes squared norms at two batch sizes, the large one larger than the small one; "
            f"got small sizes up to {np.max(b):g} and large sizes from {np.min(big):g}."
        )
    return (big * large - b * small) / (big - b), (small - large) / (1 / b - 1 / big)


def simple_noise_scale(g_squared: ArrayLike, trace: ArrayLike, *, tries: int = 999, seed: int = 0) -> SimpleNoiseScale:
    """The ratio of the averages over steps, with an interval.

    The mean of the ratios of single steps would be of no use: a denominator near zero, or below it, is common there.
    The bootstrap is of the inverse, the mean of ``g_squared`` over the mean of ``trace``, whose denominator stays away
    from zero; where its lower end is not positive, the data do not bound the noise scale from above.

    Args:
        g_squared: (n,) estimates of the squared norm of G, as of :func:`moments`.
        trace: (n,) estimates of the trace of Sigma.
        tries: resamples of the bootstrap.
        seed: its seed.

    Returns:
        The noise scale; ``status`` says why where there is none.

    >>> rng = np.random.default_rng(0)
    >>> found = simple_noise_scale(2 + rng.standard_normal(400), 100 + 30 * rng.standard_normal(400))
    >>> low, high = found.interval
    >>> 40 < low < found.value < high < 60, found.n
    (True, 400)
    """
    g, s = np.asarray(g_squared, dtype=np.float64), np.asarray(trace, dtype=np.float64)
    usable = np.isfinite(g) & np.isfinite(s)
    g, s = g[usable], s[usable]
    n = len(g)
    if n < MIN_STEPS:
        why = f"a noise scale needs at least {MIN_STEPS} steps with two finite estimates; there are {n}."
        return SimpleNoiseScale(math.nan, (math.nan, math.nan), math.nan, math.nan, n, 0, why)
    mean_g, mean_s = float(g.mean()), float(s.mean())
    if mean_s <= 0:
        why = (
            f"the trace of the gradient's covariance is estimated as {mean_s:.3g} over {n} steps, which no covariance "
            "has: its noise is larger than itself. Average over more steps."
        )
        return SimpleNoiseScale(math.nan, (math.nan, math.nan), mean_g, mean_s, n, 0, why)
    inverse = mean_g / mean_s
    block = block_length(g - inverse * s)  # the influence of each step on the inverse, up to a factor

    def ratio(g: Floats, s: Floats) -> Floats:
        return np.asarray(g.mean(axis=-1) / s.mean(axis=-1))

    low, high = bootstrap_interval(ratio, g, s, block=block, tries=tries, seed=seed)
    interval = _inverse(high), _inverse(low)
    if mean_g <= 0:
        why = (
            f"the squared norm of the gradient is estimated as {mean_g:.3g} over {n} steps: the noise hides it. "
            "Average over more steps, or use larger batches."
        )
        return SimpleNoiseScale(math.nan, interval, mean_g, mean_s, n, block, why)
    return SimpleNoiseScale(1 / inverse, interval, mean_g, mean_s, n, block)


def moving_noise_scale(g_squared: ArrayLike, trace: ArrayLike, window: int) -> Floats:
    """The ratio of the averages over the last ``window`` steps.

    Args:
        g_squared: (n,) estimates of the squared norm of G; steps with a non-finite member count as absent.
        trace: (n,) estimates of the trace of Sigma.
        window: steps averaged, at least 1.

    Returns:
        (n,) B_simple in samples; NaN before there are ``window`` steps, and where an average is not positive.

    Raises:
        ValueError: if the window is shorter than 1.

    >>> moving_noise_scale([1.0, 3.0, -5.0], [8.0, 8.0, 8.0], window=2)
    array([nan,  4., nan])
    """
    if window < 1:
        raise ValueError(f"window must be at least 1; got {window!r}.")
    g, s = np.asarray(g_squared, dtype=np.float64), np.asarray(trace, dtype=np.float64)
    ratio = np.full(len(g), np.nan)
    if len(g) >= window:
        absent = ~(np.isfinite(g) & np.isfinite(s))
        over = [np.lib.stride_tricks.sliding_window_view(np.where(absent, 0.0, x), window).sum(axis=1) for x in (g, s)]
        both = (over[0] > 0) & (over[1] > 0)
        ratio[window - 1 :][both] = over[1][both] / over[0][both]
    return ratio


def _inverse(value: float) -> float:
    """1/x of an end of an interval; infinite where it is not positive, NaN stays."""
    return math.inf if value <= 0 else 1 / value
