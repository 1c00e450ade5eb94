"""ZClip: spikes are told by their z-score."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradlens.clipping.arguments import count, number
from gradlens.clipping.rule import Array, Clip, ClipRule, Floats, Measured, State, coefficients
from gradlens.clipping.walk import walk


def zclip(
    alpha: float = 0.97,
    z_threshold: float = 2.5,
    max_norm: float | None = 1.0,
    warmup: int = 25,
    eps: float = 1e-6,
) -> ClipRule:
    r"""Clip norms that stand out from their running mean, the further out the lower.

    With the running mean mu and standard deviation sigma of the norms n before this step,

    .. math:: z = \frac{n - \mu}{\sigma + \varepsilon}, \qquad
              n^* = \begin{cases} \mu + z_{th}^2 \, \sigma / z & z > z_{th} \\ n & \text{else} \end{cases}

    The gradient is brought to :math:`\min(n^*, c)`, and n* enters the statistics:
    :math:`\mu \leftarrow \alpha \mu + (1 - \alpha) n^*`, then
    :math:`\sigma^2 \leftarrow \alpha \sigma^2 + (1 - \alpha) (n^* - \mu)^2`. The first ``warmup`` finite norms are
    clipped by c only; their mean and variance are what the statistics start from. The threshold is the norm at which
    clipping sets in, :math:`\min(\mu + z_{th} (\sigma + \varepsilon), c)`. Memory: three numbers a group.

    Args:
        alpha: how much of the statistics is kept a step, from 0 to 1.
        z_threshold: z-score above which a norm is a spike, above 0.
        max_norm: c, a fixed cap; None is no cap. The rule is ``chain(zclip(max_norm=None), fixed(c))``.
        warmup: how many norms to watch first, at least 1.
        eps: above 0.

    Raises:
        ValueError: if an argument is outside its range.

    References:
        Kumar, Owen, Roy Chowdhury and Guera, "ZClip: Adaptive spike mitigation for LLM pre-training", arXiv 2504.02507.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.zclip(warmup=4, max_norm=None), [1.0, 2.0, 1.0, 2.0, 9.0])
    >>> result.thresholds[-1].round(4).item(), (9.0 * result.coefficients[-1]).round(4).item()
    (2.75, 1.7083)
    """
    kept = number("alpha", alpha, most=1.0)
    limit = number("z_threshold", z_threshold, above=True)
    cap = math.inf if max_norm is None else number("max_norm", max_norm)
    first = count("warmup", warmup, least=1)
    added = number("eps", eps, above=True)

    def step(xp: Any, norm: Array, seen: Array, mean: Array, variance: Array) -> tuple[Array, ...]:
        """The norm n*, the norm from which on it is not n, and the statistics after it."""
        finite = xp.isfinite(norm)
        norm = xp.where(finite, norm, 0.0)
        deviation = xp.sqrt(variance)
        warm = seen < first
        onset = xp.where(warm, math.inf, mean + limit * (deviation + added))
        spike = norm > onset
        z = xp.where(spike, (norm - mean) / (deviation + added), 1.0)
        # Where there is no spike a deviation may be zero, and an infinite limit times zero is no number.
        used = xp.where(spike, mean + limit * limit * xp.where(spike, deviation, 1.0) / z, norm)
        # Equal weights while warm (Welford's update of mean and variance), exponential ones then.
        weight = xp.where(warm, 1.0 / (seen + 1.0), 1.0 - kept)
        moved = mean + weight * (used - mean)
        spread = (used - moved) * (used - xp.where(warm, mean, moved))
        return (
            used,
            onset,
            xp.where(finite, seen + 1.0, seen),
            xp.where(finite, moved, mean),
            xp.where(finite, variance + weight * (spread - variance), variance),
        )

    def decided(xp: Any, norms: Array, used: Array, onset: Array) -> Clip:
        factors = coefficients(norms, used, xp)
        return Clip(factors * coefficients(factors * norms, cap, xp), xp.where(onset < cap, onset, cap))

    def init(groups: int) -> dict[str, Floats]:
        return {name: np.zeros(groups) for name in _STATE}

    def update(measured: Measured, state: State) -> tuple[Clip, State]:
        xp, norms = measured.xp, measured.grad_norms
        used, onset, *after = step(xp, norms, *(state[name] for name in _STATE))
        return decided(xp, norms, used, onset), dict(zip(_STATE, after, strict=True))

    def scan(measured: Measured) -> Clip:
        norms = measured.grad_norms
        return decided(np, norms, *walk(step, norms, np.zeros((norms.shape[1], len(_STATE)))))

    given = {"alpha": kept, "z_threshold": limit, "max_norm": None if max_norm is None else cap}
    return ClipRule("zclip", {**given, "warmup": first, "eps": added}, init, update, scan)


_STATE = ("seen", "mean", "variance")
