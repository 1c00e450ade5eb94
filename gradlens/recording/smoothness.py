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
from contextlib import AbstractContextManager, contextmanager, nullcontext
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


class HalfPrecisionError(RuntimeError):
    """The loss is computed in half precision although the weights are not: its gradients measure rounding."""


class SameBatchProbe:
    """Evaluates the gradient of one step's loss at both ends of the step.

    Both ends are evaluated afresh, whatever the training did to its own gradients in between (a clip, accumulation, a
    scale), in the precision of the weights: an autocast around the loss is left out, one inside ``compute`` is refused.
    Costs two forward and backward passes a probe, and a third on every 16th, which repeats the first. Gradients,
    buffers and random states are those of before afterwards; other side effects of ``compute`` (a counter of its own,
    say) happen again.

    Memory: two more copies of the gradients while the probe runs, nothing between probes.

    Args:
        model: its buffers are shielded from each evaluation.
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
        self._start: Gradients = []

    def remember(self, call: Callable[[], Any]) -> None:
        """Note how to evaluate this step's loss again, and the random states before it is evaluated first."""
        self._call = call
        self._random = random_state.capture(self._devices)

    def forget(self) -> None:
        """Let go of the step: inputs, gradients, random states."""
        self._call = self._random = None
        self._start = []

    @property
    def armed(self) -> bool:
        """Whether a loss of this step can be evaluated again."""
        return self._call is not None

    def before_update(self) -> Tensor | None:
        """Evaluate the gradient at theta_t.

        Returns:
            On the first and every 16th probe, the norm of the difference to a repeat of it, a 0-d tensor; else None.
        """
        self._start = self._gradients()
        self._probes += 1
        if (self._probes - 1) % NOISE_EVERY:
            return None
        return self._difference(self._gradients(), self._start)

    def after_update(self) -> Tensor:
        """Norm of the change of the gradient over the step, a 0-d tensor."""
        change = self._difference(self._gradients(), self._start)
        self._start = []
        return change

    def _difference(self, one: Gradients, other: Gradients) -> Tensor:
        pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None or b is not None]
        return global_norm(tensor_norms([_subtract(a, b) for a, b in pairs], self._device))

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
                _autocast_left_out(self._device),
                _buffers_shielded(self._model),
                _half_precision_refused(needed),
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


def _autocast_left_out(device: torch.device) -> AbstractContextManager[object]:
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


@contextmanager
def _buffers_shielded(model: nn.Module) -> Iterator[None]:
    """Let the model write to copies of its buffers (BatchNorm's running statistics among them).

    The buffers themselves are not written to, not even with what they held: a graph that is still waiting for its
    backward may have saved one, and autograd refuses a saved tensor that was written to since.
    """
    places = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    copies = {id(buffer): buffer.detach().clone() for _, _, buffer in places}  # one that two modules share stays shared
    try:
        for module, name, buffer in places:
            module._buffers[name] = copies[id(buffer)]
        yield
    finally:
        for module, name, buffer in places:
            module._buffers[name] = buffer


@contextmanager
def _half_precision_refused(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Look at every tensor that autograd keeps for the backward pass; only dtypes are looked at, no value.

    Raises:
        HalfPrecisionError: if one is in half precision and no parameter is.
    """
    half = (torch.float16, torch.bfloat16)
    if any(parameter.dtype in half for parameter in parameters):
        yield
        return
    seen = False

    def pack(tensor: Tensor) -> Tensor:
        nonlocal seen
        seen = seen or tensor.dtype in half
        return tensor.detach()  # the tensor itself would hold its own graph alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield
    if seen:
        raise HalfPrecisionError("autocast is switched on inside compute; put it around recorder.loss instead")
