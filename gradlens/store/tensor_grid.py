"""Per-tensor values reduced to a grid of parameters and stretches of steps, a segment at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradlens.store import layout
from gradlens.store.blocks import SUMMARIES, below, read_tensors, takes_values
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK
from gradlens.store.log_tables import tensors_table
from gradlens.store.snapshot import Snapshot

_DETAIL: Final = ("parameter", "block", "offsets", "values")
_WHOLE: Final = ("parameter", "block", *SUMMARIES)


@dataclass(frozen=True, slots=True)
class TensorGrid:
    """What each parameter's values were in each stretch of steps.

    Attributes:
        low: (parameters, stretches) float32, the smallest finite value; NaN without any.
        high: the largest.
        mean: their mean; from blocks of 256 steps, the mean over blocks.
        nonfinite: (parameters, stretches) bool, whether a value (of summaries: a whole block) was NaN or infinite.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    mean: NDArray[np.float32]
    nonfinite: NDArray[np.bool_]


def tensor_grid(found: Snapshot, kind: str, parameters: int, edges: NDArray[np.int64], *, detail: bool) -> TensorGrid:
    """Reduce one kind to a grid.

    Memory: the grid, and one segment's blocks; with detail, their values.

    Args:
        found: what is reduced.
        kind: of the quantity.
        parameters: how many there are; blocks of others are left out.
        edges: (stretches + 1,) steps, ascending; a stretch is from one edge to before the next.
        detail: read values; otherwise the summaries of 256 steps, which fall into the stretch that they begin in. So do
            those of thinned segments, which have nothing else.
    """
    shape = parameters, len(edges) - 1
    low, high = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    total, count = np.zeros(shape, np.float64), np.zeros(shape, np.int64)
    odd = np.zeros(shape, np.bool_)
    for table, whole in _tables(found, kind, parameters, detail=detail):
        place, parts = _places(table, edges, parameters, whole=whole)
        finite = np.isfinite(parts[0])
        np.minimum.at(low.reshape(-1), place[finite], parts[0][finite])
        np.maximum.at(high.reshape(-1), place[finite], parts[1][finite])
        total += np.bincount(place[finite], weights=parts[2][finite], minlength=low.size).reshape(shape)
        count += np.bincount(place[finite], minlength=low.size).reshape(shape)
        odd.reshape(-1)[place[~finite]] = True
    some = count > 0
    mean = np.divide(total, count, out=np.full(shape, np.nan), where=some).astype(np.float32)
    low, high = (np.where(some, each, np.float32(np.nan)) for each in (low, high))
    return TensorGrid(low, high, mean, odd)


def _tables(found: Snapshot, kind: str, parameters: int, *, detail: bool) -> Iterator[tuple[pa.Table, bool]]:
    """Blocks of one kind, superseded steps cut off, a segment's at a time; and whether they are summaries."""
    for session in found.sessions:
        limit = found.limit(session)
        for segment in found.segments(session, layout.TENSORS):
            whole = segment.thin or not detail
            columns = _WHOLE if whole else _DETAIL
            names = (*columns, "offsets", "values") if takes_values(found, session, segment) else columns
            try:
                yield below(read_tensors(segment, kind, 0, parameters, names), limit), whole
            except RunError:  # the segment keeps what is damaged, to be named by the run
                continue
        fresh = found.fresh(session, layout.TENSORS)
        if fresh:
            yield below(tensors_table(fresh, session, [kind]), limit), not detail


def _places(
    table: pa.Table, edges: NDArray[np.int64], parameters: int, *, whole: bool
) -> tuple[NDArray[np.int64], tuple[NDArray[np.float32], ...]]:
    """The grid's cell of each value or block, and its smallest, largest and mean value."""
    parameter, step = table["parameter"].to_numpy().astype(np.int64), table["block"].to_numpy() * BLOCK
    if not whole:
        counts = pc.list_value_length(table["values"]).to_numpy()
        step = np.repeat(step, counts) + pc.list_flatten(table["offsets"]).to_numpy()
        parameter = np.repeat(parameter, counts)
        values = pc.list_flatten(table["values"]).to_numpy()
        parts = (values, values, values)
    else:
        parts = tuple(table[name].to_numpy() for name in ("min", "max", "mean"))
        step = np.maximum(step, edges[0])
    stretch = np.searchsorted(edges, step, side="right") - 1
    inside = (stretch >= 0) & (stretch < len(edges) - 1) & (parameter >= 0) & (parameter < parameters)
    return (parameter * (len(edges) - 1) + stretch)[inside], tuple(part[inside] for part in parts)
