"""Replay: what a rule would have done at each recorded step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.clipping.rule import ClipRule, Floats, coefficients

NOT_DETERMINED = "recorded norms do not determine this rule: {rule} cannot be replayed."


@dataclass(frozen=True, slots=True)
class Replay:
    """A rule applied to recorded norms.

    Counterfactual: it says which recorded steps would have been clipped, not how training would have gone.

    Attributes:
        thresholds: (steps,) float64.
        coefficients: (steps,) float64.
        clipped: (steps,) bool, norm > threshold.
        nonfinite: how many norms were NaN or infinite; none of them is clipped or enters a history.
    """

    thresholds: Floats
    coefficients: Floats
    clipped: NDArray[np.bool_]
    nonfinite: int

    @property
    def rate(self) -> float:
        """Share of the finite steps that are clipped, NaN without any."""
        finite = len(self.clipped) - self.nonfinite
        return float(self.clipped.sum() / finite) if finite else float("nan")


def replay(rule: ClipRule, norms: ArrayLike) -> Replay:
    """Apply a rule to a series of global gradient norms, from a fresh state.

    Args:
        rule: any rule that the norms determine.
        norms: (steps,) global L2 gradient norms before clipping, in the order of training.

    Returns:
        Thresholds, coefficients and which steps are clipped.

    Raises:
        ValueError: if the norms are not one series, one of them is negative, or the rule needs more than norms.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.autoclip(percentile=0), [2.0, float("nan"), 4.0])
    >>> result.coefficients.tolist(), result.nonfinite, result.rate
    ([1.0, 1.0, 0.5], 1, 0.5)
    """
    values = np.asarray(norms, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"norms must be one series of shape (steps,); got shape {values.shape}.")
    if (values < 0).any():
        raise ValueError(f"a norm cannot be negative; got {values[values < 0][0]!r}.")
    if rule.scan is None:
        raise ValueError(NOT_DETERMINED.format(rule=rule))
    thresholds = rule.scan(values)
    finite = np.isfinite(values)
    return Replay(
        thresholds=thresholds,
        coefficients=coefficients(values, thresholds),
        clipped=finite & (values > thresholds),
        nonfinite=int((~finite).sum()),
    )
