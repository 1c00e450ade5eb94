"""How much does a rule clip, as its parameter varies?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.thresholds import COUNTERFACTUAL, gaps, rates, recorded_norms, thirds, unusable
from gradlens.clipping import ClipRule, replay
from gradlens.store import Run

Floats = NDArray[np.float64]
MOST: Final = 1 << 18
"""Norms that a sweep replays; of more, every k-th."""


@dataclass(frozen=True, slots=True)
class ThresholdSweep:
    """A rule replayed at several values of its parameter.

    Attributes:
        rules: (k,) the rules, as text.
        values: (k,) the parameter.
        rate: (k,) share of the finite steps that each would have clipped.
        rate_by_phase: (k, 3) the same for the first, second and last third of the steps.
        mean_coefficient: (k,) mean factor over the finite steps: the share of the learning rate that is left.
        coefficient_by_phase: (k, 3) the same for each third.
        threshold: (k,) the last finite threshold, NaN without any.
        n: how many norms were replayed.
        every: of the recorded norms, each k-th was: 1 unless there are more than 262,144.
        nonfinite: of those replayed, how many are NaN or infinite.
        status: empty, or a sentence that says why there is no answer.
        note: what the numbers do not say.
    """

    rules: tuple[str, ...]
    values: Floats
    rate: Floats
    rate_by_phase: Floats
    mean_coefficient: Floats
    coefficient_by_phase: Floats
    threshold: Floats
    n: int
    every: int
    nonfinite: int
    status: str = ""
    note: str = COUNTERFACTUAL


def threshold_sweep(run: Run, make: Callable[[float], ClipRule], values: Sequence[float]) -> ThresholdSweep:
    """Replay a rule over the norms that a run recorded, at each of several values of its parameter.

    Of a run with more than 262,144 norms every k-th is replayed, so that time and memory stay bounded: a rate then has
    the error of a sample of that size, at most .2 % at 95 %. Spikes between those are not counted.

    Args:
        run: a run with gradient norms.
        make: value -> rule, as ``clipping.autoclip`` or ``clipping.fixed``.
        values: (k,) what to try, as percentiles or norms.

    Returns:
        Clip rates, overall and by phase, and mean coefficients, one a value.

    Raises:
        ValueError: without values, if one is outside the rule's range, or if norms do not determine the rule.
    """
    if not len(values):
        raise ValueError("values holds nothing to try; give one value of the rule's parameter at least.")
    steps, norms = recorded_norms(run)
    every = -(-max(1, len(norms)) // MOST)
    chosen = np.where(norms < 0, np.nan, norms)[::every]
    finite = np.isfinite(chosen)
    rules = [make(value) for value in values]
    found = [replay(rule, chosen) for rule in rules]
    thinned = f" One in {every} of the norms was replayed." if every > 1 else ""
    return ThresholdSweep(
        rules=tuple(map(repr, rules)),
        values=np.asarray(values, dtype=np.float64),
        rate=np.array([each.rate for each in found]),
        rate_by_phase=np.array([rates(finite, each.clipped) for each in found]),
        mean_coefficient=np.array([_mean(each.coefficients[finite]) for each in found]),
        coefficient_by_phase=np.array([_means(each.coefficients, finite) for each in found]),
        threshold=np.array([_last(each.thresholds) for each in found]),
        n=len(chosen),
        every=every,
        nonfinite=int((~finite).sum()),
        status=unusable(run, norms),
        note=COUNTERFACTUAL + gaps(steps) + thinned,
    )


def _means(values: Floats, finite: NDArray[np.bool_]) -> list[float]:
    return [_mean(values[part][finite[part]]) for part in thirds(len(values))]


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _last(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else float("nan")
