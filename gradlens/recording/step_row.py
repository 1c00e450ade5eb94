"""One step's record while it is being measured, and what the host makes of it once the numbers have arrived."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gradlens.schema import SAME_BATCH

_MOVED = "_moved"
_CHANGE = "_change"
_NOISE = "_noise"


@dataclass(slots=True)
class StepRow:
    """A step under way.

    Attributes:
        step: its index.
        scalars: column -> number, text or 0-d tensor.
        tensors: kind -> (parameters,) tensor of norms.
        losses: calls of ``recorder.loss`` so far.
        smoothness: the estimator, or why there is none; None where no probe is due.
        stepped: whether the optimizer's update is done.
        overhead: seconds spent by gradlens.
    """

    step: int
    scalars: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    losses: int = 0
    smoothness: str | None = None
    stepped: bool = False
    overhead: float = 0.0

    @property
    def probing(self) -> bool:
        """Whether a smoothness probe is under way."""
        return self.smoothness == SAME_BATCH

    def note_smoothness(self, *, moved: Tensor, change: Tensor) -> None:
        """Note the two norms whose ratio is the smoothness; the host divides, since only it can see a zero."""
        self.scalars |= {_MOVED: moved, _CHANGE: change}

    def note_noise(self, noise: Tensor) -> None:
        """Note the norm of the difference between two evaluations of one gradient."""
        self.scalars[_NOISE] = noise


class RowFinisher:
    """Turns arrived numbers into the columns of a row, in the order of the steps.

    A smoothness that means nothing becomes null with a reason: after a step of length zero, with a gradient that is not
    finite, and from a probe that finds a loss that does not repeat until one finds that it does.
    """

    def __init__(self) -> None:
        self._repeats = True

    def __call__(self, arrived: dict[str, Any]) -> dict[str, Any]:
        """The row of one step, from the numbers that were pushed for it."""
        row = dict(arrived)
        moved, change, noise = row.pop(_MOVED, None), row.pop(_CHANGE, None), row.pop(_NOISE, None)
        for name, kind in (("nonfinite", int), ("clipped", bool)):
            if row.get(name) is not None:
                row[name] = kind(row[name])
        if row.get("smoothness_method") != SAME_BATCH or moved is None or change is None:
            return row
        if noise is not None:
            gradient = row.get("grad_norm")
            self._repeats = not (noise > 0.1 * change and gradient is not None and noise > 0.01 * gradient)
        reason = _reason(moved, change, repeats=self._repeats)
        if reason:
            row["smoothness_method"] = reason
        else:
            row["smoothness"] = change / moved
            row["smoothness_noise"] = None if noise is None else noise / moved
        return row


def _reason(moved: float, change: float, *, repeats: bool) -> str | None:
    if not math.isfinite(change) or not math.isfinite(moved):
        return "none: gradient is not finite"
    if moved == 0:
        return "none: zero step"
    return None if repeats else "none: loss does not repeat"
