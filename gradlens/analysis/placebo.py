r"""What r would be if smoothness had nothing to do with the gradient norm.

A correlation along a trajectory can come from the estimator, the clip or the optimizer alone. The placebo is the same
statistic on a problem whose curvature is constant by construction: stochastic gradients

.. math:: g_t = H \theta_t + s_t \xi_t, \qquad \xi_t \sim N(0, I / d), \quad \log s_t \sim N(0, 1/4)

with a fixed diagonal H whose 64 eigenvalues are spread logarithmically from 0.01 to 1, under the run's own clip rule
and kind of optimizer. Its gradient norms are about 1; the rule sees them in units of the run's median norm. Whatever r
shows there is not evidence about curvature.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gradlens.clipping import ClipRule, Measured, from_spec
from gradlens.schema import CONSECUTIVE, SAME_BATCH
from gradlens.stats import pearson
from gradlens.stats.correlation import detrend

Floats = NDArray[np.float64]

TRAJECTORIES = 16
DIMENSIONS = 64
MOST_STEPS = 2_000
MOST_PROBES = 500
_SGD_LR, _ADAM_LR = 0.5, 0.003
_AT_ONCE = 128
_TRIED = 256


@dataclass(frozen=True, slots=True)
class Placebo:
    """r between log gradient norm and log smoothness on a problem of constant curvature.

    Attributes:
        raw: mean Pearson r over the simulated trajectories.
        raw_range: their 5th and 95th percentile.
        detrended: the same after removing a cubic trend in time from both logs.
        detrended_range: its 5th and 95th percentile.
        optimizer: the optimizer simulated.
        trajectories: how many.
        probes: along each; a run's own number up to 500, beyond which r spreads more here than over the run.
        raw_each: (trajectories,) r of each.
        detrended_each: (trajectories,) the same without trend.
    """

    raw: float
    raw_range: tuple[float, float]
    detrended: float
    detrended_range: tuple[float, float]
    optimizer: str
    trajectories: int
    probes: int
    raw_each: Floats
    detrended_each: Floats


def constant_curvature(
    probes: int,
    every: int,
    rule: ClipRule | None = None,
    optimizer: str = "SGD",
    momentum: float = 0.0,
    scale: float = 1.0,
    estimator: str = SAME_BATCH,
    seed: int = 0,
) -> Placebo:
    """Simulate the placebo; asked again with the same arguments, a process gives what it has.

    A rule whose thresholds follow the norms' scale, as AutoClip's do, is simulated at scale 1 whatever ``scale`` is;
    for any other the scale is taken to two digits, so that runs of one rule share their simulations.

    Args:
        probes: smoothness probes along each trajectory; no more than 500 are simulated.
        every: optimizer steps from one probe to the next; lowered where the simulation would pass 2,000 steps.
        rule: the run's clip rule.
        optimizer: name of the run's optimizer class; Adam and its kin are simulated as Adam, all others as SGD.
        momentum: heavy-ball momentum of SGD.
        scale: the run's median gradient norm, for rules with an absolute threshold.
        estimator: ``same_batch``, or ``consecutive`` for the difference of successive mini-batch gradients, which
            shows a correlation here that the clip alone makes.
        seed: seed of a generator of its own.

    >>> plain = constant_curvature(100, 20, estimator="consecutive")
    >>> from gradlens import clipping
    >>> clipped = constant_curvature(100, 20, clipping.autoclip(10), estimator="consecutive")
    >>> plain.raw < -0.3 and clipped.raw > 0.3
    True
    """
    probes = min(probes, MOST_PROBES)
    every = max(1, min(every, MOST_STEPS // max(probes, 1)))
    spec = "" if rule is None else json.dumps(rule.spec(), sort_keys=True)
    scale = 1.0 if not spec or _follows_scale(spec) else float(f"{scale:.2g}")
    return _simulated(probes, every, spec, "adam" in optimizer.lower(), momentum, scale, estimator, seed)


@lru_cache(maxsize=64)  # of a hundred runs under one rule, each asks for the same
def _follows_scale(spec: str) -> bool:
    """Whether a rule's coefficients stay to the bit where all norms are multiplied by a power of two, as AutoClip's.

    Its simulation is then that of any scale, up to rounding.
    """
    norms = np.random.default_rng(0).lognormal(size=(_TRIED, 1))
    found = []
    for factor in (1.0, 2.0**60, 2.0**-60):
        rule = from_spec(json.loads(spec))
        state, coefficients = rule.init(1), np.empty(_TRIED)
        for step, norm in enumerate(factor * norms):
            clip, state = rule.update(Measured(norm, lr=_SGD_LR), state)
            coefficients[step] = clip.coefficients[0]
        found.append(coefficients)
    return all(np.array_equal(found[0], other) for other in found[1:])


@lru_cache(maxsize=64)
def _simulated(
    probes: int, every: int, spec: str, adam: bool, momentum: float, scale: float, estimator: str, seed: int
) -> Placebo:
    rule = from_spec(json.loads(spec)) if spec else None
    norms, smoothness = _trajectories(probes, every, rule, momentum, scale, estimator, seed, adam=adam)
    time = np.arange(probes)
    raw = pearson(norms, smoothness)
    detrended = pearson(*(np.array([detrend(each, time) for each in logs]) for logs in (norms, smoothness)))
    raw.flags.writeable = detrended.flags.writeable = False  # who asks again gets the same arrays
    return Placebo(
        raw=float(raw.mean()),
        raw_range=_range(raw),
        detrended=float(detrended.mean()),
        detrended_range=_range(detrended),
        optimizer="Adam" if adam else "SGD",
        trajectories=TRAJECTORIES,
        probes=probes,
        raw_each=raw,
        detrended_each=detrended,
    )


def _trajectories(
    probes: int,
    every: int,
    rule: ClipRule | None,
    momentum: float,
    scale: float,
    estimator: str,
    seed: int,
    *,
    adam: bool,
) -> tuple[Floats, Floats]:
    """Log gradient norm and log smoothness, each (trajectories, probes)."""
    rng = np.random.default_rng(seed)
    curvature = np.geomspace(0.01, 1.0, DIMENSIONS)
    theta = rng.standard_normal((TRAJECTORIES, DIMENSIONS))
    theta /= np.linalg.norm(curvature * theta, axis=1, keepdims=True)
    noise = _noise(rng)
    state = rule.init(TRAJECTORIES) if rule else None
    first = np.zeros_like(theta)
    second = np.zeros_like(theta)
    norms, smoothness = np.empty((2, TRAJECTORIES, probes))
    for step in range(probes * every):
        gradient = curvature * theta
        gradient += next(noise)
        norm = _norms(gradient)
        used = gradient
        if rule is not None:
            clip, state = rule.update(Measured(scale * norm, lr=_SGD_LR), state)
            used = gradient * clip.coefficients[:, None]
        if adam:
            first = 0.9 * first + 0.1 * used
            second = 0.999 * second + 0.001 * used**2
            corrected = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
            move = -_ADAM_LR * corrected[0] / (np.sqrt(corrected[1]) + 1e-8)
        else:
            first = momentum * first + used if momentum else used
            move = -_SGD_LR * (1 - momentum) * first
        if step % every == 0:
            change = curvature * move
            if estimator == CONSECUTIVE:
                change = curvature * (theta + move) + next(noise) - gradient
            norms[:, step // every] = norm
            smoothness[:, step // every] = _norms(change) / _norms(move)
        theta += move
    return np.log(norms), np.log(smoothness)


def _noise(rng: np.random.Generator) -> Iterator[Floats]:
    """(trajectories, dimensions) noise, over and over; drawn many at once: each call costs as much as a step."""
    entries = TRAJECTORIES * DIMENSIONS
    while True:
        drawn = rng.standard_normal((_AT_ONCE, entries + TRAJECTORIES))
        direction = drawn[:, :entries].reshape(_AT_ONCE, TRAJECTORIES, DIMENSIONS) / np.sqrt(DIMENSIONS)
        yield from direction * np.exp(0.5 * drawn[:, entries:])[:, :, None]


def _norms(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.einsum("td,td->t", vectors, vectors)))


def _range(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [0.05, 0.95])
    return float(low), float(high)
