"""The gradient at two points: where ``backward`` left it, and where the optimizer takes it.

Whatever a training does in between (unscaling, clipping, adding noise) shows as the difference of the two. Where no
gradient was written to in between, which the tensors' version counters tell without a look at a value, one measurement
serves both. Two ways of writing pass these counters by, a loss scaler's and ``.data``: so both points are measured
until the host has seen that they agree, and at every hundredth step again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlens.recording.norms import tensor_norms


@dataclass(frozen=True, slots=True)
class Measurement:
    """Norms of the gradients of one step, still scaled where the loss was.

    Attributes:
        left: norm of each gradient that there was when backward had left it; None where that was not measured.
        taken: norm of each gradient that there is at the step.
        left_there: for each parameter, whether ``left`` has it.
        taken_there: the same of ``taken``.
        announced: whether the gradients' versions say that one was written to between the two points.
        once: whether ``taken`` is ``left``, measured once.
    """

    left: Tensor | None
    taken: Tensor
    left_there: list[bool]
    taken_there: list[bool]
    announced: bool
    once: bool


class GradientProbe:
    """Measures the norm of each gradient.

    With accumulated gradients only the last backward pass counts. Which one that is, ``of`` says; where the user
    divides by hand, the number of passes of the step before is taken for this one's, and where that was wrong the step
    is measured at the optimizer.

    Memory: references to the step's gradients from backward to step, and a number for each.

    Args:
        parameters: those the optimizer steps.
        device: where results go.
    """

    def __init__(self, parameters: Sequence[Tensor], device: torch.device) -> None:
        self._parameters = parameters
        self._device = device
        self._passes = 0
        self._passes_before = 1
        self._left: Tensor | None = None
        self._seen: list[tuple[Tensor | None, int]] = []

    def present(self) -> list[Tensor]:
        """The gradients there are, in the parameters' order."""
        return [parameter.grad for parameter in self._parameters if parameter.grad is not None]

    def norms(self) -> Tensor:
        """L2 norm of each gradient there is."""
        return tensor_norms(self.present(), self._device)

    def backward_ended(self, *, of: int, measure: bool) -> None:
        """After a backward pass: measure, and note the gradients' versions, if this may be the step's last pass."""
        self._passes += 1
        self._left, self._seen = None, []
        if measure and self._passes >= (of if of > 1 else self._passes_before):
            self._look()

    def measure_left(self) -> None:
        """Measure before a clip that is about to happen, if the last backward pass was not seen."""
        if self._left is None:
            self._look()

    def at_step(self, *, again: bool) -> Measurement:
        """Measure what the optimizer takes.

        Args:
            again: also where, by the gradients' versions, it is what backward left.
        """
        announced = not self._seen or any(
            parameter.grad is not gradient or (gradient is not None and gradient._version != version)
            for parameter, (gradient, version) in zip(self._parameters, self._seen, strict=True)
        )
        once = self._left is not None and not announced and not again
        taken = self._left if once and self._left is not None else self.norms()
        there = [parameter.grad is not None for parameter in self._parameters]
        return Measurement(
            self._left, taken, [gradient is not None for gradient, _ in self._seen], there, announced, once
        )

    def _look(self) -> None:
        gradients = [parameter.grad for parameter in self._parameters]
        self._seen = [(gradient, -1 if gradient is None else gradient._version) for gradient in gradients]
        self._left = self.norms()

    def step_ended(self) -> None:
        """Let go of the step."""
        self._passes_before = self._passes or self._passes_before
        self._passes = 0
        self._left, self._seen = None, []
