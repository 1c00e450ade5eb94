"""One step's record while it is being measured, and what the host makes of it once the numbers have arrived."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gradlens.schema import ESTIMATORS

logger = logging.getLogger("gradlens")

Norms = NDArray[np.float64]

_CLIPPED = "grad_norm_clipped"
_SAME = 1e-5
"""Relative difference of two norms below which a gradient counts as left alone."""


class Part(Enum):
    """Numbers that the host makes into columns; themselves no column, and no name that a user could give."""

    LEFT = "gradient norm where backward left it, scaled where the loss was"
    SILENT = "gradient norm at the step, as it stands, where nothing says that it was changed since"
    SCALE = "loss scale that the gradient still carried there"
    SEED = "what backward multiplied the loss by"
    DECLARED = "whether the user's clip is known by name"
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
        passes: backward passes seen to end.
        losses: calls of ``recorder.loss`` so far.
        of: micro-batches in the step, as the user announced.
        declared: thresholds of the user's own clips in this step.
        smoothness: the estimator, or why there is none; None where no probe is due.
        measured: whether the gradient at theta_t was measured; further losses are a line search's.
        stepped: whether the optimizer's update is done, or left out for good.
        overhead: seconds spent by gradlens.
    """

    step: int
    scalars: dict[str | Part, Any] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    passes: int = 0
    losses: int = 0
    of: int = 1
    declared: list[float | None] = field(default_factory=list)
    smoothness: str | None = None
    measured: bool = False
    stepped: bool = False
    overhead: float = 0.0

    @property
    def probing(self) -> bool:
        """Whether a smoothness probe is under way."""
        return self.smoothness in ESTIMATORS

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
        self._warned = False
        self._judged = False
        self._written_silently = False

    def __call__(
        self, arrived: Mapping[str | Part, Any], tensors: Mapping[str, Norms] | None = None
    ) -> tuple[dict[str, Any], dict[str, Norms]]:
        """The row of one step and its per-parameter norms, from the numbers that were pushed for it."""
        row = {name: value for name, value in arrived.items() if isinstance(name, str)}
        moved, change, noise = (arrived.get(part) for part in (Part.MOVED, Part.CHANGE, Part.NOISE))
        norms = dict(tensors or {})
        if Part.SILENT in arrived:
            self._judge(arrived[Part.LEFT], arrived[Part.SILENT])
        if Part.LEFT in arrived:
            self._compare(row, norms, arrived)
        for name, kind in (("nonfinite", int), ("clipped", bool), ("stepped", bool)):
            if row.get(name) is not None:
                row[name] = kind(row[name])
        if row.get("update_norm") is not None and row.get("param_norm"):
            row["update_ratio"] = row["update_norm"] / row["param_norm"]
        if row.get("smoothness_method") not in ESTIMATORS or moved is None or change is None:
            return row, norms
        gradient = row.get("grad_norm") or 0.0
        if noise is not None:
            self._repeats = not (noise > 0.1 * change and noise > 0.01 * gradient)
        reason = _reason(moved, change, repeats=self._repeats)
        if reason:
            row["smoothness_method"] = reason
        else:
            row["smoothness"] = change / moved
            row["smoothness_noise"] = max(noise or 0.0, self._epsilon * gradient) / moved
        return row, norms

    def _judge(self, left: float, taken: float) -> None:
        """Whether a gradient that nothing says was written to is what it was."""
        same = left == taken or (left != left and taken != taken) or (left > 0 and abs(taken / left - 1) <= _SAME)
        self._written_silently = self._written_silently or not same
        self._judged = True

    @property
    def doubtful(self) -> bool:
        """Whether the gradient has to be measured at both points: something writes to it silently, or may."""
        return self._written_silently or not self._judged

    def _compare(self, row: dict[str, Any], norms: dict[str, Norms], arrived: Mapping[str | Part, Any]) -> None:
        """Say what the training did to the gradient between backward and the step."""
        left, taken = arrived[Part.LEFT], row["grad_norm"]
        scale = arrived.get(Part.SCALE)
        if scale is None and arrived[Part.SEED] > 1 + _SAME:
            # A scaled loss whose scaler is not known: what was left cannot be compared with what was taken.
            row["clip_source"] = row.get("clip_source") or "unknown"
            if _CLIPPED in norms:
                norms["grad_norm"] = norms.pop(_CLIPPED)
            if not self._warned:
                self._warned = True
                logger.warning(
                    "gradlens: the loss is scaled before backward. Give Recorder the scaler=, or a clip of your own is "
                    "not seen in grad_norm."
                )
            return
        scale = scale or 1.0
        left /= scale
        row["grad_norm"] = left
        if "grad_norm" in norms:
            norms["grad_norm"] = norms["grad_norm"] / scale
        declared, finite = Part.DECLARED in arrived, math.isfinite(left)
        same = not left > 0 or not finite or abs(taken / left - 1) <= _SAME
        if same:
            norms.pop(_CLIPPED, None)
        if row.get("clip_source") is not None:  # gradlens' own clip, of what the user's had left
            return
        if declared:
            row["clip_source"] = "declared"
        elif not same:  # a gradient that grew was not clipped: something was added
            row["clip_source"] = "inferred" if taken < left else "unknown"
        if row.get("clip_source") in ("declared", "inferred") and finite:
            threshold = row.get("clip_threshold")
            row["clip_coef"] = 1.0 if same else taken / left
            row["clipped"] = not same if threshold is None else left > threshold


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
