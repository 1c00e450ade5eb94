"""Where would each clipping threshold have acted, and what would have been left of the learning rate?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING
from gradlens.clipping import ClipRule, replay
from gradlens.store import Run

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]

COUNTERFACTUAL = (
    "Replayed over recorded norms: it shows which recorded steps the rule would have clipped, "
    "not how training would have gone."
)
PHASES = ("early", "middle", "late")
ONE_PHASE: Final = 0.8
"""Share of the clipped steps in one third of the training from which on a rule is said to act there only."""


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
        coefficient_by_phase: median coefficient of the finite steps of each third.
        lr: (n,) recorded learning rate of the first parameter group, NaN where there is none.
        effective_lr: (n,) learning rate times coefficient: what plain gradient descent would step along the gradient.
            An optimizer that divides by the gradient's size, Adam say, undoes much of it.
        effective_lr_by_phase: its median over the finite steps of each third, NaN without a learning rate.
        warnings: sentences on what makes the rates misleading.
        nonfinite: steps whose norm is NaN or infinite; no rule clips them.
        n: how many steps.
        status: empty, or a sentence that says why there is no answer.
        note: what the numbers do not say.
    """

    rule: str
    steps: Steps
    grad_norm: Floats
    thresholds: Floats
    coefficients: Floats
    clipped: NDArray[np.bool_]
    rate: float
    rate_by_phase: tuple[float, ...]
    coefficient_by_phase: tuple[float, ...]
    lr: Floats
    effective_lr: Floats
    effective_lr_by_phase: tuple[float, ...]
    warnings: tuple[str, ...]
    nonfinite: int
    n: int
    status: str = ""
    note: str = COUNTERFACTUAL

    @property
    def clipped_steps(self) -> Steps:
        """The steps that the rule would have clipped."""
        return self.steps[self.clipped]

    @property
    def last_threshold(self) -> float:
        """The last finite threshold, NaN without any."""
        known = self.thresholds[np.isfinite(self.thresholds)]
        return float(known[-1]) if len(known) else float("nan")


def thresholds(run: Run, rule: ClipRule) -> Thresholds:
    r"""Replay a rule over the norms that a run recorded.

    .. math:: \mathrm{lr}_\mathrm{eff}(t) = \mathrm{lr}(t) \cdot c_t

    A run that was itself clipped is replayed over its norms before clipping. A rule with a history sees only the
    recorded steps: the note says so where norms were not recorded at every step. Time and memory grow as the rule's own
    replay: for a rule without a history, some arrays as long as the series.

    Args:
        run: a run with gradient norms.
        rule: any rule that norms, or norms and the learning rate, determine.

    Returns:
        The rule's threshold and clip at each recorded step.

    Raises:
        ValueError: if norms do not determine the rule.
    """
    steps, norms = recorded_norms(run)
    lr = _rates(run, steps)
    # A negative norm is none: the status says so, and the rule sees it as it sees NaN.
    replayed = np.where(norms < 0, np.nan, norms)
    result = replay(rule, replayed, lr=lr if len(lr) and np.isfinite(lr).all() else None)
    finite = np.isfinite(replayed)
    effective = lr * result.coefficients
    n = len(steps)
    return Thresholds(
        rule=repr(rule),
        steps=steps,
        grad_norm=norms,
        thresholds=result.thresholds,
        coefficients=result.coefficients,
        clipped=result.clipped,
        rate=result.rate,
        rate_by_phase=rates(finite, result.clipped),
        coefficient_by_phase=medians(np.where(finite, result.coefficients, np.nan)),
        lr=lr,
        effective_lr=effective,
        effective_lr_by_phase=medians(np.where(finite, effective, np.nan)),
        warnings=one_phase(norms, result.clipped),
        nonfinite=result.nonfinite,
        n=n,
        status=unusable(run, norms),
        note=COUNTERFACTUAL + gaps(steps),
    )


def recorded_norms(run: Run) -> tuple[Steps, Floats]:
    """(n,) steps and (n,) global gradient norms before clipping; empty where the run has none."""
    if "grad_norm" not in run.columns:
        return NOTHING
    return run.series("grad_norm")


def no_norms(run: Run) -> str:
    """Why a run has no answer without norms."""
    return f"run {run.name!r} has no gradient norms; record them with norms=gradlens.every(1)."


def without_norms(run: Run) -> str:
    """Why a run has no answer, where it has recorded no norm at all; empty where it has, at little cost."""
    return "" if "grad_norm" in run.columns else no_norms(run)


def norm_span(run: Run) -> tuple[float, float]:
    """The smallest and the largest positive norm recorded, NaN without any."""
    norms = recorded_norms(run)[1]
    known = norms[np.isfinite(norms) & (norms > 0)]
    return (float(known.min()), float(known.max())) if len(known) else (float("nan"), float("nan"))


def widest(spans: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The span that holds all of some, None where it is no span.

    >>> widest([(1.0, 2.0), (0.5, 1.5), (float("nan"), float("nan"))]), widest([(1.0, 1.0)])
    ((0.5, 2.0), None)
    """
    known = [span for span in spans if np.isfinite(span).all()]
    low, high = min((span[0] for span in known), default=0.0), max((span[1] for span in known), default=0.0)
    return (low, high) if low < high else None


def unusable(run: Run, norms: Floats) -> str:
    """Why recorded norms give no answer; empty where they do."""
    if not len(norms):
        return no_norms(run)
    negative = int((norms < 0).sum())
    if negative:
        return (
            f"run {run.name!r} has {negative:,} negative values of grad_norm among {len(norms):,}: those are no norms. "
            "Was something else logged under that name?"
        )
    if not np.isfinite(norms).any():
        return (
            f"none of the {len(norms):,} gradient norms of run {run.name!r} is finite; see gradlens analyze stability."
        )
    return ""


def gaps(steps: Steps) -> str:
    """What a replay cannot know where norms are missing in between; empty where none are.

    >>> gaps(np.array([3, 4, 5])), gaps(np.array([3, 5]))[:36]
    ('', ' Norms were not recorded at every st')
    """
    missing = len(steps) > 1 and bool((np.diff(steps) != 1).any())
    return " Norms were not recorded at every step: the history is thinner than in training." * missing


def thirds(n: int) -> tuple[slice, ...]:
    """The first, second and last third of a series, as :func:`numpy.array_split` has them.

    >>> thirds(7)
    (slice(0, 3, None), slice(3, 5, None), slice(5, 7, None))
    """
    ends = np.cumsum([0, *(n // 3 + (n % 3 > phase) for phase in range(3))]).tolist()
    return tuple(slice(begin, end) for begin, end in pairwise(ends))


def rates(finite: NDArray[np.bool_], clipped: NDArray[np.bool_]) -> tuple[float, ...]:
    """Share of the finite steps of each third that are clipped, NaN without any.

    >>> rates(np.array([True, True, True, False, True, False]), np.array([True, False, True, False, True, False]))
    (0.5, 1.0, 1.0)
    """
    counts = [(int(finite[part].sum()), int(clipped[part].sum())) for part in thirds(len(finite))]
    return tuple(some / all_ if all_ else float("nan") for all_, some in counts)


def medians(values: Floats) -> tuple[float, ...]:
    """Median of the finite values of each third, NaN without any.

    >>> medians(np.array([1.0, 3.0, np.nan, 5.0, np.nan, np.nan]))
    (2.0, 5.0, nan)
    """
    parts = (values[part] for part in thirds(len(values)))
    finite = (part[np.isfinite(part)] for part in parts)
    return tuple(float(np.median(part)) if len(part) else float("nan") for part in finite)


def one_phase(norms: Floats, clipped: NDArray[np.bool_]) -> tuple[str, ...]:
    """A sentence where nearly all clipped steps lie in one third of the training, and what the norms do meanwhile."""
    counts = [int(clipped[part].sum()) for part in thirds(len(clipped))]
    total = sum(counts)
    if total < 10 or max(counts) < ONE_PHASE * total:
        return ()
    phase = PHASES[int(np.argmax(counts))]
    early, middle, late = medians(norms)
    return (
        f"{max(counts) / total:.0%} of the clipped steps are {phase}: the threshold acts in one phase only. The median "
        f"norm is {early:.3g} in the first third, {middle:.3g} in the second, {late:.3g} in the last.",
    )


def _rates(run: Run, steps: Steps) -> Floats:
    """The learning rate at each of some steps, NaN where there is none."""
    found = np.full(len(steps), np.nan)
    if "lr" in run.columns:
        at, values = run.series("lr")
        if np.array_equal(at, steps):
            return values
        _, here, there = np.intersect1d(steps, at, assume_unique=True, return_indices=True)
        found[here] = values[there]
    return found
