r"""The micro-batches of a step, clipped one by one before they are added up.

A micro-batch is what a backward pass leaves. With w_j what its loss was multiplied by, w_j g_j is what it leaves and
n_j = ||g_j||; the min rule applies :math:`\sum_j w_j (\rho / n_j) g_j` with :math:`\rho = \min_j n_j`. That takes one
pass: the sum is kept in terms of the smallest norm so far, and made smaller when a smaller one comes. One buffer beside
the gradients will do, no factor exceeds 1, and what is not clipped keeps every bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradlens.clipping import ClipRule
from gradlens.recording.gradient_sum import GradientSum, plain_gradient
from gradlens.recording.norms import global_norm, tensor_norms
from gradlens.recording.replayed_loss import Gradients
from gradlens.recording.scaling import scale_gradients
from gradlens.recording.step_row import Evaluated


class MicroBatchClip:
    """A rule on micro-batches at work on one training.

    After each backward pass ``.grad`` is what would be applied if the step came now. The next pass puts it aside when
    it comes to a loss of ``recorder.loss``, so that it leaves its own gradient alone. Nothing is read by the host on an
    accelerator.

    Memory: one copy of the gradients from a step's first backward pass to its update; a second one under
    ``match_step``, and in steps where the norm of the plain gradient is wanted.

    Args:
        rule: ``micro_batch()``, ``per_sample(max_norm)`` or ``match_step`` of one of them.
        parameters: those the optimizers step.
        device: where norms go.

    Attributes:
        rho: the smallest norm of a micro-batch's gradient so far, a 0-d tensor; None under ``per_sample``.
    """

    def __init__(self, rule: ClipRule, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self._matches = rule.name == "match_step"
        self._rule = rule.parts[0] if self._matches else rule
        self._next, self._device = parameters, device
        self.forget()

    def forget(self) -> None:
        """The step is over, or was given up."""
        self._parameters = self._next
        self._clipped: GradientSum | None = None
        self._plain: GradientSum | None = None
        self._norms: list[Tensor] = []
        self._factors: list[Tensor] = []
        self._left: list[tuple[Tensor | None, int]] = []
        self._aside = False
        self._match: Tensor | None = None
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
        """(micro-batches,) norm of the gradient of each one's own loss, undivided and unscaled."""
        return torch.stack(self._norms)

    @property
    def coefficients(self) -> Tensor:
        """(micro-batches,) factor on each gradient."""
        if self.rho is None:
            return torch.stack(self._factors)
        return torch.where(torch.isfinite(self.norms) & (self.norms > self.rho), self.rho / self.norms, 1.0)

    @property
    def plain_norms(self) -> Tensor | None:
        """(parameters,) norms of the plain gradient so far, NaN where there is none; None if not wanted."""
        if self._plain is None:
            return None
        there = [tensor is not None for tensor in self._plain.tensors]
        norms = iter(tensor_norms(self._plain.present(), self._device).unbind())
        missing = torch.full((), torch.nan, dtype=self.norms.dtype, device=self._device)
        return torch.stack([next(norms) if present else missing for present in there])

    def loss_begins(self) -> None:
        """Before a loss is evaluated: see whether the step that is under way was given up.

        Raises:
            RuntimeError: if something has written to the gradient since, which would be lost.
        """
        if self._clipped is None:
            return
        self.put_back()
        now = [parameter.grad for parameter in self._parameters]
        if all(gradient is None for gradient in now):
            self.forget()  # zero_grad came without a step
            return
        if not any(map(_written, now, self._left)):
            return
        if self._device.type == "cpu" and not any(gradient.any() for gradient in now if gradient is not None):
            self.forget()  # zero_grad(set_to_none=False), the same
            return
        raise RuntimeError(
            "the gradient that clipped micro-batches have left was written to before the next one's loss, by a clip of "
            "your own, a backward pass outside recorder.loss, or zero_grad(set_to_none=False) on an accelerator, and "
            "would be lost; put every loss of a micro-batch through recorder.loss, clip after the last one, and give "
            "a step up with zero_grad(set_to_none=True)."
        )

    @torch.no_grad()
    def pass_begins(self) -> None:
        """A backward pass has come to a loss: put aside what the micro-batches before it have left."""
        if self._clipped is None or self._aside:
            return
        self._aside = True
        all_left, self._left = self._left, []  # which would keep the gradients
        for index, (parameter, left) in enumerate(zip(self._parameters, all_left, strict=True)):
            gradient, parameter.grad = parameter.grad, None
            if gradient is not None and _written(gradient, left):
                # Beside the loss the pass has another term, and has been to this parameter by now.
                value, now = self._value(index), gradient.to_dense() if gradient.is_sparse else gradient
                parameter.grad = now if value is None else now - value

    @torch.no_grad()
    def put_back(self) -> None:
        """Let ``.grad`` be what would be applied, after a backward pass that did not come to its end."""
        if self._aside:
            self._apply()

    def pass_ended(self, weight: Tensor, notes: Sequence[Evaluated], *, plain: bool) -> Gradients:
        """Add the micro-batch's gradient to what is applied.

        Args:
            weight: what backward multiplied its loss by, w_j.
            notes: of the losses that the pass went through.
            plain: whether the norm of the unclipped gradient is wanted.

        Returns:
            A copy of the micro-batch's own gradient where ``plain``; nothing otherwise.

        Raises:
            RuntimeError: if a pass before has gone through one of the losses.
        """
        gradients = [plain_gradient(parameter) for parameter in self._parameters]
        present = [gradient for gradient in gradients if gradient is not None]
        if not present:  # of torch.autograd.grad, say, which leaves none
            self.put_back()
            return []
        if any(note.clipped for note in notes):
            raise RuntimeError(
                "two backward passes in one micro-batch, whose gradients cannot be told apart; compute each loss by "
                "recorder.loss, and call backward once on it."
            )
        for note in notes:
            note.clipped = True
        if self._clipped is None:
            self._clipped = GradientSum(self._parameters)
            self._plain = GradientSum(self._parameters) if plain or self._matches else None
        self._norms.append(global_norm(tensor_norms(present, self._device)) / weight.to(self._device).abs())
        if self._plain is not None:
            self._plain.add(gradients)
        own = [None if gradient is None else gradient.detach().clone() for gradient in gradients] if plain else []
        factor = self._factor(self._clipped)
        scale_gradients(present, factor)
        self._clipped.add(gradients)
        self._apply()
        return own

    def _factor(self, total: GradientSum) -> Tensor:
        """By what the last gradient enters the sum, a 0-d tensor at most 1; a smaller norm makes the sum smaller."""
        norm = self._norms[-1]
        finite = torch.isfinite(norm)
        if self._rule.name == "per_sample":
            threshold = self._rule.parameters["max_norm"]
            self._factors.append(torch.where(finite & (norm > threshold), threshold / norm, 1.0))
            return self._factors[-1]
        before = torch.full_like(norm, torch.inf) if self.rho is None else self.rho
        self.rho = torch.minimum(before, torch.where(finite, norm, torch.inf))
        if len(self._norms) > 1:
            scale_gradients(total.present(), torch.where(torch.isfinite(before) & (before > 0), self.rho / before, 1.0))
        return torch.where(finite & (norm > self.rho), self.rho / norm, 1.0)

    def _apply(self) -> None:
        """Let ``.grad`` be what would be applied now; the memory of the micro-batch's gradient serves for it."""
        total = self._plain if self._matches else self._clipped
        if total is None or self._clipped is None:
            return
        if self._matches:
            after = global_norm(tensor_norms(self._clipped.present(), self._device))
            before = global_norm(tensor_norms(total.present(), self._device))
            self._match = torch.where(torch.isfinite(before) & (before > 0), after / before, 1.0)
        for index, parameter in enumerate(self._parameters):
            gradient = parameter.grad
            if gradient is None or gradient.is_sparse:
                value = self._value(index)
                sparse = gradient is not None and value is not None
                parameter.grad = value.to_sparse(gradient.sparse_dim()) if sparse else value  # type: ignore[union-attr]
            else:
                value = total.tensors[index]
                if value is not None:
                    gradient.copy_(value)
                    self._scale_to_match([gradient])
        self._aside = False
        self._left = [(p.grad, -1 if p.grad is None else p.grad._version) for p in self._parameters]

    def _value(self, index: int) -> Tensor | None:
        """What the optimizer would take for one parameter, a copy."""
        total = self._plain if self._matches else self._clipped
        value = None if total is None else total.tensors[index]
        if value is None:
            return None
        value = value.clone()
        self._scale_to_match([value])
        return value

    def _scale_to_match(self, gradients: list[Tensor]) -> None:
        if self._match is not None:
            scale_gradients(gradients, self._match)


def _written(now: Tensor | None, left: tuple[Tensor | None, int]) -> bool:
    """Whether a gradient is another one than was left, or has been written to."""
    return now is not left[0] or (now is not None and now._version != left[1])
