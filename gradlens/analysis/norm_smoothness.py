"""Is smoothness tied to the gradient norm? Raw, detrended, by phase, and beside its placebo; and by which line.

References:
    Zhang, He, Sra and Jadbabaie, "Why gradient clipping accelerates training", ICLR 2020, arXiv 1905.11881.
    Seetharaman, Wichern, Pardo and Le Roux, "AutoClip", MLSP 2020, arXiv 2007.14469, figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING, at_steps, last_finite
from gradlens.analysis.placebo import Placebo, constant_curvature
from gradlens.clipping import from_spec
from gradlens.schema import CONSECUTIVE, SAME_BATCH
from gradlens.stats import Correlation, LineFit, correlate, detrend, nonnegative_line, power_line, quantile_line
from gradlens.store import Run

Floats = NDArray[np.float64]
PHASES = ("early", "middle", "late")
QUANTILES = (0.9, 0.95)
MIN_PROBES = 16
_ABOVE_NOISE = 10
_MOST_PHASE_TRIES = 399


@dataclass(frozen=True, slots=True)
class Phase:
    """A third of the probes.

    Attributes:
        name: ``early``, ``middle`` or ``late``.
        first: its first step.
        last: its last step.
        correlation: r of the logs within it.
    """

    name: str
    first: int
    last: int
    correlation: Correlation


@dataclass(frozen=True, slots=True)
class NormSmoothness:
    """The answer for one run. All r are between the logs, and do not depend on their base.

    Attributes:
        steps: (n,) steps at which both were measured and positive.
        grad_norm: (n,) global gradient norm before clipping.
        smoothness: (n,) local smoothness.
        raw: correlation of the logs as recorded.
        detrended: correlation of the logs, a cubic trend in the step removed from each: what is left when a common
            rise or fall over the training does not count.
        phases: correlation of the logs within each third of the probes.
        placebo: what the same statistics show where curvature is constant.
        noise_floor: median of the estimator's own noise, in units of smoothness; NaN where it was not measured.
        threshold: the clip threshold at the end of training; NaN without a clip.
        estimator: how the smoothness was estimated.
        n: how many points.
        status: empty, or a sentence that says why there is no answer.
        fits: lines L0 + L1 times the gradient norm, both non-negative: by least squares, the upper envelopes at the .9
            and .95 quantile, and least squares with the norm to a power; none with fewer than 16 probes.
    """

    steps: NDArray[np.int64]
    grad_norm: Floats
    smoothness: Floats
    raw: Correlation
    detrended: Correlation
    phases: tuple[Phase, ...]
    placebo: Placebo | None
    noise_floor: float
    threshold: float
    estimator: str
    n: int
    status: str = ""
    fits: tuple[LineFit, ...] = ()


def norm_smoothness(run: Run, *, tries: int = 999) -> NormSmoothness:
    """Correlate log gradient norm with log smoothness along a run.

    Args:
        run: a run with smoothness probes.
        tries: resamples of the block bootstrap behind each interval; for the phases no more than 399.

    Returns:
        Correlations with 95 % intervals, and their placebo. ``status`` says so where the run cannot answer.
    """
    steps, norms, values, noise_floor = _pairs(run)
    threshold = last_finite(run, "clip_threshold")
    n = len(steps)
    if n < MIN_PROBES:
        nothing, why = correlate(norms, values), _too_few(run, n)
        return NormSmoothness(
            steps, norms, values, nothing, nothing, (), None, np.nan, threshold, _estimator(run), n, why
        )  # fmt: skip
    log_norm, log_smoothness = np.log(norms), np.log(values)
    raw = correlate(log_norm, log_smoothness, tries=tries)
    return NormSmoothness(
        steps=steps,
        grad_norm=norms,
        smoothness=values,
        raw=raw,
        detrended=correlate(detrend(log_norm, steps), detrend(log_smoothness, steps), tries=tries),
        phases=_phases(steps, log_norm, log_smoothness, min(tries, _MOST_PHASE_TRIES)),
        placebo=_placebo(run, steps, float(np.median(norms))),
        noise_floor=noise_floor,
        threshold=threshold,
        estimator=_estimator(run),
        n=n,
        status=raw.status or _doubtful(run, values, noise_floor),
        fits=(
            nonnegative_line(norms, values, tries=tries),
            *(quantile_line(norms, values, quantile, tries=tries) for quantile in QUANTILES),
            power_line(norms, values, tries=tries),
        ),
    )


def _too_few(run: Run, n: int) -> str:
    why = f"run {run.name!r} has {n} smoothness probes with a positive value; r needs at least {MIN_PROBES}."
    if n:
        return why + " Probe more often, as with smoothness=gradlens.every(20)."
    if run.problems:
        return why + " Part of the run cannot be read, see gradlens info."
    return why + " Smoothness is measured where the loss goes through recorder.loss and smoothness= is due."


def _doubtful(run: Run, values: Floats, noise_floor: float) -> str:
    """Why a correlation that can be computed says nothing all the same; empty where it does."""
    if np.log(values).std() < _ABOVE_NOISE * noise_floor / np.median(values):
        return f"run {run.name!r} has a smoothness that does not vary beyond its noise floor: r would be of rounding."
    if _estimator(run) == CONSECUTIVE:
        return (
            f"run {run.name!r} has the smoothness of successive batches, whose noise alone makes r rise with clipping "
            '(see its placebo): it supports no claim. Record with estimator="same_batch".'
        )
    return ""


def _estimator(run: Run) -> str:
    return str(run.environment.get("smoothness", SAME_BATCH))


def _pairs(run: Run) -> tuple[NDArray[np.int64], Floats, Floats, float]:
    """Steps, gradient norms and smoothness where both are positive, and the median noise of the smoothness."""
    found = run.several("grad_norm", "smoothness", "smoothness_noise")
    steps, values = found.get("smoothness", NOTHING)
    norms = at_steps(found.get("grad_norm", NOTHING), steps)
    noise = found.get("smoothness_noise", NOTHING)[1]
    usable = np.isfinite(norms) & np.isfinite(values) & (norms > 0) & (values > 0)
    return steps[usable], norms[usable], values[usable], float(np.median(noise)) if len(noise) else np.nan


def _phases(steps: NDArray[np.int64], x: Floats, y: Floats, tries: int) -> tuple[Phase, ...]:
    parts = np.array_split(np.arange(len(steps)), len(PHASES))
    return tuple(
        Phase(name, int(steps[part[0]]), int(steps[part[-1]]), correlate(x[part], y[part], tries=tries))
        for name, part in zip(PHASES, parts, strict=True)
    )


def _placebo(run: Run, steps: NDArray[np.int64], scale: float) -> Placebo:
    defaults = run.optimizer.get("defaults")
    try:
        rule = from_spec(run.clip) if run.clip else None
    except ValueError:  # a rule of a newer version: the placebo without it says less, not something false
        rule = None
    if rule is not None and rule.scope != "global":  # the placebo has one gradient, of no parameters or micro-batches
        rule = None
    momentum = defaults.get("momentum") if isinstance(defaults, dict) else None
    return constant_curvature(
        probes=len(steps),
        every=int(np.median(np.diff(steps))),
        rule=rule,
        optimizer=str(run.optimizer.get("class", "SGD")),
        momentum=float(momentum) if isinstance(momentum, (int, float)) and 0 <= momentum < 1 else 0.0,
        scale=scale,
        estimator=CONSECUTIVE if _estimator(run) == CONSECUTIVE else SAME_BATCH,
    )
