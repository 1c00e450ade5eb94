"""Resampling of sums: what a block bootstrap needs of a statistic that follows from sums over the points.

A resample is then how often it holds each block, and its sums are one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_HELD = 60_000  # counts at once: half a megabyte, which stays in a processor's cache


def block_sums(columns: Floats, block: int) -> Floats:
    """Sums over the block that begins at each entry, wrapping round the end.

    Args:
        columns: (n, k) numbers.
        block: entries in a block, from 1 to n.

    Returns:
        (n, k).

    >>> block_sums(np.array([[1.0], [2.0], [4.0]]), 2).ravel().tolist()
    [3.0, 6.0, 5.0]
    """
    if block == 1:
        return columns
    total = np.concatenate([np.zeros((1, columns.shape[1])), columns, columns[: block - 1]]).cumsum(axis=0)
    sums: Floats = total[block:] - total[:-block]
    return sums


def drawn_blocks(n: int, block: int, tries: int, seed: int = 0) -> Iterator[Floats]:
    """How often each resample of a circular block bootstrap holds the block that begins at each entry.

    Args:
        n: length of the series.
        block: block length.
        tries: resamples.
        seed: seed of a generator of its own.

    Yields:
        (t, n) float64 for the next t resamples, every row with the sum n / block, rounded up.

    >>> (counts,) = drawn_blocks(6, block=4, tries=2)
    >>> counts.sum(axis=1)
    array([2., 2.])
    """
    rng = np.random.default_rng(seed)
    blocks = math.ceil(n / block)
    chunk = max(1, _HELD // n)
    for first in range(0, tries, chunk):
        t = min(chunk, tries - first)
        places = rng.integers(0, n, size=(t, blocks)) + n * np.arange(t)[:, None]
        yield np.bincount(places.ravel(), minlength=t * n).reshape(t, n).astype(np.float64)
