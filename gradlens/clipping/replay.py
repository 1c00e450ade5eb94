"""Replay: what a rule would have done at each recorded step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.clipping.rule import ClipRule, Floats, Measured

NOT_DETERMINED = "recorded norms do not determine this rule: {rule} cannot be replayed, since {why}."

_COLUMNS = {
    "parameter": "parameters",
    "group": "groups",
    "unit": "units",
    "micro_batch": "micro-batches of a step",
}


@dataclass(frozen=True, slots=True)
class Replay:
    """A rule applied to recorded norms.

    Counterfactual: it says which recorded steps would have been clipped, not how training would have gone.

    Attributes:
        thresholds: (steps,) or (steps, groups) float64.
        coefficients: of the same shape, float64.
        clipped: of the same shape, bool: norm > threshold.
        nonfinite: how many norms were NaN or infinite; none of them is clipped or enters a history.
    """

    thresholds: Floats
    coefficients: Floats
    clipped: NDArray[np.bool_]
    nonfinite: int

    @property
    def rate(self) -> float:
        """Share of the finite norms that are clipped, NaN without any."""
        finite = self.clipped.size - self.nonfinite
        return float(self.clipped.sum() / finite) if finite else float("nan")


def replay(
    rule: ClipRule, norms: ArrayLike, *, lr: ArrayLike | None = None, param_norms: ArrayLike | None = None
) -> Replay:
    """Apply a rule to a series of gradient norms, from a fresh state.

    Args:
        rule: any rule that the norms determine.
        norms: L2 gradient norms before clipping, in the order of training: (steps,) global ones, or (steps, groups) for
            a rule that has a coefficient for each parameter, group, unit or micro-batch. NaN among several groups is
            one without a gradient in that step.
        lr: learning rate, one number or (steps,), for rules that use it.
        param_norms: of the shape of ``norms``, the L2 norms of the weights, for rules that use them.

    Returns:
        Thresholds, coefficients and which steps are clipped, of the shape of ``norms``.

    Raises:
        TypeError: if the rule is none.
        ValueError: if the shapes do not fit the rule or each other, a norm is negative, or the rule needs more than
            what is given.

    >>> from gradlens import clipping
    >>> result = clipping.replay(clipping.autoclip(percentile=0), [2.0, float("nan"), 4.0])
    >>> result.coefficients.tolist(), result.nonfinite, result.rate
    ([1.0, 1.0, 0.5], 1, 0.5)
    """
    if not isinstance(rule, ClipRule):
        raise TypeError(f"replay takes a rule such as clipping.autoclip(percentile=10); got {rule!r}.")
    values = np.asarray(norms, dtype=np.float64)
    if rule.scan is None:
        raise ValueError(NOT_DETERMINED.format(rule=rule, why=_why_not(rule)))
    _check_shape(rule, values)
    if (values < 0).any():
        raise ValueError(f"a norm cannot be negative; got {values[values < 0][0]!r}.")
    columns = values.reshape(len(values), 1 if values.ndim == 1 else values.shape[1])
    clip = rule.scan(Measured(columns, _weights(values, param_norms), _rates(columns, lr)))
    thresholds, factors = clip.thresholds.reshape(values.shape), clip.coefficients.reshape(values.shape)
    finite = np.isfinite(values)
    return Replay(thresholds, factors, finite & (values > thresholds), int((~finite).sum()))


def _check_shape(rule: ClipRule, values: Floats) -> None:
    if rule.scope == "global":
        if values.ndim != 1:
            raise ValueError(f"norms must be one series of shape (steps,); got shape {values.shape}.")
    elif values.ndim != 2:
        raise ValueError(
            f"{rule} takes the norms of the {_COLUMNS[rule.scope]}, of shape (steps, "
            f"{_COLUMNS[rule.scope].partition(' ')[0]}); got shape {values.shape}."
        )


def _why_not(rule: ClipRule) -> str:
    if rule.scope == "entry":
        return "it depends on every single entry of the gradient"
    if rule.scope == "micro_batch":
        return "the norm of a sum of micro-batch gradients does not follow from theirs"
    if rule.name == "match_step" and rule.scope == "group":
        return "parameters in no group are rescaled too, and norms of groups do not show them"
    return "it is made of rules whose groups are not the same"


def _weights(values: Floats, param_norms: ArrayLike | None) -> Floats | None:
    if param_norms is None:
        return None
    given = np.asarray(param_norms, dtype=np.float64)
    if given.shape != values.shape:
        raise ValueError(f"param_norms must have the shape of norms, {values.shape}; got {given.shape}.")
    return given.reshape(len(values), -1)


def _rates(values: Floats, lr: ArrayLike | None) -> Floats | None:
    if lr is None:
        return None
    given = np.asarray(lr, dtype=np.float64)
    if given.shape not in ((), (len(values),)):
        raise ValueError(f"lr must be one number or one a step, ({len(values)},); got shape {given.shape}.")
    return given.reshape(-1, 1)
