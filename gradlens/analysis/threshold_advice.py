"""Which threshold to try first, and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.thresholds import COUNTERFACTUAL, no_norms, one_phase, rates, recorded_norms
from gradlens.stats import block_length, bootstrap_interval, find_spikes
from gradlens.stats.block_length import few_blocks
from gradlens.store import Run

Floats = NDArray[np.float64]
PERCENTILE: Final = 10.0
WARM_UP: Final = 0.1
SHARE_CLIPPED: Final = 0.1
MIN_NORMS: Final = 100
SPIKE_FLOOR: Final = 0.01
"""Least spread of the log norm against which a spike is judged: a change of 1 %."""
_MOST_RESAMPLED: Final = 5000

PERCENTILE_REASON: Final = (
    "p = 10 is what the AutoClip paper (Seetharaman et al., arXiv 2007.14469) recommends. In its table 1, source "
    "separation under five losses, p = 10 is best or level with the best in three, and .1 and .2 dB behind p = 1 in "
    "the others; at most .2 dB is lost with p = 1, .4 dB with p = 25, and .4 to 2.1 dB without clipping. It is taken "
    "from there, not from this run: a percentile follows the scale of the norms, whatever they are."
)


@dataclass(frozen=True, slots=True)
class ThresholdAdvice:
    """A percentile and a fixed threshold to begin with.

    Attributes:
        percentile: for ``clipping.autoclip``.
        percentile_reason: what it rests on.
        max_norm: for ``clipping.fixed``; NaN where the run cannot say.
        max_norm_interval: its 95 % interval, by block bootstrap: how well the recorded norms determine it.
        max_norm_reason: what it rests on.
        rate: share of the finite recorded steps that it would have clipped.
        rate_by_phase: the same for each third.
        spikes: steps that stand out of their past; they and the warm-up are left out where ``max_norm`` is chosen.
        settled_from: the first step after the warm-up; -1 without any.
        warnings: sentences on what speaks against a fixed threshold, or against these norms.
        n: finite, positive norms that ``max_norm`` rests on.
        status: empty, or a sentence that says why there is no ``max_norm``.
        note: what the numbers do not say.
    """

    percentile: float
    percentile_reason: str
    max_norm: float
    max_norm_interval: tuple[float, float]
    max_norm_reason: str
    rate: float
    rate_by_phase: tuple[float, ...]
    spikes: int
    settled_from: int
    warnings: tuple[str, ...]
    n: int
    status: str = ""
    note: str = COUNTERFACTUAL


def recommend_thresholds(run: Run) -> ThresholdAdvice:
    r"""A percentile and a fixed threshold to begin with, each with its reason.

    The percentile is the paper's. The fixed threshold is the 90th percentile of the run's norms after the first tenth
    of its steps and without spikes, so that it acts on about one settled step in ten and on every spike beyond. That
    share is a convention of gradlens, of no paper: a threshold is chosen by trainings, this one is a place to start.

    Args:
        run: a run with at least 100 finite, positive gradient norms after its first tenth; best one that was not
            clipped.

    Returns:
        Both, with reasons and warnings. ``status`` says so where the run cannot give a fixed threshold.

    References:
        Seetharaman, Wichern, Pardo and Le Roux, "AutoClip: Adaptive gradient clipping for source separation
        networks", MLSP 2020, arXiv 2007.14469, table 1.
    """
    steps, norms = recorded_norms(run)
    usable = np.isfinite(norms) & (norms > 0)
    spikes = find_spikes(_logs(norms, usable), floor=SPIKE_FLOOR).places
    begin = int(len(norms) * WARM_UP)
    settled = usable.copy()
    settled[:begin] = False
    settled[spikes] = False
    chosen = norms[settled]
    if len(chosen) < MIN_NORMS:
        return _without(run, len(norms), len(chosen), len(spikes))
    max_norm = float(np.quantile(chosen, 1 - SHARE_CLIPPED))
    clipped = usable & (norms > max_norm)
    finite = np.isfinite(norms)
    interval, few = _interval(chosen)
    rate = float(clipped.sum() / finite.sum())
    return ThresholdAdvice(
        percentile=PERCENTILE,
        percentile_reason=PERCENTILE_REASON,
        max_norm=max_norm,
        max_norm_interval=interval,
        max_norm_reason=(
            f"{max_norm:.3g} is the 90th percentile of the {len(chosen):,} norms after the first tenth of the steps, "
            f"without {_count(len(spikes), 'spike')}: it would have clipped {rate:.1%} of all finite steps, and "
            f"{int(clipped[spikes].sum()):,} of the spikes. One settled step in ten is a convention, not a finding."
        ),
        rate=rate,
        rate_by_phase=rates(finite, clipped),
        spikes=len(spikes),
        settled_from=int(steps[begin]),
        warnings=(*_warnings(run, norms, clipped), *((f"The fixed norm rests on {few}.",) if few else ())),
        n=len(chosen),
    )


def _logs(norms: Floats, usable: NDArray[np.bool_]) -> Floats:
    return np.log(norms, out=np.full(len(norms), np.nan), where=usable)


def _interval(norms: Floats) -> tuple[tuple[float, float], str]:
    """The interval, and what is said where it rests on few blocks.

    Of a long series, every k-th norm: they are then less dependent, and the interval is a little too wide.
    """
    thinned = norms[:: -(-len(norms) // _MOST_RESAMPLED)]
    above = (thinned > np.quantile(thinned, 1 - SHARE_CLIPPED)).astype(np.float64)  # what governs a quantile's variance
    block = block_length(above)
    interval = bootstrap_interval(
        lambda x: np.asarray(np.quantile(x, 1 - SHARE_CLIPPED, axis=-1)), thinned, block=block, tries=299
    )
    return interval, few_blocks(len(thinned), block)


def _warnings(run: Run, norms: Floats, clipped: NDArray[np.bool_]) -> tuple[str, ...]:
    found = list(one_phase(norms, clipped))
    if run.clip is not None:
        found.append(
            "This run was clipped: without the clip, or with another, its norms would have been others. Take them from "
            "a run that was not clipped where you can."
        )
    odd = int((~np.isfinite(norms)).sum())
    if odd:
        found.append(f"{_count(odd, 'norm')} NaN or infinite: no threshold clips those; see analysis.stability(run).")
    return tuple(found)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _without(run: Run, n: int, settled: int, spikes: int) -> ThresholdAdvice:
    why = no_norms(run)
    if n:
        why = (
            f"run {run.name!r} has {_count(settled, 'settled norm')} that are positive and finite; a fixed threshold "
            f"rests on {MIN_NORMS} or more after the first tenth of the steps. Record longer, or norms more often."
        )
    none = float("nan")
    return ThresholdAdvice(
        PERCENTILE, PERCENTILE_REASON, none, (none, none), "", none, (none,) * 3, spikes, -1, (), settled, status=why
    )
