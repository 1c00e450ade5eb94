r"""The gradient of each sample's own loss, all samples at once where that can be.

.. math:: g_i = \nabla_\theta f(\theta; \{x_i\}), \qquad i = 1, \dots, B

for a loss f that is a mean over its batch: the mean of the :math:`g_i` is then the gradient of the batch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from gradlens.recording import random_state
from gradlens.recording.attributes import attributes_put_back
from gradlens.recording.replayed_loss import (
    buffers_shielded,
    first,
    gradients_shielded,
    modes_of,
    modes_shielded,
    parameters_put_back,
)


def per_sample_gradients(
    model: nn.Module,
    compute: Callable[..., Any],
    /,
    *inputs: Any,
    parameters: Iterable[str] | None = None,
    **named_inputs: Any,
) -> dict[str, Tensor]:
    """The gradient of each sample's own loss.

    ``compute`` is evaluated for batches of one sample: for all of them in one pass (``torch.func.vmap``), or, where its
    code cannot be vectorised, one after another, with the same result. The second is the case with control flow that
    depends on values, sparse embeddings, a custom autograd function without its rules for ``torch.func``, recurrent
    layers that make their own initial state, buffers written to, and weights that ``compute`` does not reach through
    ``model``. ``compute`` may be called once more before that shows.

    Afterwards weights, ``.grad``, buffers, plain attributes of modules, random states and modes are what they were
    before. Dropout, and whatever else draws from torch's generators, draws anew for each sample: every sample has a
    mask of its own, and not the one that it had in training. What is drawn from Python's or NumPy's is drawn once in
    one pass.

    Memory: B gradients, and in one pass also the graph of the whole batch. For a large model give fewer samples or some
    of the parameters.

    Args:
        model: its parameters are differentiated by.
        compute: as for ``recorder.loss``: returns the loss, a mean over the batch, or a tuple that begins with it.
        inputs: passed on to ``compute``, B samples in the first dimension of every tensor; 0-d tensors and other values
            go to all samples as they are. Lists, tuples and dicts may hold tensors.
        parameters: names of those to differentiate by; None for all that require a gradient.
        named_inputs: passed on to ``compute``, as ``inputs``.

    Returns:
        name -> ``(B, *shape)`` in the parameter's dtype, on its device, in the order of ``model.named_parameters()``;
        zero where a sample's loss does not reach the parameter.

    Raises:
        TypeError: for a model that is no module, a ``compute`` that is no function or returns no loss, or an input that
            cannot be cut into samples. Whatever ``compute`` raises comes through.
        ValueError: if there is no such parameter, no tensor among the inputs, a tensor of another first dimension, or
            BatchNorm in training mode, which ties the samples of a batch together.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> def compute(x, y):
    ...     return (model(x)[:, 0] - y).square().mean() / 2
    >>> x, y = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([1.0, 4.0])
    >>> per_sample_gradients(model, compute, x, y)["weight"].tolist()
    [[[2.0, 4.0]], [[-3.0, 0.0]]]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; got {type(model).__name__}.")
    if not callable(compute):
        raise TypeError(
            "per_sample_gradients takes the model, the function and its inputs, as in "
            f"per_sample_gradients(model, compute, x, y); got {type(compute).__name__} for the function."
        )
    selected = _select(model, parameters)
    (gradients,) = in_chunks(model, compute, inputs, named_inputs, selected)
    return gradients


def in_chunks(
    model: nn.Module,
    compute: Callable[..., Any],
    inputs: Sequence[Any],
    named_inputs: Mapping[str, Any],
    parameters: Mapping[str, nn.Parameter],
    size: int | None = None,
) -> Iterator[dict[str, Tensor]]:
    """As :func:`per_sample_gradients`, at most ``size`` samples at a time, in order.

    Between two chunks everything is as it was before; random draws go on from chunk to chunk. Nothing is read by the
    host, unless ``compute`` does.

    Args:
        model: its buffers, modes and gradients are shielded.
        compute: see there.
        inputs: see there.
        named_inputs: see there.
        parameters: name -> parameter to differentiate by, also such as are not the model's.
        size: most samples in a chunk; None for all.

    Yields:
        name -> ``(at most size, *shape)``.
    """
    _refuse_batch_statistics(model)
    batch = _Batch.of(inputs, named_inputs)
    devices = {parameter.device for parameter in parameters.values()}
    random = random_state.capture(devices)
    # The tables of embeddings with a largest norm are written to by a forward pass.
    renormed = [p for m in model.modules() if getattr(m, "max_norm", None) is not None for p in m.parameters(False)]
    at_once = True
    step = size or batch.size
    for start in range(0, batch.size, step):
        samples = batch.samples(start, start + step)
        now = random_state.capture(devices)
        try:
            random_state.restore(random)
            with (
                torch.enable_grad(),
                modes_shielded(model, modes_of(model)),
                gradients_shielded([*model.parameters(), *parameters.values()]),
                attributes_put_back(model),
                parameters_put_back(renormed) if renormed else nullcontext(),
            ):
                found = _at_once(model, compute, parameters, batch, samples) if at_once else None
                if found is None:
                    at_once = False
                    random_state.restore(random)
                    found = _one_by_one(model, compute, parameters, batch, samples)
            random = random_state.capture(devices)
        finally:
            random_state.restore(now)
        yield found


@dataclass(frozen=True, slots=True)
class _Batch:
    """The inputs of a loss, to be cut into samples: leaves of nested lists, tuples and dicts."""

    leaves: list[Any]
    spec: TreeSpec
    cut: list[int]
    size: int

    @classmethod
    def of(cls, inputs: Sequence[Any], named: Mapping[str, Any]) -> _Batch:
        leaves, spec = tree_flatten((tuple(inputs), dict(named)))
        for leaf in leaves:
            if isinstance(leaf, Sized) and not isinstance(leaf, (Tensor, str, nn.Module)):
                raise TypeError(
                    "per-sample gradients take tensors, numbers and text, or lists, tuples and dicts of them; "
                    f"got {type(leaf).__name__}, which cannot be cut into samples."
                )
        cut = [index for index, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.dim() > 0]
        if not cut:
            raise ValueError("per-sample gradients take inputs with a tensor of samples among them; got none.")
        sizes = [len(leaves[index]) for index in cut]
        if not all(size == sizes[0] for size in sizes) or not sizes[0]:
            raise ValueError(
                "every tensor among the inputs must have one entry for each sample in its first dimension, and at "
                f"least one; got first dimensions {sizes}."
            )
        return cls(leaves, spec, cut, sizes[0])

    def samples(self, start: int, stop: int) -> list[Tensor]:
        """The tensors that are cut, from one sample to another."""
        return [self.leaves[index][start:stop].detach() for index in self.cut]

    def loss(self, compute: Callable[..., Any], tensors: Iterable[Tensor]) -> Tensor:
        """The loss with other tensors in the place of those that are cut."""
        leaves = list(self.leaves)
        for index, tensor in zip(self.cut, tensors, strict=True):
            leaves[index] = tensor
        inputs, named = tree_unflatten(leaves, self.spec)
        return first(compute(*inputs, **named))


class _Loss(nn.Module):
    """A module whose forward calls the user's function: where its weights are exchanged, so are the model's."""

    def __init__(self, model: nn.Module, compute: Callable[..., Any], batch: _Batch) -> None:
        super().__init__()
        self.model = model
        self.compute = compute
        self.batch = batch

    def forward(self, *sample: Tensor) -> Tensor:
        return self.batch.loss(self.compute, [tensor.unsqueeze(0) for tensor in sample]).reshape(())


def _at_once(
    model: nn.Module,
    compute: Callable[..., Any],
    parameters: Mapping[str, nn.Parameter],
    batch: _Batch,
    samples: Sequence[Tensor],
) -> dict[str, Tensor] | None:
    """All samples in one pass; None where that cannot be."""
    places = {parameter: f"model.{name}" for name, parameter in model.named_parameters()}
    if not all(parameter in places for parameter in parameters.values()):
        return None
    weights = {place: parameter.detach() for parameter, place in places.items()}
    moving = {places[parameter]: weights.pop(places[parameter]) for parameter in parameters.values()}
    loss = _Loss(model, compute, batch)

    def of_one(moving: dict[str, Tensor], *sample: Tensor) -> Any:
        return torch.func.functional_call(loss, {**weights, **moving}, sample)

    of_all = torch.func.vmap(
        torch.func.grad_and_value(of_one), in_dims=(None, *(0 for _ in samples)), randomness="different"
    )
    try:
        with buffers_shielded(model), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            gradients, losses = of_all(moving, *samples)
    except Exception:  # of many kinds; where it is the user's own, it comes again, and through
        return None
    # The exchanged weights require no gradient: a loss that does was computed with others beside them.
    if losses.requires_grad:
        return None
    return {name: gradients[places[parameter]] for name, parameter in parameters.items()}


def _one_by_one(
    model: nn.Module,
    compute: Callable[..., Any],
    parameters: Mapping[str, nn.Parameter],
    batch: _Batch,
    samples: Sequence[Tensor],
) -> dict[str, Tensor]:
    """Batches of one sample; each begins with the buffers as they were."""
    count = len(samples[0])
    found = {name: parameter.new_zeros((count, *parameter.shape)) for name, parameter in parameters.items()}
    for index in range(count):
        with buffers_shielded(model):
            loss = batch.loss(compute, [tensor[index : index + 1] for tensor in samples])
            if not loss.requires_grad:
                continue
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for rows, gradient in zip(found.values(), gradients, strict=True):
            if gradient is not None:
                rows[index] = gradient.to_dense() if gradient.is_sparse else gradient
    return found


def _select(model: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Parameter]:
    there = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    wanted = list(there if names is None else [names] if isinstance(names, str) else names)
    unknown = [name for name in wanted if name not in there]
    if unknown or not wanted:
        raise ValueError(
            "parameters takes names of the model's parameters that require a gradient, at least one; "
            + (f"got {unknown[0]!r}, and there are {', '.join(there) or 'none'}." if unknown else "got none.")
        )
    return {name: there[name] for name in there if name in wanted}


def _refuse_batch_statistics(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm) and (module.training or module.running_mean is None):
            raise ValueError(
                "per-sample gradients are not defined with BatchNorm over the batch: each sample's loss depends on the "
                f"others; got {name or 'the model'} in that mode. Call its eval(), or use GroupNorm or LayerNorm."
            )
