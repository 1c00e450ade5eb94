r"""What micro-batch clipping would do to the update, at frozen weights, for any size of micro-batch.

A mini-batch of B samples is cut into K = B/b micro-batches with mean gradients :math:`g_j`, and the update is

.. math:: u_b = \frac{\rho}{K} \sum_j \frac{g_j}{\lVert g_j \rVert}, \qquad \rho = \min_j \lVert g_j \rVert

the plain mean for b = B. Against the mean gradient g of single samples:

.. math:: \alpha = \frac{\langle E u_b, g \rangle}{\lVert g \rVert^2}, \qquad e = E u_b - \alpha g, \qquad
          \mathrm{tr\,Cov}(u_b)

how much of the gradient is left, the constant bias, and the noise.

Reference: Wang, "Revisit Micro-batch Clipping: Adaptive Data Pruning via Gradient Manipulation", ICLR 2025, arXiv
2408.16204, algorithm 1, for the rule; the estimates are gradlens' own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_CHUNK = 4_000_000  # drawn numbers held at once: 32 MB


@dataclass(frozen=True, slots=True)
class MicroBatchEstimate:
    """The update of micro-batch clipping with one size of micro-batch. Errors are standard errors of the re-sampling.

    Attributes:
        micro_batch_size: b.
        alpha: how much of the plain gradient the mean update keeps; NaN where the plain gradient is zero.
        alpha_error: its error.
        bias_squared: unbiased estimate of the squared norm of e; negative where the truth is near zero.
        bias_squared_error: its error.
        trace: trace of the covariance of the update.
        trace_error: its error.
        weights: (N,) by what each sample's gradient is multiplied in the mean update; 1/N for the plain mean.
    """

    micro_batch_size: int
    alpha: float
    alpha_error: float
    bias_squared: float
    bias_squared_error: float
    trace: float
    trace_error: float
    weights: Floats

    @property
    def bias(self) -> float:
        """Norm of e; 0 where its square is estimated as negative."""
        return math.sqrt(max(self.bias_squared, 0.0)) if not math.isnan(self.bias_squared) else math.nan


def micro_batch_estimates(
    gradients: ArrayLike,
    batch_size: int,
    micro_batch_sizes: Iterable[int],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[int, MicroBatchEstimate]:
    """Estimate the update of micro-batch clipping from single samples' gradients.

    The N samples are taken for the whole distribution: mini-batches are drawn from them with replacement, and E, Cov
    and g are of such draws. How far N samples stand for the data is another question, which no error here answers: g is
    noisy itself unless N is well above the noise scale (tr Sigma over the squared norm of G). All sizes see the same
    draws, so that differences between them are surer than each.

    Only inner products between gradients matter. Projections that keep these will do, and where there are more
    dimensions than samples the gradients are first turned into N dimensions, without loss.

    Time and memory: ``resamples`` times ``batch_size`` times min(N, d) additions for each size, and ``resamples`` times
    min(N, d) numbers.

    Args:
        gradients: (N, d) one sample's gradient in each row.
        batch_size: B, samples in a mini-batch; may be more than N, since they are drawn with replacement.
        micro_batch_sizes: each b, a divisor of B.
        resamples: mini-batches drawn, at least 3.
        seed: seed of a generator of its own.

    Returns:
        b -> what was found, in the order given.

    Raises:
        ValueError: for gradients that are no finite matrix, a size that does not divide B, or too few resamples.

    >>> rng = np.random.default_rng(0)
    >>> gradients = np.array([1.0, 0.0]) + rng.standard_normal((500, 2))
    >>> found = micro_batch_estimates(gradients, 8, [1, 8])
    >>> plain, clipped = found[8], found[1]
    >>> bool(abs(plain.alpha - 1) < 3 * plain.alpha_error), clipped.alpha < 0.5, round(8 * plain.trace, 1)
    (True, True, 1.9)
    """
    matrix = np.asarray(gradients, dtype=np.float64)
    sizes = list(micro_batch_sizes)
    _check(matrix, batch_size, sizes, resamples)
    count = len(matrix)
    if matrix.shape[1] > count:
        matrix = np.asarray(np.linalg.qr(matrix.T, mode="r")).T  # rows with the same inner products
    rng = np.random.default_rng(seed)
    updates = {b: np.empty((resamples, matrix.shape[1])) for b in sizes}
    weights = {b: np.zeros(count) for b in sizes}
    step = max(1, _CHUNK // (batch_size * matrix.shape[1]))
    for start in range(0, resamples, step):
        drawn = rng.integers(count, size=(min(step, resamples - start), batch_size))
        samples = matrix[drawn]
        for b in sizes:
            found, coefficients = _clipped(samples, b)
            updates[b][start : start + len(drawn)] = found
            weights[b] += np.bincount(drawn.ravel(), np.repeat(coefficients.ravel(), b) / b, count) / resamples
    mean = matrix.mean(axis=0)
    return {b: _estimate(b, updates[b], mean, weights[b]) for b in sizes}


def predicted_floor(alpha: ArrayLike, bias: ArrayLike, trace: ArrayLike, lr: float, smoothness: float) -> Floats:
    r"""At what norm the full gradient would come to rest under a constant learning rate.

    .. math:: \lVert \nabla F \rVert^2 = \left(\frac{\lVert e \rVert}{\alpha}\right)^2
              + \frac{\eta L \,\mathrm{tr\,Cov}(u_b)}{2 \alpha}

    It presumes that alpha, e, the noise and L stay what they are, so that there is such a rest: on a task that can be
    memorised it says little.

    Args:
        alpha: (...) how much of the gradient the mean update keeps.
        bias: (...) norm of the constant bias.
        trace: (...) trace of the covariance of the update.
        lr: the learning rate.
        smoothness: L, the local smoothness.

    Returns:
        (...) the norm; infinite where alpha is not positive, since such an update does not descend.

    >>> predicted_floor([0.5, -0.1], [0.15, 0.1], [0.08, 0.1], lr=0.5, smoothness=4.0)
    array([0.5, inf])
    """
    a, e, t = (np.asarray(values, dtype=np.float64) for values in (alpha, bias, trace))
    with np.errstate(divide="ignore", invalid="ignore"):
        floor = np.sqrt((e / a) ** 2 + lr * smoothness * t / (2 * a))
    return np.where(a <= 0, np.inf, floor)


def _clipped(samples: Floats, b: int) -> tuple[Floats, Floats]:
    """The update of each mini-batch, and by what it multiplies each micro-batch's mean.

    Args:
        samples: (r, B, d) gradients, micro-batches one after another.
        b: samples in a micro-batch.

    Returns:
        (r, d) and (r, K).
    """
    r, size, d = samples.shape
    means = samples.reshape(r, size // b, b, d).mean(axis=2)
    norms = np.linalg.norm(means, axis=-1)
    least = norms.min(axis=1, keepdims=True)
    # Where a norm is zero, so is the least, and with it the whole update.
    coefficients = np.divide(least, norms, out=np.zeros_like(norms), where=norms > 0) / (size // b)
    return np.einsum("rk,rkd->rd", coefficients, means), coefficients


def _estimate(b: int, updates: Floats, gradient: Floats, weights: Floats) -> MicroBatchEstimate:
    n = len(updates)
    apart = ((updates - updates.mean(axis=0)) ** 2).sum(axis=1) * n / (n - 1)
    alpha = alpha_error = squared = squared_error = math.nan
    length = float(gradient @ gradient)
    if length > 0:
        kept = updates @ gradient / length
        alpha, alpha_error = float(kept.mean()), _standard_error(kept)
        squared, squared_error = _squared_mean(updates - kept[:, None] * gradient)
    return MicroBatchEstimate(
        micro_batch_size=b,
        alpha=alpha,
        alpha_error=alpha_error,
        bias_squared=squared,
        bias_squared_error=squared_error,
        trace=float(apart.mean()),
        trace_error=_standard_error(apart),
        weights=weights,
    )


def _squared_mean(vectors: Floats) -> tuple[float, float]:
    r"""Unbiased squared norm of the mean of a distribution, and its standard error by the jackknife.

    The mean of the inner products of different draws; the squared norm of their mean is too large by tr Cov / n.
    """
    n = len(vectors)
    total, own = vectors.sum(axis=0), (vectors**2).sum(axis=1)
    squares = own.sum()
    value = (total @ total - squares) / (n * (n - 1))
    rest = total - vectors
    without = ((rest**2).sum(axis=1) - (squares - own)) / ((n - 1) * (n - 2))
    return float(value), math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))


def _standard_error(values: Floats) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _check(matrix: Floats, batch_size: int, sizes: list[int], resamples: int) -> None:
    if matrix.ndim != 2 or not matrix.size or not np.isfinite(matrix).all():
        got = "one with an entry that is not" if matrix.ndim == 2 and matrix.size else f"shape {matrix.shape}"
        raise ValueError(f"gradients takes a matrix of finite numbers, one sample a row; got {got}.")
    wrong = [b for b in sizes if b < 1 or batch_size % b]
    if batch_size < 1 or wrong:
        raise ValueError(
            "micro_batch_sizes takes divisors of batch_size, a positive whole number; "
            f"got {wrong[0] if wrong else sizes} of {batch_size}."
        )
    if resamples < 3:
        raise ValueError(f"resamples must be at least 3; got {resamples!r}.")
