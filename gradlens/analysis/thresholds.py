"""Where would each clipping threshold have acted?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gradlens.clipping import ClipRule, replay
from gradlens.store import Run

Floats = NDArray[np.float64]

COUNTERFACTUAL = (
    "Replayed over recorded norms: it shows which recorded steps the rule would have clipped, "
    "not how training would have gone."
)
PHASES = ("early", "middle", "late")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """A clip rule replayed over a run's gradient norms.

    Attributes:
        rule: the rule, as text.
        steps: (n,) steps with a recorded norm.
        grad_norm: (n,) global gradient norm before clipping.
        thresholds: (n,) the rule's threshold at each step.
        coefficients: (n,) the factor it would have applied.
        clipped: (n,) norm > threshold.
        rate: share of the finite steps that it would have clipped.
        rate_by_phase: the same for the first, second and last third of the steps.
        nonfinite: steps whose norm is NaN or infinite; no rule clips them.
        n: how many steps.
        status: empty, or a sentence that says why there is no answer.
        note: what the numbers do not say.
    """

    rule: str
    steps: NDArray[np.int64]
    grad_norm: Floats
    thresholds: Floats
    coefficients: Floats
    clipped: NDArray[np.bool_]
    rate: float
    rate_by_phase: tuple[float, ...]
    nonfinite: int
    n: int
    status: str = ""
    note: str = COUNTERFACTUAL


def thresholds(run: Run, rule: ClipRule) -> Thresholds:
    """Replay a rule over the norms that a run recorded.

    A run that was itself clipped is replayed over its norms before clipping. A rule with a history sees only the
    recorded steps: the note says so where norms were not recorded at every step.

    Args:
        run: a run with gradient norms.
        rule: any rule that norms determine.

    Returns:
        The rule's threshold and clip at each recorded step.

    Raises:
        ValueError: if norms do not determine the rule.
    """
    if "grad_norm" in run.columns:
        steps, norms = run.series("grad_norm")
    else:
        steps, norms = np.empty(0, dtype=np.int64), np.empty(0)
    result = replay(rule, norms)
    n = len(steps)
    gaps = n > 1 and bool((np.diff(steps) != 1).any())
    return Thresholds(
        rule=repr(rule),
        steps=steps,
        grad_norm=norms,
        thresholds=result.thresholds,
        coefficients=result.coefficients,
        clipped=result.clipped,
        rate=result.rate,
        rate_by_phase=tuple(_rate(norms[part], result.clipped[part]) for part in np.array_split(np.arange(n), 3)),
        nonfinite=result.nonfinite,
        n=n,
        status="" if n else f"run {run.name!r} has no gradient norms; record them with norms=gradlens.every(1).",
        note=COUNTERFACTUAL
        + (" Norms were not recorded at every step: the history is thinner than in training." * gaps),
    )


def _rate(norms: Floats, clipped: NDArray[np.bool_]) -> float:
    finite = int(np.isfinite(norms).sum())
    return float(clipped.sum() / finite) if finite else float("nan")
