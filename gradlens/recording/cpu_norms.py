"""L2 norms of tensors in the processor's memory: as exact as double precision needs, at the memory's speed.

Rows of some two thousand entries are reduced in single precision by BLAS, the rows in double. A tensor costs a few
microseconds beside its memory: where a training has hundreds of small tensors, calls are what takes time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.recording.dense import in_one_piece

Floats = NDArray[np.float64]

_HALF = (torch.float16, torch.bfloat16)
_ROW = 2048
"""Entries whose squares are summed in single precision, at most."""
_SHORT_ROW = 256
"""Rows shorter than this, where no longer ones make up the tensor, would cost more calls than exactness."""
_HALF_ROW = 512
"""Entries of half precision, which torch sums, less exactly than BLAS."""
_PIECE = 1 << 18
"""Entries of a difference that are held at a time, so that they are still in the cache when they are summed."""
_TINY, _HUGE = 1e-30, 1e30
"""Sums of squares within which those of single precision neither vanish (below 1e-38) nor overflow."""

_KINDS: dict[torch.dtype, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """L2 norm of each tensor, (n,) float64.

    Args:
        tensors: on the CPU, of any floating or complex dtype, dense or sparse.

    >>> norms([torch.tensor([3.0, 4.0]), torch.ones(10_000)]).tolist()
    [5.0, 100.0]
    """
    return torch.from_numpy(_roots(_sums_of_squares(tensors), lambda index: in_one_piece(tensors[index])))


def copy_and_norms(tensors: Sequence[Tensor], copies: Sequence[Tensor]) -> Tensor:
    """Copy each tensor, and take its L2 norm while it is in the processor's cache: (n,) float64.

    Args:
        tensors: as for :func:`norms`.
        copies: of the same sizes and dtypes; written to.
    """

    def copied() -> Iterator[Tensor]:
        for tensor, other in zip(tensors, copies, strict=True):
            other.copy_(tensor.detach())
            yield tensor

    return torch.from_numpy(_roots(_sums_of_squares(copied()), lambda index: in_one_piece(tensors[index])))


def difference_norms(new: Sequence[Tensor], old: Sequence[Tensor]) -> Tensor:
    """L2 norm of each ``new - old``, (n,) float64.

    Memory: a megabyte of the difference at a time. One thread: several would wait for each other at every tensor.

    Args:
        new: as for :func:`norms`.
        old: of the same sizes and dtypes.
    """

    def difference(index: int) -> Tensor:
        one, other = in_one_piece(new[index]), in_one_piece(old[index])
        if torch.equal(one, other):  # parameters that a step has left alone need no copies in double precision
            return torch.zeros(1)
        return one.double() - other.double()

    squares = np.empty(len(new))
    scratch: dict[torch.dtype, NDArray[Any]] = {}
    for index, pair in enumerate(zip(new, old, strict=True)):
        one, other = map(in_one_piece, pair)
        if one.dtype in _HALF:
            pieces = zip(one.detach().reshape(-1).split(_PIECE), other.reshape(-1).split(_PIECE), strict=True)  # type: ignore[no-untyped-call]
            squares[index] = sum(_squares_of_half(a.float() - b.float()) for a, b in pieces)
            continue
        if one.dtype not in scratch:
            scratch[one.dtype] = np.empty(_PIECE + _ROW, _KINDS[one.dtype])
        pairs = zip(_rows(one), _rows(other), strict=True)
        squares[index] = sum(_squared_difference(a, b, scratch[one.dtype]) for a, b in pairs)
    return torch.from_numpy(_roots(squares, difference))


def row_norms(matrix: Tensor) -> Tensor:
    """L2 norm of each row, (rows,) float64.

    Args:
        matrix: (rows, columns), real, on the CPU, of any floating dtype.

    >>> row_norms(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [5.0, 0.0]
    """
    one = in_one_piece(matrix.detach())
    if one.dtype in _HALF:
        one = one.float()
    if not one.numel():
        return torch.zeros(len(one), dtype=torch.float64)
    squares = np.zeros(len(one))
    kind = _KINDS[one.dtype]
    rows = np.ndarray(one.shape, kind, _bytes(one.numel() * kind.itemsize).from_address(one.data_ptr()))
    with np.errstate(all="ignore"):  # what overflows is computed again
        for begin in range(0, one.shape[1], _ROW):
            piece = rows[:, begin : begin + _ROW]
            squares += np.vecdot(piece, piece)
    roots = np.sqrt(squares)
    bad = ~((squares > _TINY) & (squares < _HUGE))
    if bad.any():
        bad[bad] = rows[bad].any(axis=1)  # rows of zeros, such as those of dead units, are done
    if bad.any():
        roots[bad] = torch.linalg.vector_norm(one[torch.from_numpy(bad)], dim=1, dtype=torch.float64).numpy()
    return torch.from_numpy(roots)


def _rows(tensor: Tensor) -> list[NDArray[Any]]:
    """Views of a plain tensor's memory as rows; several where no rows of one length make it up.

    They say where the memory lies and do not keep it. ``Tensor.numpy`` would forbid its storage to be resized, as
    sharding does; and views that were kept from step to step would lie between the gradients and break up the heap.
    """
    address = tensor.data_ptr()
    return [
        np.ndarray(shape, kind, memory.from_address(address + first))
        for memory, first, shape, kind in _blocks(tensor.numel(), tensor.dtype)
    ]


@lru_cache(1 << 12)
def _blocks(size: int, dtype: torch.dtype) -> tuple[tuple[Any, int, tuple[int, int], np.dtype[Any]], ...]:
    """For each block of rows in a vector: what its bytes are to ctypes, where they begin, its shape and dtype."""
    kind = _KINDS[dtype]
    return tuple(
        (_bytes(shape[0] * shape[1] * kind.itemsize), first * kind.itemsize, shape, kind)
        for first, shape in _shapes(size)
    )


@lru_cache(1 << 12)
def _bytes(count: int) -> Any:
    """The type of so many bytes somewhere in memory."""
    return ctypes.c_ubyte * count


def _shapes(size: int) -> list[tuple[int, tuple[int, int]]]:
    """Where in a vector the blocks of rows begin, and their shapes.

    >>> _shapes(365 * 365), _shapes(5000), _shapes(0)
    ([(0, (73, 1825))], [(0, (4, 1250))], [])
    >>> _shapes(10_007)  # a prime
    [(0, (4, 2048)), (8192, (1, 1815))]
    """
    if size <= _ROW:
        return [(0, (1, size))] if size else []
    longest = next((row for row in range(_ROW, _SHORT_ROW, -1) if size % row == 0), None)
    if longest is not None:
        return [(0, (size // longest, longest))]
    whole = size - size % _ROW
    return [(0, (whole // _ROW, _ROW)), (whole, (1, size - whole))]


def _sums_of_squares(tensors: Iterable[Tensor]) -> Floats:
    """Sum of squares of each tensor, one after the other."""
    squares: list[Any] = []
    counts: list[int] = []
    with np.errstate(all="ignore"):  # what overflows is computed again
        for tensor in tensors:
            one = in_one_piece(tensor)  # held while its memory is looked at
            before = len(squares)
            if one.dtype in _HALF:
                squares.append((_squares_of_half(one),))
            else:
                for view in _rows(one):
                    squares.append(np.vecdot(view, view))  # noqa: PERF401 - a call less for each tensor
            counts.append(len(squares[before]) if len(squares) == before + 1 else sum(map(len, squares[before:])))
    return _segments(np.concatenate(squares, dtype=np.float64), counts) if squares else np.zeros(len(counts))


def _segments(numbers: Floats, counts: Sequence[int]) -> Floats:
    """Sums over successive stretches of these lengths, some of which may be empty."""
    sums = np.zeros(len(counts))
    lengths = np.array(counts, np.int64)
    starts = np.cumsum(lengths) - lengths
    some = lengths > 0
    if some.any():
        sums[some] = np.add.reduceat(numbers, starts[some])
    return sums


def _squared_difference(one: NDArray[Any], other: NDArray[Any], scratch: NDArray[Any]) -> float:
    squares = 0.0
    rows = max(1, _PIECE // max(1, one.shape[1]))
    with np.errstate(all="ignore"):
        for begin in range(0, len(one), rows):
            a = one[begin : begin + rows]
            difference = np.subtract(a, other[begin : begin + rows], out=scratch[: a.size].reshape(a.shape))
            squares += float(np.vecdot(difference, difference).sum(dtype=np.float64))
    return squares


def _squares_of_half(tensor: Tensor) -> float:
    flat = in_one_piece(tensor).detach().reshape(-1)
    whole = flat.numel() - flat.numel() % _HALF_ROW
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, _HALF_ROW), dim=1, dtype=torch.float32)
    rest = torch.linalg.vector_norm(flat[whole:], dtype=torch.float32)
    squares: float = (rows.double().square().sum() + rest.double().square()).item()
    return squares


def _roots(squares: Floats, tensor: Callable[[int], Tensor]) -> Floats:
    """Square roots; where squares of single precision overflow or vanish, done over."""
    good = (squares > _TINY) & (squares < _HUGE)
    if good.all():
        return np.sqrt(squares)
    roots = np.sqrt(squares, where=good, out=np.zeros_like(squares))
    for index in map(int, np.flatnonzero(~good)):
        entries = tensor(index).detach()
        if squares[index] != 0 or entries.any():
            roots[index] = torch.linalg.vector_norm(entries, dtype=torch.float64).item()
    return roots
