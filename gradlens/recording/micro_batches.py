r"""The micro-batches of a step: measured one by one, and clipped one by one before they are added up.

A micro-batch is what ``backward`` leaves between two calls of ``recorder.loss``. With n_j the norm of what the j-th
leaves, the min rule applies :math:`\rho \sum_j g_j / n_j` with :math:`\rho = \min_j n_j`. That takes one pass: unit
gradients are added up while the smallest norm is tracked, so that one buffer beside the gradients will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.clipping import ClipRule
from gradlens.recording.norms import global_norm, tensor_norms
from gradlens.recording.replayed_loss import Gradients
from gradlens.recording.scaling import scale_gradients

TABLE = ("loss", "grad_norm", "scale", "cosine", "clip_coef")
"""What is measured of a micro-batch."""


class _Sum:
    """A running sum of gradients, one tensor for each parameter that had one."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters = parameters
        self.tensors: Gradients = [None] * len(parameters)

    def add(self, gradients: Gradients) -> None:
        for index, gradient in enumerate(gradients):
            if gradient is not None:
                own = self.tensors[index]
                self.tensors[index] = gradient.detach().clone() if own is None else own.add_(gradient)

    def present(self) -> list[Tensor]:
        return [tensor for tensor in self.tensors if tensor is not None]


class MicroBatchClip:
    """A rule on micro-batches at work on one training.

    After each backward pass ``.grad`` is what would be applied if the step came now; the next ``recorder.loss`` puts it
    aside, so that the next pass leaves its own gradient alone. Nothing is read by the host on an accelerator.

    Memory: one copy of the gradients from a step's first backward pass to its update; a second one under
    ``match_step``, and in steps where the norm of the plain gradient is wanted.

    Args:
        rule: ``micro_batch()``, ``per_sample(max_norm)`` or ``match_step`` of one of them.
        parameters: those the optimizers step.
        device: where norms go.

    Attributes:
        plain_norms: (parameters,) norms of the plain gradient so far, NaN where there is none; None if not wanted.
        rho: the smallest norm so far of what a backward pass has left, a 0-d tensor.
    """

    def __init__(self, rule: ClipRule, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self._matches = rule.name == "match_step"
        self._rule = rule.parts[0] if self._matches else rule
        self._next, self._device = parameters, device
        self.forget()

    def forget(self) -> None:
        """The step is over, or was given up."""
        self._parameters = self._next
        self._clipped: _Sum | None = None
        self._plain: _Sum | None = None
        self._norms: list[Tensor] = []
        self._factors: list[Tensor] = []
        self._aside = True
        self.rho: Tensor | None = None

    def follow(self, parameters: Sequence[nn.Parameter]) -> None:
        """The optimizers have these parameters from now on; a step that is under way goes on with its own."""
        self._next = parameters

    @property
    def active(self) -> bool:
        """Whether a micro-batch of this step was clipped."""
        return bool(self._norms)

    @property
    def norms(self) -> Tensor:
        """(micro-batches,) norms of what each backward pass has left."""
        return torch.stack(self._norms)

    @property
    def coefficients(self) -> Tensor:
        """(micro-batches,) factor on each gradient."""
        if self._rule.name == "per_sample" or self.rho is None:
            return torch.stack(self._factors)
        return torch.where(torch.isfinite(self.norms) & (self.norms > self.rho), self.rho / self.norms, 1.0)

    @property
    def plain_norms(self) -> Tensor | None:
        """See the class."""
        if self._plain is None:
            return None
        there = [tensor is not None for tensor in self._plain.tensors]
        norms = iter(tensor_norms(self._plain.present(), self._device).unbind())
        missing = torch.full((), torch.nan, dtype=self.norms.dtype, device=self._device)
        return torch.stack([next(norms) if present else missing for present in there])

    def loss_begins(self) -> None:
        """Before the next micro-batch's loss: put what is there aside."""
        if self._clipped is None:
            return
        if all(parameter.grad is None for parameter in self._parameters):
            self.forget()  # zero_grad came without a step
            return
        for parameter in self._parameters:
            parameter.grad = None
        self._aside = True

    def backward_ended(self, weight: Tensor, *, plain: bool) -> Gradients:
        """Add the micro-batch's gradient to what is applied.

        Args:
            weight: what backward multiplied its loss by.
            plain: whether the norm of the unclipped gradient is wanted.

        Returns:
            A copy of the micro-batch's own gradient where ``plain``; nothing otherwise.

        Raises:
            RuntimeError: if a second backward pass has added to the gradient of one micro-batch.
        """
        if not self._aside:
            raise RuntimeError(
                "two backward passes in one micro-batch, whose gradients cannot be told apart; compute each loss by "
                "recorder.loss, and call backward once on it."
            )
        self._aside = False
        if self._clipped is None:
            self._clipped = _Sum(self._parameters)
            self._plain = _Sum(self._parameters) if plain or self._matches else None
        gradients = [_dense(parameter) for parameter in self._parameters]
        present = [gradient for gradient in gradients if gradient is not None]
        norm = global_norm(tensor_norms(present, self._device))
        if self._plain is not None:
            self._plain.add(gradients)
        own = [None if gradient is None else gradient.detach().clone() for gradient in gradients] if plain else []
        self._norms.append(norm)
        scale_gradients(present, self._factor(norm, weight))
        self._clipped.add(gradients)
        self._apply(gradients)
        return own

    def _factor(self, norm: Tensor, weight: Tensor) -> Tensor:
        """By what the gradient enters the sum, a 0-d tensor."""
        finite = torch.isfinite(norm)
        if self._rule.name == "per_sample":
            threshold = self._rule.parameters["max_norm"] * weight.to(norm)
            self._factors.append(torch.where(finite & (norm > threshold), threshold / norm, 1.0))
            return self._factors[-1]
        infinite = torch.full_like(norm, torch.inf)
        self.rho = torch.minimum(infinite if self.rho is None else self.rho, torch.where(finite, norm, torch.inf))
        return torch.where(finite & (norm > 0), 1.0 / norm, 1.0)

    def _apply(self, gradients: Gradients) -> None:
        """Let ``.grad`` be what would be applied now; the memory of the micro-batch's gradient serves for it."""
        if self._clipped is None:
            return
        factor = torch.ones((), dtype=self._norms[0].dtype, device=self._device) if self.rho is None else self.rho
        source = self._clipped
        if self._matches and self._plain is not None:
            after = global_norm(tensor_norms(self._clipped.present(), self._device)) * factor
            before = global_norm(tensor_norms(self._plain.present(), self._device))
            factor = torch.where(torch.isfinite(before) & (before > 0), after / before, 1.0)
            source = self._plain
        for parameter, gradient, total in zip(self._parameters, gradients, source.tensors, strict=True):
            if total is not None:
                parameter.grad = total.clone() if gradient is None else gradient.copy_(total)
        scale_gradients([p.grad for p in self._parameters if p.grad is not None], factor)


def _dense(parameter: nn.Parameter) -> Tensor | None:
    gradient = parameter.grad
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient


@dataclass(slots=True)
class _MicroBatch:
    loss: Tensor
    samples: int | None
    domain: str | None
    weight: Tensor | None = None
    total: Gradients | None = None
    own: Gradients | None = None


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

    def loss_noted(self, loss: Tensor, samples: int | None, domain: str | None) -> None:
        """A micro-batch's loss was evaluated, undivided."""
        self._found.append(_MicroBatch(loss.detach().reshape(()).clone(), samples, domain))

    def backward_ended(self, weight: Tensor, own: Gradients | None) -> None:
        """A backward pass has added to the gradients.

        Args:
            weight: what it multiplied the loss by.
            own: the micro-batch's gradient, where a clip has told it apart.
        """
        if not self._found:
            return
        now = self._found[-1]
        now.weight = weight.detach().clone()
        if own is not None:
            now.own = own
        else:
            now.total = [None if g is None else g.clone() for g in map(_dense, self._parameters)]

    def measure(self, scale: Tensor | float, coefficients: Tensor | None) -> dict[str, Any]:
        """The columns of the step's micro-batches: (K,) tensors, and lists of ``samples`` and ``domain``.

        Args:
            scale: what all losses were multiplied by.
            coefficients: (K,) factors of a clip; None without one.
        """
        found = [each for each in self._found if each.weight is not None]
        if not found:
            return {}
        totals = self._added(found)
        pairs = [self._against(self._own(found, index), totals) for index in range(len(found))]
        norms, cosines = zip(*pairs, strict=True)
        weights = torch.stack([each.weight.to(norms[0]) / scale for each in found if each.weight is not None])
        table = {
            "loss": torch.stack([each.loss.to(norms[0]) for each in found]),
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
        total = _Sum(self._parameters)
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
