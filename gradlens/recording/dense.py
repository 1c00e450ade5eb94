"""Gradients of every kind as plain strided tensors with the same L2 norm."""

from __future__ import annotations

import torch
from torch import Tensor

_READ = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
"""What norms on the CPU are taken of; the rest is made to be."""


def dense(tensor: Tensor) -> Tensor:
    """A real, strided view of a gradient with the same L2 norm: sparse values coalesced, complex as pairs."""
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()
    if tensor.is_complex():
        return torch.view_as_real(tensor.resolve_conj())
    return tensor.resolve_neg()


def in_one_piece(tensor: Tensor) -> Tensor:
    """A real, contiguous tensor on the CPU with the same entries in their order."""
    if tensor.dtype in _READ and tensor.is_cpu and tensor.layout is torch.strided and tensor.is_contiguous():
        return tensor.resolve_neg()
    found = dense(tensor.detach()).cpu()
    return (found if found.dtype in _READ else found.float()).contiguous()
