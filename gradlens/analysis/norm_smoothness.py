"""Is smoothness tied to the gradient norm? Raw, detrended, by phase, and beside its placebo.

References:
    Zhang, He, Sra and Jadbabaie, "Why gradient clipping accelerates training", ICLR 2020, arXiv 1905.11881.
    Seetharaman, Wichern, Pardo and Le Roux, "AutoClip", MLSP 2020, arXiv 2007.14469, figure 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.placebo import Placebo, constant_curvature
from gradlens.clipping import from_spec
from gradlens.schema import CONSECUTIVE, SAME_BATCH
from gradlens.stats import Correlation, correlate, detrend
from gradlens.store import Run

Floats = NDArray[np.float64]
PHASES = ("early", "middle", "late")
MIN_PROBES = 16
_ABOVE_NOISE = 10


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


def norm_smoothness(run: Run, *, tries: int = 999) -> NormSmoothness:
    """Correlate log gradient norm with log smoothness along a run.

    Args:
        run: a run with smoothness probes.
        tries: resamples of the block bootstrap behind each interval.

    Returns:
        Correlations with 95 % intervals, and their placebo. ``status`` says so where the run cannot answer.
    """
    steps, norms, values = _pairs(run)
    threshold = _last(run, "clip_threshold")
    n = len(steps)
    if n < MIN_PROBES:
        nothing = correlate(norms, values)
        why = f"run {run.name!r} has {n} smoothness probes with a positive value; r needs at least {MIN_PROBES}."
        why += (
            " Probe more often, as with smoothness=gradlens.every(20)."
            if n
            else " Part of the run cannot be read, see gradlens info."
            if run.problems
            else " Smoothness is measured where the loss goes through recorder.loss and smoothness= is due."
        )
        return NormSmoothness(
            steps, norms, values, nothing, nothing, (), None, np.nan, threshold, _estimator(run), n, why
        )  # fmt: skip
    log_norm, log_smoothness = np.log(norms), np.log(values)
    noise_floor = _median(run, "smoothness_noise")
    raw = correlate(log_norm, log_smoothness, tries=tries)
    status = raw.status
    if not status and log_smoothness.std() < _ABOVE_NOISE * noise_floor / np.median(values):
        status = f"run {run.name!r} has a smoothness that does not vary beyond its noise floor: r would be of rounding."
    if not status and _estimator(run) == CONSECUTIVE:
        status = (
            f"run {run.name!r} has the smoothness of successive batches, whose noise alone makes r rise with clipping "
            '(see its placebo): it supports no claim. Record with estimator="same_batch".'
        )
    return NormSmoothness(
        steps=steps,
        grad_norm=norms,
        smoothness=values,
        raw=raw,
        detrended=correlate(detrend(log_norm, steps), detrend(log_smoothness, steps), tries=tries),
        phases=_phases(steps, log_norm, log_smoothness, tries),
        placebo=_placebo(run, steps, float(np.median(norms))),
        noise_floor=noise_floor,
        threshold=threshold,
        estimator=_estimator(run),
        n=n,
        status=status,
    )


def _estimator(run: Run) -> str:
    return str(run.environment.get("smoothness", SAME_BATCH))


def _pairs(run: Run) -> tuple[NDArray[np.int64], Floats, Floats]:
    if not {"grad_norm", "smoothness"} <= set(run.columns):
        empty = np.empty(0)
        return np.empty(0, dtype=np.int64), empty, empty
    norm_steps, norms = run.series("grad_norm")
    steps, values = run.series("smoothness")
    both, at_norm, at_value = np.intersect1d(norm_steps, steps, assume_unique=True, return_indices=True)
    norms, values = norms[at_norm], values[at_value]
    usable = np.isfinite(norms) & np.isfinite(values) & (norms > 0) & (values > 0)
    return both[usable], norms[usable], values[usable]


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


def _last(run: Run, name: str) -> float:
    values = run.series(name)[1] if name in run.columns else np.empty(0)
    return float(values[-1]) if len(values) else np.nan


def _median(run: Run, name: str) -> float:
    values = run.series(name)[1] if name in run.columns else np.empty(0)
    return float(np.median(values)) if len(values) else np.nan
