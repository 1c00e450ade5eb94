r"""Many large gradients in few dimensions, their inner products kept.

Every entry is added, with a random sign, to one of k places:

.. math:: (S x)_j = \sum_{i : h(i) = j} \sigma(i) \, x_i

with h and sigma drawn by hashing i and a seed. Then :math:`E \langle S x, S y \rangle = \langle x, y \rangle`, with
variance :math:`(\lVert x \rVert^2 \lVert y \rVert^2 + \langle x, y \rangle^2 - 2 \sum_i x_i^2 y_i^2)/k`: no more than
of a dense Gaussian projection, at one addition an entry.

References:
    Charikar, Chen and Farach-Colton, "Finding Frequent Items in Data Streams", ICALP 2002.
    Weinberger, Dasgupta, Langford, Smola and Attenberg, "Feature Hashing for Large Scale Multitask Learning", ICML
    2009, arXiv 0902.2206, lemma 2 for the variance.
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, for the hash.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gradlens.recording.dense import dense

_PIECE = 1 << 18
"""Entries hashed at a time: their numbers cost 8 bytes each, whatever the size of a tensor."""

_WORD = 1 << 64


def project(gradients: Sequence[Tensor], dimensions: int, seed: int, device: torch.device) -> Tensor:
    """The rows of several tensors together, in at most ``dimensions`` dimensions.

    The same on every device, up to the rounding of sums; no random state is read or touched, and nothing is read by the
    host. Where there are no more entries than dimensions, they are what comes back, side by side.

    Args:
        gradients: n rows in each, of any floating or complex dtype and shape.
        dimensions: k, at least 1.
        seed: another seed gives an independent projection; the same one the same.
        device: where the result goes.

    Returns:
        (n, k) in float32, or in float64 where a gradient is, with fewer columns where there are fewer entries.

    >>> one, other = torch.ones(2, 30_000), torch.arange(60_000.0).reshape(2, 100, 300)
    >>> rows = project([one, other], 4096, seed=0, device=torch.device("cpu"))
    >>> exact = one @ one.T + other.reshape(2, -1) @ other.reshape(2, -1).T
    >>> rows.shape, bool(((rows @ rows.T) / exact - 1).abs().max() < 0.1)
    (torch.Size([2, 4096]), True)
    """
    flat = [dense(gradient).reshape(len(gradient), -1) for gradient in gradients]
    dtype = torch.float64 if any(rows.dtype == torch.float64 for rows in flat) else torch.float32
    flat = [rows.to(device, dtype) for rows in flat]
    if sum(rows.shape[1] for rows in flat) <= dimensions:
        return torch.cat(flat, dim=1)
    projected = torch.zeros((len(flat[0]), dimensions), dtype=dtype, device=device)
    start = 0
    for rows in flat:
        for piece in torch.split(rows, _PIECE, dim=1):
            count = piece.shape[1]
            drawn = _hash(start, count, seed, device)
            signs = 1.0 - 2.0 * (drawn < 0).to(dtype)
            projected.index_add_(1, (drawn & (2**63 - 1)) % dimensions, piece * signs)
            start += count
    return projected


def _hash(start: int, count: int, seed: int, device: torch.device) -> Tensor:
    """SplitMix64 of the numbers from ``start``: (count,) int64 of which every bit looks random."""
    golden = 0x9E3779B97F4A7C15
    # Two rounds: with one, seeds that are close to each other would give one sequence, shifted.
    offset = _mixed(torch.full((1,), _signed(seed * golden), dtype=torch.int64, device=device))
    index = torch.arange(start + 1, start + 1 + count, dtype=torch.int64, device=device)
    return _mixed(index * _signed(golden) + offset)


def _mixed(x: Tensor) -> Tensor:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ _shifted(x, shift)) * _signed(factor)
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, by: int) -> Tensor:
    """Shifted to the right as an unsigned word: torch's shift would drag the sign along."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def _signed(word: int) -> int:
    """An unsigned word as the signed number with its bits."""
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word
