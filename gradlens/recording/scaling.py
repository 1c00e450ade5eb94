"""Multiplying gradients in place, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_HALF = (torch.bfloat16, torch.float16)


def scale_gradients(gradients: Sequence[Tensor], coefficients: Tensor) -> None:
    """Multiply gradients in place: g <- c g, nothing added to a denominator.

    A coefficient of 1 leaves every bit as it is. Half precision is multiplied in single precision and rounded once.
    On an accelerator the host reads nothing.

    Args:
        gradients: of any dtype and device, dense or sparse.
        coefficients: one factor for all, a 0-d tensor, or one for each, (gradients,).

    >>> g = torch.tensor([3.0, 4.0])
    >>> scale_gradients([g], torch.tensor(0.5))
    >>> g.tolist()
    [1.5, 2.0]
    """
    if coefficients.device.type == "cpu":
        factors = coefficients.expand(len(gradients)).tolist()
        changed = [(gradient, factor) for gradient, factor in zip(gradients, factors, strict=True) if factor != 1.0]
        together = [(gradient, factor) for gradient, factor in changed if not _alone(gradient)]
        if together:
            # Beside a loop of mul_: as fast where memory is the limit, by a third faster for small tensors.
            torch._foreach_mul_([gradient for gradient, _ in together], [factor for _, factor in together])
        for gradient, factor in changed:
            if _alone(gradient):
                entries(gradient).mul_(factor)
        return
    for (device, dtype), indices in _by_kind(gradients).items():
        own = coefficients.to(device, torch.float64 if dtype == torch.float64 else torch.float32)
        views = [entries(gradients[index]) for index in indices]
        if dtype not in (torch.float32, torch.float64):
            # A factor with a dimension takes part in the choice of the dtype, one without is rounded to half precision.
            for index, view in zip(indices, views, strict=True):
                view.mul_((own if own.dim() == 0 else own[index]).reshape(1))
        elif own.dim() == 0:
            torch._foreach_mul_(views, own)
        else:
            torch._foreach_mul_(views, [own[index] for index in indices])


def _alone(gradient: Tensor) -> bool:
    """Half precision, where ``_foreach_mul_`` rounds the factor first, and conjugates, which it refuses."""
    return gradient.dtype in _HALF or gradient.is_conj()


def take(values: Tensor, places: Sequence[int]) -> Tensor:
    """Some of a vector, in order; on an accelerator no index has to be sent there.

    >>> take(torch.tensor([1.0, 2.0, 3.0]), [0, 2]).tolist()
    [1.0, 3.0]
    """
    return values if len(places) == len(values) else torch.stack([values[place] for place in places])


def entries(gradient: Tensor) -> Tensor:
    """A real view, with at least one dimension, of what a gradient holds: sparse values as they are, complex as pairs.

    >>> entries(torch.tensor([3 + 4j])).tolist()
    [[3.0, 4.0]]
    """
    values = gradient._values() if gradient.is_sparse else gradient
    if values.is_complex():  # a factor acts on a number and on its conjugate alike
        values = torch.view_as_real(values.conj() if values.is_conj() else values)
    return values.reshape(1) if values.dim() == 0 else values


def _by_kind(gradients: Sequence[Tensor]) -> dict[tuple[torch.device, torch.dtype], list[int]]:
    """Indices of the gradients on each device, by the dtype of their entries."""
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, gradient in enumerate(gradients):
        kinds.setdefault((gradient.device, gradient.dtype.to_real()), []).append(index)
    return kinds
