"""What a clip rule is: an immutable value with pure functions over groups of gradient entries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Array = Any
"""What ``Measured.xp`` works on: NumPy arrays, or tensors where torch is handed in."""
State = Any
"""A rule's memory. Only the rule that made it looks inside."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a rule may look at in one step.

    Attributes:
        grad_norms: (groups,) float64, the L2 norm of each group's gradient; one group is the global norm. NaN is a
            group without a gradient, infinity one whose gradient is not finite; rules by themselves tell no difference.
        param_norms: (groups,) float64 or None, the L2 norm of each group's parameters.
        lr: the learning rate, a number or a 0-d array, or None if it is not known.
        xp: the namespace whose functions fit the arrays: ``numpy``, or ``torch`` where the norms are tensors.
    """

    grad_norms: Array
    param_norms: Array | None = None
    lr: Array | None = None
    xp: Any = np


@dataclass(frozen=True, slots=True)
class Clip:
    """What a rule decides in one step.

    Attributes:
        coefficients: (groups,) float64, the factor on each group's gradient.
        thresholds: (groups,) float64, the norm above which the group is clipped.
    """

    coefficients: Array
    thresholds: Array


Update = Callable[[Measured, State], tuple[Clip, State]]


@dataclass(frozen=True, slots=True)
class ClipRule:
    """A clip rule: a name, its parameters and pure functions over groups.

    ``clipped`` means norm > threshold. A non-finite norm gets coefficient 1 and never enters a state. The functions are
    written once for NumPy and torch: they branch on no value and read none, so that on an accelerator the formula
    itself runs there. (AutoClip's history, a heap on the host, is the one exception.)

    Attributes:
        name: the factory's name, as in ``"autoclip"``.
        parameters: the factory's arguments, plain numbers, text or None.
        init: groups -> state, in NumPy arrays.
        update: (measured, state) -> (clip, state); may reuse the state's buffers.
        scan: the fast twin of ``update`` for replay: ``grad_norms`` of shape (steps, groups), with ``lr`` and
            ``param_norms`` to match -> the same of a clip, from a fresh state. None where norms do not determine the
            rule.
        save: state -> arrays from which ``load`` makes it again; a state is a dict of arrays unless a rule says else.
        load: the arrays of ``save`` -> state.
        scope: what the groups are: ``"global"`` (one, all parameters; any number of them are independent of each
            other), ``"parameter"``, ``"group"`` of parameters, ``"unit"`` (row or output filter of a parameter),
            ``"entry"`` or ``"micro_batch"``. A chain of several scopes has the finest of them, at least
            ``"parameter"``.
        parts: the rules that this one is made of.
        remake: parts -> this rule made of those.

    >>> from gradlens import clipping
    >>> clipping.per_parameter(clipping.autoclip(percentile=10))
    per_parameter(autoclip(percentile=10.0))
    """

    name: str
    parameters: Mapping[str, Any]
    init: Callable[[int], State] = field(repr=False, compare=False)
    update: Update = field(repr=False, compare=False)
    scan: Callable[[Measured], Clip] | None = field(repr=False, compare=False)
    save: Callable[[State], dict[str, Floats]] = field(default=dict, repr=False, compare=False)
    load: Callable[[Mapping[str, Floats]], State] = field(default=dict, repr=False, compare=False)
    scope: str = "global"
    parts: tuple[ClipRule, ...] = ()
    remake: Callable[..., ClipRule] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        given = [
            f"{key}={value!r}" for key, value in self.parameters.items() if value is not None and value is not False
        ]
        return f"{self.name}({', '.join([*map(repr, self.parts), *given])})"

    def spec(self) -> dict[str, Any]:
        """The rule as JSON: what a run stores, and what :func:`gradlens.clipping.from_spec` reads.

        >>> from gradlens import clipping
        >>> clipping.fixed(1.0).spec()
        {'name': 'fixed', 'parameters': {'max_norm': 1.0}}
        >>> clipping.per_parameter(clipping.fixed(1.0)).spec()["rules"]
        [{'name': 'fixed', 'parameters': {'max_norm': 1.0}}]
        """
        parts = {"rules": [part.spec() for part in self.parts]} if self.parts else {}
        return {"name": self.name, "parameters": _plain(self.parameters), **parts}


def stateless(
    name: str, parameters: Mapping[str, Any], decide: Callable[[Measured], Clip], *, replayed: bool = True, **rest: Any
) -> ClipRule:
    """A rule without a memory, from what it decides in a step.

    Args:
        name: of the factory.
        parameters: of the factory.
        decide: acts on each group alone or along the last axis, so that it serves any number of steps at once.
        replayed: whether norms determine it.
        rest: further attributes of the rule.

    >>> rule = stateless("halve", {}, lambda m: Clip(0.5 * m.xp.ones_like(m.grad_norms), m.grad_norms))
    >>> rule.update(Measured(np.array([4.0])), rule.init(1))[0].coefficients.tolist()
    [0.5]
    """

    def init(groups: int) -> dict[str, Floats]:  # noqa: ARG001 - every rule takes it
        return {}

    def update(measured: Measured, state: State) -> tuple[Clip, State]:
        return decide(measured), state

    return ClipRule(name, parameters, init, update, decide if replayed else None, **rest)


def up_to(threshold: float) -> Callable[[Measured], Clip]:
    """What a rule decides whose threshold is a constant.

    >>> up_to(1.0)(Measured(np.array([4.0]))).coefficients.tolist()
    [0.25]
    """

    def decide(measured: Measured) -> Clip:
        thresholds = measured.xp.zeros_like(measured.grad_norms) + threshold
        return Clip(coefficients(measured.grad_norms, thresholds, measured.xp), thresholds)

    return decide


def coefficients(norms: Array, thresholds: Array, xp: Any = np) -> Array:
    """Factors that bring norms down to thresholds: ``min(1, threshold / norm)``, exactly.

    Nothing is added to the denominator: torch's ``norm + 1e-6`` is off by per cents at norms near 1e-5.

    Args:
        norms: float64; a NaN or infinite norm gets 1.
        thresholds: float64, of the same shape, or a number.
        xp: see :class:`Measured`.

    >>> coefficients(np.array([2.0, 0.5, 0.0, np.nan]), np.ones(4)).tolist()
    [0.5, 1.0, 1.0, 1.0]
    """
    act = xp.isfinite(norms) & (norms > thresholds)
    # Where nothing is done there is nothing to divide by, and no warning about it.
    return xp.where(act, thresholds / xp.where(act, norms, 1.0), 1.0)


def total_norm(norms: Array, xp: Any = np) -> Array:
    """L2 norm over groups, (..., groups) -> (..., 1): a NaN is a group without a gradient, an infinity stays.

    >>> total_norm(np.array([3.0, np.nan, 4.0])).tolist()
    [5.0]
    """
    return xp.sqrt((xp.where(xp.isnan(norms), 0.0, norms) ** 2).sum(axis=-1, keepdims=True))


def map_leaves(rule: ClipRule, change: Callable[[ClipRule], ClipRule]) -> ClipRule:
    """The rule with each rule that it is made of, down to those made of none, changed.

    >>> from gradlens import clipping
    >>> map_leaves(clipping.per_parameter(clipping.fixed(1.0)), lambda rule: clipping.fixed(2.0))
    per_parameter(fixed(max_norm=2.0))
    """
    if rule.remake is None:
        return change(rule)
    return rule.remake(*(map_leaves(part, change) for part in rule.parts))


def _plain(value: Any) -> Any:
    """Mappings as dicts and tuples as lists, as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value
