r"""The gradient of the loss over a whole set, batch by batch.

.. math:: \nabla F(\theta) = \frac{1}{\sum_i n_i} \sum_i n_i \nabla f(\theta; X_i)

for batches X_i of n_i samples whose loss is a mean over samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gradlens.recording import random_state
from gradlens.recording.norms import global_norm, tensor_norms, wide
from gradlens.recording.replayed_loss import ReplayedLoss


def batch_size(inputs: Sequence[Any]) -> int | None:
    """First dimension of the first tensor that has one."""
    return next((len(item) for item in inputs if isinstance(item, Tensor) and item.dim() > 0), None)


def full_gradient(
    replay: ReplayedLoss, compute: Callable[..., Any], batches: Iterable[Any]
) -> tuple[Tensor, Tensor, int]:
    """Norm of the gradient over all batches, the loss over them, and how many samples there were.

    Gradients, buffers, modes and random states are those of before afterwards, those that iterating a loader draws from
    included. Nothing is read by the host.

    Memory: two copies of the gradients meanwhile.

    Args:
        replay: evaluates; any loss that it remembers is forgotten.
        compute: takes a batch: its items where it is a tuple or list, by name where it is a mapping.
        batches: the set.

    Raises:
        ValueError: if there is no batch, or one without a tensor.
        UnrepeatableError: as :meth:`ReplayedLoss.loss_and_gradients`.
    """
    now = random_state.capture(replay.devices)
    total: list[Tensor | None] = [None] * len(replay.parameters)
    loss = torch.zeros((), dtype=wide(replay.device), device=replay.device)
    samples = 0
    try:
        for batch in batches:
            named = dict(batch) if isinstance(batch, Mapping) else {}
            inputs = () if named else tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            size = batch_size((*inputs, *named.values()))
            if size is None:
                raise ValueError(f"full_gradient takes batches with a tensor in them; got {type(batch).__name__}.")
            replay.remember(partial(compute, *inputs, **named))
            value, gradients = replay.loss_and_gradients()
            loss += value.reshape(()).to(loss) * size
            samples += size
            for index, gradient in enumerate(gradients):
                if gradient is not None:
                    old = total[index]
                    total[index] = gradient * size if old is None else old + gradient * size
    finally:
        replay.forget()
        random_state.restore(now)
    if not samples:
        raise ValueError("full_gradient takes at least one batch; got none.")
    found = [tensor for tensor in total if tensor is not None]
    return global_norm(tensor_norms(found, replay.device)) / samples, loss / samples, samples
