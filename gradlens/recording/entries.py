"""What share of a gradient's entries is zero, and what share is not finite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradlens.recording.norms import dense, wide


def entry_counts(gradients: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Count the entries of each gradient that are zero, and those that are NaN or infinite; the host reads nothing.

    Memory: a mask of the largest gradient, one byte an entry, while it is counted.

    Args:
        gradients: dense, sparse (the entries that it has count) or complex (its real and imaginary parts count).
        device: where the results go.

    Returns:
        Two tensors (gradients,), float64 (float32 on Apple's accelerator).

    >>> zero, odd = entry_counts([torch.tensor([0.0, 1.0, float("nan")])], torch.device("cpu"))
    >>> zero.tolist(), odd.tolist()
    ([1.0], [1.0])
    """
    kind = wide(device)
    zero, odd = [], []
    for gradient in gradients:
        entries = dense(gradient.detach())
        zero.append((entries == 0).sum().to(device, kind))
        odd.append((~torch.isfinite(entries)).sum().to(device, kind))
    nothing = torch.zeros(0, dtype=kind, device=device)
    return (torch.stack(zero), torch.stack(odd)) if zero else (nothing, nothing)


def entries_of(gradient: Tensor) -> int:
    """How many entries count."""
    return dense(gradient.detach()).numel()
