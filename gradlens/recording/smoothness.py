r"""Local smoothness along a step, on the step's own batch.

.. math:: L_t = \frac{\lVert \nabla f(\theta_{t+1}; X_t) - \nabla f(\theta_t; X_t) \rVert}
                     {\lVert \theta_{t+1} - \theta_t \rVert}

with the same batch and the same random numbers at both ends, unclipped. On a quadratic with Hessian H it lies between
the smallest and the largest eigenvalue of H.

Reference: Zhang, He, Sra and Jadbabaie, "Why gradient clipping accelerates training: A theoretical justification for
adaptivity", ICLR 2020, arXiv 1905.11881.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.recording import random_state
from gradlens.recording.norms import global_norm, tensor_norms

NOISE_EVERY = 16
"""Every how many probes the gradient is repeated at theta_t, to measure the noise floor."""

Gradients = list[Tensor | None]


def first(result: Any) -> Tensor:
    """The loss among what a user's ``compute`` returned: itself, or the first item of a tuple.

    Raises:
        TypeError: if that is not a tensor with one element.

    >>> first((torch.tensor(2.0), "logits")).item()
    2.0
    """
    loss = result[0] if isinstance(result, tuple) and result else result
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(
            f"compute must return the loss, or a tuple that begins with it: a tensor with one element; got {got}."
        )
    return loss


class SameBatchProbe:
    """Evaluates the gradient of one step's loss again, at the step's other end.

    Costs one forward and backward pass a probe, and a second one on every 16th for the noise floor. Both run in the
    precision of the weights, outside any autocast that the training uses. Gradients, buffers and random states are put
    back exactly; other side effects of ``compute`` (a counter of its own, say) happen once more.

    Memory: two more copies of the gradients while the probe runs, nothing between probes.

    Args:
        model: its buffers are put back after each evaluation.
        parameters: those the optimizer steps.
        device: where results go.
    """

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self._model = model
        self._parameters = parameters
        self._device = device
        self._devices = {parameter.device for parameter in parameters}
        self._probes = 0
        self._call: Callable[[], Any] | None = None
        self._random: random_state.RandomState | None = None
        self._autocast = False
        self._start: Gradients = []

    def remember(self, call: Callable[[], Any]) -> None:
        """Note how to evaluate this step's loss again, and the random states before it is evaluated first."""
        self._call = call
        self._random = random_state.capture(self._devices)
        self._autocast = torch.is_autocast_enabled(self._device.type) if self._device.type != "meta" else False

    def forget(self) -> None:
        """Let go of the step: inputs, gradients, random states."""
        self._call = self._random = None
        self._start = []

    @property
    def armed(self) -> bool:
        """Whether a loss of this step can be evaluated again."""
        return self._call is not None

    def before_update(self) -> Tensor | None:
        """Keep the gradient at theta_t, before any clip.

        Returns:
            On the first and every 16th probe, the norm of the difference between the gradient that ``backward`` left
            and a repeat of it, a 0-d tensor; else None.
        """
        left: Gradients = [None if p.grad is None else p.grad.detach().clone() for p in self._parameters]
        self._start = left
        noise_due = self._probes % NOISE_EVERY == 0
        self._probes += 1
        if self._autocast:
            # The gradient that backward left carries half precision's rounding; both ends must be measured alike.
            self._start = self._gradients()
            left = self._gradients() if noise_due else left
        elif noise_due:
            return self._difference(self._gradients(), left)
        return self._difference(self._start, left) if noise_due else None

    def after_update(self) -> Tensor:
        """Norm of the change of the gradient over the step, a 0-d tensor."""
        change = self._difference(self._gradients(), self._start)
        self._start = []
        return change

    def _difference(self, one: Gradients, other: Gradients) -> Tensor:
        pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None or b is not None]
        changes = [_subtract(a, b) for a, b in pairs]
        return global_norm(tensor_norms(changes, self._device))

    def _gradients(self) -> Gradients:
        """The gradient of the remembered loss at the parameters' present values."""
        if self._call is None or self._random is None:
            raise RuntimeError("no loss was remembered for this step")
        now = random_state.capture(self._devices)
        needed = [parameter for parameter in self._parameters if parameter.requires_grad]
        try:
            random_state.restore(self._random)
            with (
                torch.enable_grad(),
                torch.autocast(self._device.type, enabled=False),
                _buffers_put_back(self._model),
            ):
                found = torch.autograd.grad(first(self._call()), needed, allow_unused=True)
        finally:
            random_state.restore(now)
        gradients = iter(found)
        return [next(gradients) if parameter.requires_grad else None for parameter in self._parameters]


def _subtract(one: Tensor | None, other: Tensor | None) -> Tensor:
    if one is None or other is None:  # a parameter that only one of the two evaluations reached
        present = one if one is not None else other
        if present is None:
            raise ValueError("a difference needs at least one gradient")
        return present
    return one - other


@contextmanager
def _buffers_put_back(model: nn.Module) -> Iterator[None]:
    """Leave every buffer (BatchNorm's running statistics among them) as it was, object and content."""
    saved = [
        (module, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, content in saved:
                buffer.copy_(content)
                module._buffers[name] = buffer
