"""L2 norms of many tensors, accurate and without a host read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_HALF = (torch.float16, torch.bfloat16)
_ROW = 512
"""Entries summed in single precision before the sum goes on in double."""


def wide(device: torch.device) -> torch.dtype:
    """The widest float of a device: Apple's has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def dense(tensor: Tensor) -> Tensor:
    """A real, strided view of a gradient with the same L2 norm: sparse values coalesced, complex as pairs."""
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    return torch.view_as_real(tensor) if tensor.is_complex() else tensor


def tensor_norms(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """L2 norm of each tensor.

    On the CPU, torch's own norm adds up a whole tensor in single precision: off by 4e-4 for ten million normal
    entries, by 6e-3 for equal ones. Here rows of 512 entries are reduced in single precision, and the rows in double:
    off by less than 1e-6, and faster. Accelerators accumulate in the widest float they have. Nothing is read by the
    host there.

    Args:
        tensors: n tensors of any floating or complex dtype, dense or sparse; half precision is widened.
        device: where the result goes.

    Returns:
        (n,) float64 on ``device`` (float32 on Apple's accelerator).

    >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.ones(10_000)], torch.device("cpu")).tolist()
    [5.0, 99.999998...]
    """
    if not tensors:
        return torch.zeros(0, dtype=wide(device), device=device)
    flat = [dense(tensor.detach()).reshape(-1) for tensor in tensors]
    if device.type == "cpu":
        return _norms_on_cpu(flat)
    # Accumulating in the widest float costs nothing where memory is the limit, and squares neither overflow nor vanish.
    norms = torch._foreach_norm(flat, 2, wide(device))
    return torch.stack([norm.to(device) for norm in norms])


def global_norm(norms: Tensor) -> Tensor:
    """L2 norm of the concatenation of tensors, from the norm of each.

    >>> global_norm(torch.tensor([3.0, 4.0], dtype=torch.float64)).item()
    5.0
    """
    norm: Tensor = torch.linalg.vector_norm(norms)
    return norm


def _norms_on_cpu(flat: Sequence[Tensor]) -> Tensor:
    norms = [0.0] * len(flat)
    small = [index for index, tensor in enumerate(flat) if tensor.numel() <= _ROW and tensor.dtype not in _HALF]
    if small:
        for index, norm in zip(small, torch._foreach_norm([flat[i] for i in small]), strict=True):
            norms[index] = norm.item()
    for index in set(range(len(flat))).difference(small):
        norms[index] = _norm_by_rows(flat[index])
    for index, value in enumerate(norms):
        # Squares of single-precision entries overflow above 1e19 and vanish below 1e-19.
        if not 1e-15 < value < 1e15:
            norms[index] = torch.linalg.vector_norm(flat[index], dtype=torch.float64).item()
    return torch.tensor(norms, dtype=torch.float64)


def _norm_by_rows(flat: Tensor) -> float:
    precision = torch.float64 if flat.dtype == torch.float64 else torch.float32
    whole = flat.numel() - flat.numel() % _ROW
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, _ROW), dim=1, dtype=precision)
    norm: float = torch.linalg.vector_norm(rows, dtype=torch.float64).item()
    if whole < flat.numel():
        norm = math.hypot(norm, torch.linalg.vector_norm(flat[whole:], dtype=precision).item())
    return norm
