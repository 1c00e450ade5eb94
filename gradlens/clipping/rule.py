"""What a clip rule is: an immutable value with two pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
State = Any
"""A rule's memory. Only the rule that made it looks inside."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a rule may look at in one step.

    Attributes:
        grad_norms: (groups,) float64, the L2 norm of each group's gradient; one group is the global norm.
        param_norms: (groups,) float64 or None, the L2 norm of each group's parameters.
        lr: the learning rate.
    """

    grad_norms: Floats
    param_norms: Floats | None = None
    lr: float = float("nan")


@dataclass(frozen=True, slots=True)
class Clip:
    """What a rule decides in one step.

    Attributes:
        coefficients: (groups,) float64, the factor on each group's gradient.
        thresholds: (groups,) float64, the norm above which the group is clipped.
    """

    coefficients: Floats
    thresholds: Floats


@dataclass(frozen=True, slots=True)
class ClipRule:
    """A clip rule: a name, its parameters and pure functions over groups of parameters.

    ``clipped`` means norm > threshold. A non-finite norm gets coefficient 1 and never enters a history.

    Attributes:
        name: the factory's name, as in ``"autoclip"``.
        parameters: the factory's arguments, plain numbers or None.
        init: groups -> state.
        update: (measured, state) -> (clip, state); may reuse the state's buffers.
        scan: (steps,) norms -> (steps,) thresholds of one group from a fresh state, the fast twin of ``update``
            for replay; None where recorded norms do not determine the rule.
        save: state -> arrays from which ``load`` makes it again; None where ``init`` does.
        load: the arrays of ``save`` -> state.

    >>> from gradlens import clipping
    >>> clipping.autoclip(percentile=10)
    autoclip(percentile=10.0)
    """

    name: str
    parameters: Mapping[str, float | int | None]
    init: Callable[[int], State] = field(repr=False, compare=False)
    update: Callable[[Measured, State], tuple[Clip, State]] = field(repr=False, compare=False)
    scan: Callable[[Floats], Floats] | None = field(repr=False, compare=False)
    save: Callable[[State], dict[str, Floats]] | None = field(default=None, repr=False, compare=False)
    load: Callable[[Mapping[str, Floats]], State] | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        given = ", ".join(f"{key}={value!r}" for key, value in self.parameters.items() if value is not None)
        return f"{self.name}({given})"

    def spec(self) -> dict[str, Any]:
        """The rule as JSON: what a run stores, and what :func:`gradlens.clipping.from_spec` reads.

        >>> from gradlens import clipping
        >>> clipping.fixed(1.0).spec()
        {'name': 'fixed', 'parameters': {'max_norm': 1.0}}
        """
        return {"name": self.name, "parameters": dict(self.parameters)}


def coefficients(norms: Floats, thresholds: Floats) -> Floats:
    """Factors that bring norms down to thresholds: ``min(1, threshold / norm)``, exactly.

    Nothing is added to the denominator: torch's ``norm + 1e-6`` is off by per cents at norms near 1e-5.

    Args:
        norms: float64; a NaN or infinite norm gets 1.
        thresholds: float64, of the same shape.

    >>> coefficients(np.array([2.0, 0.5, 0.0, np.nan]), np.ones(4)).tolist()
    [0.5, 1.0, 1.0, 1.0]
    """
    act = np.isfinite(norms) & (norms > thresholds)
    return np.divide(thresholds, norms, out=np.ones_like(norms), where=act)
