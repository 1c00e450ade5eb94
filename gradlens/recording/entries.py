"""What share of a gradient's entries is zero, and what share is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradlens.recording.dense import dense
from gradlens.recording.norms import wide


@dataclass(frozen=True, slots=True)
class EntryCounts:
    """Entries of some gradients.

    Attributes:
        counts: (gradients,) how many each has, float64 (float32 on Apple's accelerator).
        shares: (gradients,) the same over how many entries the gradient has; 0 for an empty one.
        entries: how many entries all of them have.
    """

    counts: Tensor
    shares: Tensor
    entries: int


def entry_counts(gradients: Sequence[Tensor], device: torch.device) -> tuple[EntryCounts, EntryCounts]:
    """Count the entries of each gradient that are zero, and those that are NaN or infinite; the host reads nothing.

    Memory: a mask of the largest gradient, one byte an entry, while it is counted.

    Args:
        gradients: dense, sparse (the entries that it has count) or complex (its real and imaginary parts count).
        device: where the results go.

    >>> zero, odd = entry_counts([torch.tensor([0.0, 1.0, float("nan"), 2.0])], torch.device("cpu"))
    >>> zero.counts.tolist(), odd.shares.tolist(), odd.entries
    ([1.0], [0.25], 4)
    """
    entries = [dense(gradient.detach()) for gradient in gradients]
    sizes = [each.numel() for each in entries]

    def made(counts: list[Tensor]) -> EntryCounts:
        shares = [count / max(1, size) for count, size in zip(counts, sizes, strict=True)]
        empty = torch.zeros(0, dtype=wide(device), device=device)
        both = (torch.stack(counts), torch.stack(shares)) if counts else (empty, empty)
        return EntryCounts(*both, entries=sum(sizes))

    return (
        made([(each == 0).sum().to(device, wide(device)) for each in entries]),
        made([(~torch.isfinite(each)).sum().to(device, wide(device)) for each in entries]),
    )
