"""One step's loss, evaluated again at the parameters' present values, leaving nothing behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.recording import random_state
from gradlens.recording.attributes import attributes_put_back
from gradlens.recording.norms import global_norm, tensor_norms

Gradients = list[Tensor | None]
"""One tensor for each parameter; None where the loss does not reach it, or it is frozen."""


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


_replaying = threading.local()


def replaying() -> bool:
    """Whether a probe evaluates a loss again at this moment; another recorder's loss inside it is no step."""
    return bool(getattr(_replaying, "depth", 0))


class HalfPrecisionError(RuntimeError):
    """The loss is computed in half precision although the weights are not: its gradients measure rounding."""


class UnrepeatableError(RuntimeError):
    """The loss draws from a random state that cannot be put back: to evaluate it again would change the training."""


class ReplayedLoss:
    """Evaluates one step's loss again, as often as asked, wherever the parameters then are.

    Every evaluation begins with the random states and the train or eval modes of the step's own, in the precision of
    the weights: an autocast around the loss is left out, one inside ``compute`` is refused. Afterwards, also after an
    exception, random states, modes, buffers, plain attributes of modules (a recurrent state, say) and ``.grad`` are
    what they were before it. Side effects of ``compute`` elsewhere happen again. Nothing is read by the host.

    What buffers hold when an evaluation begins is what they hold now; a step's first evaluation may have begun with
    other values (of a recurrent state, say). All evaluations of one step begin with the same.

    Memory: between evaluations the step's inputs, and nothing else. An evaluation costs its graph, one copy of the
    buffers, and what it returns.

    Args:
        model: its buffers, modes and gradients are shielded from each evaluation.
        parameters: those to differentiate by.
        device: where results of probes go; its autocast is the one left out.

    >>> theta = nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> replay = ReplayedLoss(nn.Module(), [theta], torch.device("cpu"))
    >>> replay.remember(lambda: (theta**3).sum())
    >>> loss, (gradient,) = replay.loss_and_gradients()
    >>> (product,) = replay.hessian_product([torch.tensor([1.0, 1.0])])
    >>> loss.item(), gradient.tolist(), product.tolist(), theta.grad
    (9.0, [3.0, 12.0], [6.0, 12.0], None)
    """

    def __init__(self, model: nn.Module, parameters: Sequence[nn.Parameter], device: torch.device) -> None:
        self.parameters = parameters
        self.device = device
        self._model = model
        self.devices = {parameter.device for parameter in parameters}
        self._call: Callable[[], Any] | None = None
        self._random: random_state.RandomState | None = None
        self._modes: list[tuple[nn.Module, bool]] = []

    def remember(self, call: Callable[[], Any]) -> None:
        """Note how to evaluate this step's loss again, and the random states and modes before it is evaluated first."""
        self._call = call
        self._random = random_state.capture(self.devices)
        self._modes = modes_of(self._model)

    def forget(self) -> None:
        """Let go of the step: inputs, random states."""
        self._call = self._random = None
        self._modes = []

    @property
    def armed(self) -> bool:
        """Whether a loss of this step can be evaluated again."""
        return self._call is not None

    def gradients(self) -> Gradients:
        """The gradient of the remembered loss; errors and cost as :meth:`loss_and_gradients`."""
        return self.loss_and_gradients()[1]

    def loss_and_gradients(self) -> tuple[Tensor, Gradients]:
        """The remembered loss and its gradient: one forward and one backward pass.

        Returns:
            The loss, detached, of ``compute``'s own shape and dtype; the gradient, not to be written to, since autograd
            may hand out tensors that others hold too.

        Raises:
            RuntimeError: if no loss was remembered.
            UnrepeatableError: if the model draws cuDNN's own dropout.
            HalfPrecisionError: if ``compute`` works in half precision although the weights are not.
            TypeError: if ``compute`` returns no loss. Whatever it raises comes through.
        """
        with self._as_in_the_step() as (call, needed):
            loss = first(call())
            found = torch.autograd.grad(loss, needed, allow_unused=True)
        return loss.detach(), self._spread(found)

    def hessian_product(self, direction: Sequence[Tensor | None]) -> Gradients:
        r"""The Hessian of the remembered loss times a vector, :math:`H v`, by differentiating the gradient along it.

        A forward pass and two backward passes, the second through the first: about twice the time and the graph's
        memory of a gradient, and two more copies of the gradients. Hooks on parameters act on the gradient, and once
        more on the product.

        Args:
            direction: one tensor for each parameter, of its shape and dtype; None is zero.

        Returns:
            The product; None where it is zero because the gradient does not depend on that parameter.

        Raises:
            RuntimeError: if an operation has no second derivative: recurrent layers of cuDNN, fused attention, what
                ``torch.compile`` made, a function of one's own that is differentiable once; else as
                :meth:`loss_and_gradients`.
        """
        with self._as_in_the_step() as (call, needed):
            along = [v for v, parameter in zip(direction, self.parameters, strict=True) if parameter.requires_grad]
            loss = first(call())
            # Every gradient is linear in the seed. What autograd lost track of on its way, where a backward pass cannot
            # be differentiated, would silently count as a constant: with a seed to follow it is refused instead.
            seed = torch.ones_like(loss, requires_grad=True)
            gradients = torch.autograd.grad(loss, needed, grad_outputs=seed, allow_unused=True, create_graph=True)
            if not all(gradient is None or gradient.requires_grad for gradient in gradients) or _once(gradients):
                raise RuntimeError(
                    "the gradient of this loss cannot be differentiated: an operation of it hides its own"
                )
            pairs = [(g, v) for g, v in zip(gradients, along, strict=True) if g is not None and v is not None]
            if not pairs:
                return [None] * len(self.parameters)
            outputs, vectors = zip(*pairs, strict=True)
            found = torch.autograd.grad(outputs, needed, grad_outputs=vectors, allow_unused=True)
        return self._spread(found)

    @contextmanager
    def _as_in_the_step(self) -> Iterator[tuple[Callable[[], Any], list[nn.Parameter]]]:
        """All that a repeated evaluation must find and must not disturb; backward passes belong inside.

        A backward pass may run the forward pass once more (activation checkpointing), with all its side effects.
        """
        if self._call is None or self._random is None:
            raise RuntimeError("no loss was remembered for this step")
        if any(device.type == "cuda" for device in self.devices):
            _cudnn_dropout_refused(self._modes)
        needed = [parameter for parameter in self.parameters if parameter.requires_grad]
        now = random_state.capture(self.devices)
        _replaying.depth = getattr(_replaying, "depth", 0) + 1
        try:
            random_state.restore(self._random)
            with (
                torch.enable_grad(),
                _autocast_left_out(self.device),
                modes_shielded(self._model, self._modes),
                gradients_shielded([*self._model.parameters(), *self.parameters]),
                buffers_shielded(self._model),
                attributes_put_back(self._model),
                _half_precision_refused(needed),
            ):
                yield self._call, needed
        finally:
            _replaying.depth -= 1
            random_state.restore(now)

    def _spread(self, found: Iterable[Tensor | None]) -> Gradients:
        gradients = iter(found)
        return [next(gradients) if parameter.requires_grad else None for parameter in self.parameters]


def distance(one: Gradients, other: Gradients, device: torch.device) -> Tensor:
    """L2 norm of the difference of two gradients, a 0-d tensor; a parameter that only one of them reached counts whole.

    Memory: one more copy of the gradients meanwhile.

    >>> distance([torch.tensor([3.0]), None], [None, torch.tensor([4.0])], torch.device("cpu")).item()
    5.0
    """
    differences = [_subtract(a, b) for a, b in zip(one, other, strict=True)]
    return global_norm(tensor_norms([tensor for tensor in differences if tensor is not None], device))


def _subtract(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return one if one is not None else other
    return one - other


def _once(gradients: Sequence[Tensor | None]) -> bool:
    """Whether something in the graph of a gradient is marked ``once_differentiable``.

    Its mark is a node that raises when it is reached, but nothing leads from there to the parameters, so that
    ``torch.autograd.grad`` passes it by.
    """
    waiting = [gradient.grad_fn for gradient in gradients if gradient is not None]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node.name().endswith("Error"):
            return True
        seen.add(node)
        waiting.extend(following for following, _ in node.next_functions)
    return False


@contextmanager
def parameters_put_back(parameters: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Let what is inside write to ``parameter.data``; afterwards every bit is as before, also after an exception.

    Values are written in place, so that whatever shares the memory (tied or flattened weights, a captured graph) moves
    along. They are written through ``.data``, which leaves the parameter's version alone: a graph that still waits for
    its backward may have saved the parameter, and autograd would refuse it although the very values it saved are back
    by then. Code that caches something by ``parameter._version`` does not see the move.

    Memory: one copy of the parameters.

    Args:
        parameters: those that will be written to.

    Yields:
        The copies, not to be written to.

    >>> theta = nn.Parameter(torch.ones(1))
    >>> with parameters_put_back([theta]) as (home,):
    ...     theta.data.add_(home)
    tensor([2.])
    >>> theta.data, theta._version
    (tensor([1.]), 0)
    """
    home = [parameter.detach().clone() for parameter in parameters]
    try:
        yield home
    finally:
        torch._foreach_copy_([parameter.data for parameter in parameters], home)


def _autocast_left_out(device: torch.device) -> AbstractContextManager[object]:
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def modes_of(model: nn.Module) -> list[tuple[nn.Module, bool]]:
    """The mode, train or eval, of each module."""
    return [(module, module.training) for module in model.modules()]


def _set_modes(modes: Sequence[tuple[nn.Module, bool]]) -> None:
    for module, training in modes:
        if module.training != training:  # not by train(), which a module may have overridden, and which recurses
            module.training = training


@contextmanager
def modes_shielded(model: nn.Module, modes: Sequence[tuple[nn.Module, bool]]) -> Iterator[None]:
    """Set modes, and put back those of now."""
    now = modes_of(model)
    try:
        _set_modes(modes)
        yield
    finally:
        _set_modes(now)


@contextmanager
def gradients_shielded(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Put ``.grad`` aside: a ``compute`` that runs a backward pass of its own would add to it."""
    aside = {parameter: parameter.grad for parameter in parameters}
    try:
        for parameter in aside:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in aside.items():
            parameter.grad = gradient


@contextmanager
def buffers_shielded(model: nn.Module) -> Iterator[None]:
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


def _cudnn_dropout_refused(modes: Sequence[tuple[nn.Module, bool]]) -> None:
    """Look for recurrent layers whose dropout is cuDNN's, before any random state is touched.

    Its random state is none of torch's generators: nothing reads it, and to set a generator of the card seeds it anew.

    Raises:
        UnrepeatableError: if one of them is in training mode.
    """
    if torch.backends.cudnn.enabled and any(
        training and isinstance(module, nn.RNNBase) and module.num_layers > 1 and module.dropout > 0
        for module, training in modes
    ):
        raise UnrepeatableError(
            "the dropout between the layers of an nn.LSTM, nn.GRU or nn.RNN is cuDNN's, whose random state cannot be "
            "put back; stack one-layer modules with nn.Dropout between them instead"
        )


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
        return tensor.detach()  # the tensor itself would hold its own graph alive; autograd knows its place in it

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield
    if seen:
        raise HalfPrecisionError("autocast is switched on inside compute; put it around recorder.loss instead")
