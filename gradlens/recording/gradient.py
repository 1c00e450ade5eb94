"""The gradient at two points: where ``backward`` left it, and where the optimizer takes it.

Whatever a training does in between (unscaling, clipping, adding noise) shows as the difference of the two. Where no
gradient was written to in between, which the tensors' version counters tell without a look at a value, one measurement
serves both. Two ways of writing pass these counters by, a loss scaler's and ``.data``: so both points are measured
until the host has seen that they agree, and at every hundredth step again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import is_not

import torch
from torch import Tensor

from gradlens.recording.norms import tensor_norms


@dataclass(frozen=True, slots=True)
class Measurement:
    """Norms of the gradients of one step, or of one optimizer's share of them, still scaled where the loss was.

    Attributes:
        places: which of the training's parameters these are.
        left: norm of each gradient that there was when backward had left it; None where that was not measured.
        taken: norm of each gradient that there is at the step.
        left_there: for each of those parameters, whether ``left`` has it.
        taken_there: the same of ``taken``.
        announced: whether the gradients' versions say that one was written to between the two points.
        once: whether ``taken`` is ``left``, measured once.
        scale: what the gradients were still multiplied by at the step, a 0-d tensor; None for nothing.
    """

    places: range
    left: Tensor | None
    taken: Tensor
    left_there: list[bool]
    taken_there: list[bool]
    announced: bool
    once: bool
    scale: Tensor | None = None

    @property
    def unscaled(self) -> Tensor:
        """``taken`` without the loss scale that the gradients still carried."""
        return self.taken if self.scale is None else self.taken / self.scale.to(self.taken)


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
        self._seen: list[Tensor | None] = []
        self._versions: list[int] = []

    def norms(self, places: range) -> Tensor:
        """L2 norm of each gradient that the parameters at these places have."""
        return self._norms([parameter.grad for parameter in self._parameters[places.start : places.stop]])

    def backward_ended(self, *, of: int, measure: bool) -> None:
        """After a backward pass: measure, and note the gradients' versions, if this may be the step's last pass."""
        self._passes += 1
        self._left, self._seen, self._versions = None, [], []
        if measure and self._passes >= (of if of > 1 else self._passes_before):
            self._look()

    def measure_left(self) -> None:
        """Measure before a clip that is about to happen, if the last backward pass was not seen."""
        if self._left is None:
            self._look()

    def at_step(self, places: range, *, again: bool, scale: Tensor | None = None) -> Measurement:
        """Measure what an optimizer takes.

        Args:
            places: which of the parameters are of interest.
            again: also where, by the gradients' versions, it is what backward left.
            scale: what the gradients are still multiplied by.
        """
        part = slice(places.start, places.stop)
        now, seen = [parameter.grad for parameter in self._parameters[part]], self._seen[part]
        announced = not seen or _versions(now) != self._versions[part] or any(map(is_not, now, seen))
        left = None if self._left is None else self._left[self._place(places.start) : self._place(places.stop)]
        once = left is not None and not announced and not again
        return Measurement(
            places=places,
            left=left,
            taken=left if once and left is not None else self._norms(now),
            left_there=[gradient is not None for gradient in seen],
            taken_there=[gradient is not None for gradient in now],
            announced=announced,
            once=once,
            scale=None if scale is None else scale.clone(),
        )

    def _place(self, index: int) -> int:
        """Where in ``_left`` the gradient of a parameter stands."""
        return sum(gradient is not None for gradient in self._seen[:index])

    def _look(self) -> None:
        self._seen = [parameter.grad for parameter in self._parameters]
        self._versions = _versions(self._seen)
        self._left = self._norms(self._seen)

    def _norms(self, gradients: Sequence[Tensor | None]) -> Tensor:
        return tensor_norms([gradient for gradient in gradients if gradient is not None], self._device)

    def step_ended(self) -> None:
        """Let go of the step."""
        self._passes_before = self._passes or self._passes_before
        self._passes = 0
        self._left, self._seen, self._versions = None, [], []


def _versions(gradients: Sequence[Tensor | None]) -> list[int]:
    return [-1 if gradient is None else gradient._version for gradient in gradients]


def joined(shares: Sequence[Measurement], count: int) -> Measurement:
    """The measurements of several optimizers as one of all the parameters there are, without the scales they carried.

    Args:
        shares: of one step, at least one, without overlap.
        count: how many parameters there are; those of an optimizer that did not step have no gradient.
    """
    if len(shares) == 1 and len(shares[0].places) == count:
        return shares[0]
    shares = sorted(shares, key=lambda share: share.places.start)
    lefts = [share.left for share in shares if share.left is not None]

    def spread(flags: str) -> list[bool]:
        whole = [False] * count
        for share in shares:
            whole[share.places.start : share.places.stop] = getattr(share, flags)
        return whole

    return Measurement(
        places=range(count),
        left=torch.cat(lefts) if len(lefts) == len(shares) else None,
        taken=torch.cat([share.unscaled for share in shares]),
        left_there=spread("left_there"),
        taken_there=spread("taken_there"),
        announced=any(share.announced for share in shares),
        once=all(share.once for share in shares),
    )
