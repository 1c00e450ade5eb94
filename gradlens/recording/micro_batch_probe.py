"""The micro-batches of a step, measured one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.recording.gradient_sum import GradientSum, plain_gradient
from gradlens.recording.norms import global_norm, tensor_norms
from gradlens.recording.replayed_loss import Gradients
from gradlens.recording.step_row import Evaluated

TABLE = ("loss", "grad_norm", "scale", "cosine", "clip_coef")
"""What is measured of a micro-batch."""


@dataclass(slots=True)
class _MicroBatch:
    notes: list[Evaluated]
    weight: Tensor
    total: Gradients | None = None
    own: Gradients | None = None

    @property
    def loss(self) -> float | Tensor:
        """The mean, where one pass went through several losses."""
        return sum(note.loss for note in self.notes) / len(self.notes)

    @property
    def samples(self) -> int | None:
        """All of them, if they are known of all."""
        counts = [note.samples for note in self.notes if note.samples is not None]
        return sum(counts) if len(counts) == len(self.notes) else None

    @property
    def domain(self) -> str | None:
        """The one that they all come from."""
        domains = {note.domain for note in self.notes}
        return domains.pop() if len(domains) == 1 else None


class MicroBatchProbe:
    """Norm, cosine with the others, loss, weight and domain of each micro-batch of a step.

    The gradient of a micro-batch is what its backward pass has added. Its cosine is with the sum of the others, since
    one with a sum that contains it would be 1/sqrt(K) for pure noise.

    Memory: a copy of the gradients for each micro-batch of a measured step, and another while they are compared;
    nothing between.

    Args:
        parameters: those the optimizers step.
        device: where results go.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self._parameters, self._device = parameters, device
        self._found: list[_MicroBatch] = []

    def forget(self) -> None:
        """Let go of the step."""
        self._found = []

    def backward_ended(self, weight: Tensor, notes: list[Evaluated], own: Gradients | None) -> None:
        """A backward pass has added to the gradients.

        Args:
            weight: what it multiplied the loss by.
            notes: of the losses that it went through.
            own: the micro-batch's gradient, where a clip has told it apart; empty where it has left none.
        """
        if own is not None and not own:
            return
        total = None if own is not None else [_copy(plain_gradient(parameter)) for parameter in self._parameters]
        self._found.append(_MicroBatch(notes, weight.detach().clone(), total, own))

    def measure(self, scale: Tensor | float, coefficients: Tensor | None) -> dict[str, Any]:
        """The columns of the step's micro-batches: (K,) tensors, and lists of ``samples`` and ``domain``.

        Args:
            scale: what all losses were multiplied by.
            coefficients: (K,) factors of a clip; None without one.
        """
        found = self._found
        if not found:
            return {}
        totals = self._added(found)
        pairs = [self._against(self._own(found, index), totals) for index in range(len(found))]
        norms, cosines = zip(*pairs, strict=True)
        weights = torch.stack([each.weight.to(norms[0]) / scale for each in found])
        table = {
            "loss": torch.stack([torch.as_tensor(each.loss).to(norms[0]) for each in found]),
            "grad_norm": torch.stack(norms) / scale / weights,
            "scale": weights,
            "cosine": torch.stack(cosines),
        }
        if coefficients is not None and len(coefficients) == len(found):
            table["clip_coef"] = coefficients
        return table | {"samples": [each.samples for each in found], "domain": [each.domain for each in found]}

    def _own(self, found: Sequence[_MicroBatch], index: int) -> Gradients:
        """What one backward pass has added."""
        now = found[index]
        if now.total is None:
            return now.own or []
        before = found[index - 1].total if index else None
        if before is None:
            return now.total
        return [t if b is None or t is None else t - b for t, b in zip(now.total, before, strict=True)]

    def _added(self, found: Sequence[_MicroBatch]) -> Gradients:
        if found[-1].total is not None:
            return found[-1].total
        total = GradientSum(self._parameters)
        for each in found:
            total.add(each.own or [])
        return total.tensors

    def _against(self, own: Gradients, totals: Gradients) -> tuple[Tensor, Tensor]:
        """Norm of one gradient, and its cosine with the rest of the sum."""
        pairs = [(g, t) for g, t in zip(own, totals, strict=True) if g is not None and t is not None]
        norm = global_norm(tensor_norms([g for g, _ in pairs], self._device))
        products, rests = [], []
        for gradient, total in pairs:
            rest = total - gradient
            products.append(_dot(gradient, rest).to(norm))
            rests.append(tensor_norms([rest], self._device)[0])
        cosine = torch.stack(products).sum() / (norm * global_norm(torch.stack(rests)))
        return norm, cosine if len(self._found) > 1 else torch.full_like(norm, torch.nan)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    """Inner product of two tensors' entries, in double precision."""
    product: Tensor = (torch.view_as_real(one) * torch.view_as_real(other)) if one.is_complex() else one * other
    return product.sum(dtype=torch.float64 if one.device.type != "mps" else None)


def _copy(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.detach().clone()
