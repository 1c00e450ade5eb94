"""One step's record while it is being measured, and what the host makes of it once the numbers have arrived."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from torch import Tensor

from gradlens.schema import SAME_BATCH


class Part(Enum):
    """Numbers that the host makes into a smoothness; no column, and no name that a user could give."""

    MOVED = "length of the step"
    CHANGE = "change of the gradient over the step"
    NOISE = "change of the gradient when it is repeated"


@dataclass(slots=True)
class StepRow:
    """A step under way.

    Attributes:
        step: its index.
        scalars: column -> number, text or 0-d tensor.
        tensors: kind -> (parameters,) tensor of norms.
        losses: calls of ``recorder.loss`` so far.
        smoothness: the estimator, or why there is none; None where no probe is due.
        measured: whether the gradient at theta_t was measured; further losses are a line search's.
        stepped: whether the optimizer's update is done.
        overhead: seconds spent by gradlens.
    """

    step: int
    scalars: dict[str | Part, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    losses: int = 0
    smoothness: str | None = None
    measured: bool = False
    stepped: bool = False
    overhead: float = 0.0

    @property
    def probing(self) -> bool:
        """Whether a smoothness probe is under way."""
        return self.smoothness == SAME_BATCH

    def add_loss(self, loss: Tensor) -> None:
        """Note the loss of one more micro-batch; the step's loss is their mean."""
        total = self.scalars.get("loss", 0.0) * self.losses + kept(loss)
        self.losses += 1
        self.scalars |= {"loss": total / self.losses, "micro_batches": self.losses}

    def note_smoothness(self, *, moved: Tensor, change: Tensor) -> None:
        """Note the two norms whose ratio is the smoothness; the host divides, since only it can see a zero."""
        self.scalars |= {Part.MOVED: moved, Part.CHANGE: change}

    def note_noise(self, noise: Tensor) -> None:
        """Note the norm of the difference between two evaluations of one gradient."""
        self.scalars[Part.NOISE] = noise


class RowFinisher:
    """Turns arrived numbers into the columns of a row, in the order of the steps.

    A smoothness that means nothing becomes null with a reason: after a step of length zero, with a gradient that is not
    finite, and from a probe that finds a loss that does not repeat until one finds that it does. The noise floor is
    what a repeat of the gradient changes, and at least the gradient's rounding.

    Args:
        epsilon: relative rounding error of the weights' dtype.
    """

    def __init__(self, epsilon: float) -> None:
        self._epsilon = epsilon
        self._repeats = True

    def __call__(self, arrived: Mapping[str | Part, Any]) -> dict[str, Any]:
        """The row of one step, from the numbers that were pushed for it."""
        row = {name: value for name, value in arrived.items() if isinstance(name, str)}
        moved, change, noise = (arrived.get(part) for part in (Part.MOVED, Part.CHANGE, Part.NOISE))
        for name, kind in (("nonfinite", int), ("clipped", bool)):
            if row.get(name) is not None:
                row[name] = kind(row[name])
        if row.get("smoothness_method") != SAME_BATCH or moved is None or change is None:
            return row
        gradient = row.get("grad_norm") or 0.0
        if noise is not None:
            self._repeats = not (noise > 0.1 * change and noise > 0.01 * gradient)
        reason = _reason(moved, change, repeats=self._repeats)
        if reason:
            row["smoothness_method"] = reason
        else:
            row["smoothness"] = change / moved
            row["smoothness_noise"] = max(noise or 0.0, self._epsilon * gradient) / moved
        return row


def kept(value: float | Tensor) -> float | Tensor:
    """A number to keep: a tensor on an accelerator as a copy there, anything else as a float.

    >>> kept(0.5)
    0.5
    """
    if isinstance(value, Tensor) and value.device.type != "cpu":
        return value.detach().reshape(()).clone()
    return float(value.detach() if isinstance(value, Tensor) else value)


def _reason(moved: float, change: float, *, repeats: bool) -> str | None:
    if not math.isfinite(change) or not math.isfinite(moved):
        return "none: gradient is not finite"
    if moved == 0:
        return "none: zero step"
    return None if repeats else "none: loss does not repeat"
