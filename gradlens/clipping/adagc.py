"""AdaGC: each parameter is held to the running average of its own clipped norm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradlens.clipping.arguments import count, number
from gradlens.clipping.rule import Array, Clip, ClipRule, Floats, Measured, State, coefficients, total_norm
from gradlens.clipping.walk import walk


def adagc(lam: float = 1.05, max_norm: float = 1.0, beta: float = 0.98, warmup: int = 100) -> ClipRule:
    r"""Clip each parameter's gradient to a little more than the running average of its norm.

    In the first ``warmup`` steps all gradients are scaled together and each parameter's smallest norm is tracked,

    .. math:: \hat g_i = g_i \min(1, c / \lVert g \rVert), \qquad
              \gamma_i \leftarrow \min(\gamma_i, \lVert \hat g_i \rVert);

    afterwards each parameter is on its own,

    .. math:: \hat g_i = g_i \min(1, \lambda \gamma_i / \lVert g_i \rVert), \qquad
              \gamma_i \leftarrow \beta \gamma_i + (1 - \beta) \lVert \hat g_i \rVert.

    A step in which some gradient is not finite, or all norms are NaN, leaves the warm-up as it was; after the warm-up,
    only the parameter concerned. A parameter whose first gradient comes after the warm-up starts from that. In the
    warm-up a parameter's threshold is the norm that it is brought to, infinite where nothing is. Memory: one number a
    parameter.

    Args:
        lam: by how much a norm may exceed its average, above 0.
        max_norm: c, the cap of the global norm in the warm-up, at least 0.
        beta: how much of the average is kept a step, from 0 to 1.
        warmup: how many steps, at least 0.

    Raises:
        ValueError: if an argument is outside its range.

    References:
        Wang et al., "AdaGC: Improving training stability for large language model pretraining", arXiv 2502.11034,
        algorithm 1.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.adagc(warmup=1), [[3.0, 4.0], [0.9, 0.4]])
    >>> result.coefficients.round(2).tolist(), result.thresholds.round(2).tolist()
    ([[0.2, 0.2], [0.7, 1.0]], [[0.6, 0.8], [0.63, 0.84]])
    """
    ratio, cap = number("lam", lam, above=True), number("max_norm", max_norm)
    kept, first = number("beta", beta, most=1.0), count("warmup", warmup, least=0)

    def own(xp: Any, norm: Array, gamma: Array) -> tuple[Array, ...]:
        """One parameter after the warm-up."""
        factor = coefficients(norm, ratio * gamma, xp)
        after = factor * norm
        average = xp.where(xp.isfinite(gamma), kept * gamma + (1.0 - kept) * after, after)
        return factor, ratio * gamma, xp.where(xp.isfinite(norm), average, gamma)

    def init(groups: int) -> dict[str, Floats]:
        return {"steps": np.zeros(1), "gamma": np.full(groups, math.inf)}

    def update(measured: Measured, state: State) -> tuple[Clip, State]:
        xp, norms, gamma = measured.xp, measured.grad_norms, state["gamma"]
        warm = state["steps"] < first
        norm = total_norm(norms, xp)
        together = xp.where(xp.isfinite(norms), coefficients(norm, cap, xp), 1.0)
        counts = xp.isfinite(norms) & xp.isfinite(norm)
        lowered = together * norms
        smallest = xp.where(counts & (lowered < gamma), lowered, gamma)
        factors, thresholds, averages = own(xp, norms, gamma)
        clip = Clip(
            xp.where(warm, together, factors),
            xp.where(warm, xp.where(together < 1.0, lowered, math.inf), thresholds),
        )
        steps = xp.where(counts.any(axis=-1, keepdims=True), state["steps"] + 1.0, state["steps"])
        return clip, {"steps": steps, "gamma": xp.where(warm, smallest, averages)}

    def scan(measured: Measured) -> Clip:
        norms = measured.grad_norms
        found = np.empty((2, *norms.shape))
        state, step = init(norms.shape[1]), 0
        while step < len(norms) and state["steps"][0] < first:
            clip, state = update(Measured(norms[step]), state)
            found[:, step] = clip.coefficients, clip.thresholds
            step += 1
        found[:, step:] = walk(own, norms[step:], state["gamma"][:, None])
        return Clip(*found)

    parameters = {"lam": ratio, "max_norm": cap, "beta": kept, "warmup": first}
    return ClipRule("adagc", parameters, init, update, scan, scope="parameter")
