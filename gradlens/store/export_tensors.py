"""Per-tensor values in the order of their steps, a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradlens.store import layout
from gradlens.store.blocks import MAX_BYTES
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK
from gradlens.store.log_tables import tensors_table
from gradlens.store.run import Run
from gradlens.store.segments import Segment, TooMuchError
from gradlens.store.slices import Held, Part, Slices, Source, cut, group_rows, only
from gradlens.store.snapshot import Snapshot

_SLICE_VALUES = 1 << 20
_MOST_BYTES = 320 << 20  # of one kind in a segment; gradlens writes less


def tensor_slices(run: Run, kind: str) -> Slices:
    """A per-tensor quantity as rows of step, parameter and value: what :meth:`gradlens.store.Run.tensors` gives.

    Args:
        run: which run.
        kind: ``"grad_norm"``, ``"update_norm"`` or ``"param_norm"``.
    """
    schema = pa.schema([("step", pa.int64()), ("parameter", pa.string()), ("value", pa.float32())])
    names = np.array([*run.parameters, "?"], dtype=object)
    between = partial(_tensors_between, names=names, schema=schema)
    return Source(run, partial(_tensor_parts, kind=kind), between).slices(schema)


def _tensor_parts(found: Snapshot, kind: str) -> list[Part]:
    """Parts whose places are blocks of 256 steps."""
    parts = []
    for session in found.sessions:
        for segment in found.segments(session, layout.TENSORS):
            keys = _blocks_of(segment, kind, ("block", "count", "nonfinite"))
            keys = _blocks_of(segment, kind, ("block",)) if keys is None else keys
            if keys is not None:
                blocks = keys["block"].to_numpy()
                rows = BLOCK * len(blocks)
                if "count" in keys.column_names:
                    rows = int(keys["count"].to_numpy().sum() + keys["nonfinite"].to_numpy().sum())
                read = partial(_blocks_of, segment, kind, ("parameter", "block", "offsets", "values"))
                parts.append(Part(session, int(blocks.min()), int(blocks.max()), rows, read))
        fresh = found.fresh(session, layout.TENSORS)
        fresh = [group for group in fresh if kind in dict(group.layout.tensors)]
        if fresh:
            blocks = np.concatenate([group.steps for group in fresh]) // BLOCK
            rows = sum(len(group.seqs) * dict(group.layout.tensors)[kind] for group in fresh)
            read = partial(tensors_table, fresh, session, [kind])
            parts.append(Part(session, int(blocks.min()), int(blocks.max()), rows, read))
    return [part for part in parts if part.first * BLOCK < found.limit(part.session)]


def _blocks_of(segment: Segment, kind: str, columns: Sequence[str]) -> pa.Table | None:
    """Rows of one kind, a row group at a time, since memory holds them all; those that are damaged are left out."""
    tables = []
    for number in range(len(group_rows(segment))):
        try:
            chosen = pc.equal(segment.read(["kind"], only(number))["kind"], kind)
            if pc.any(chosen).as_py():
                table = segment.read(columns, only(number))
                tables.append(table if pc.all(chosen).as_py() else table.filter(chosen))
                if sum(each.nbytes for each in tables) > _MOST_BYTES:
                    return None
        except RunError:
            continue
        if sum(table.nbytes for table in tables) > MAX_BYTES:
            raise TooMuchError(f"{segment.path} holds more of {kind} than can be exported.")
    return pa.concat_tables(tables) if tables else None


def _tensors_between(
    found: Snapshot, held: Sequence[Held], low: int, high: int, names: NDArray[np.object_], schema: pa.Schema
) -> Iterator[pa.Table]:
    for begin, end in pairwise(_cuts([table for _, table in held], low, high)):
        steps, parameters, values = [], [], []
        for part, table in held:
            block = table["block"].to_numpy()
            rows = table.filter(pa.array((block >= begin) & (block < end)))
            counts = pc.list_value_length(rows["values"]).to_numpy()
            step = np.repeat(rows["block"].to_numpy() * BLOCK, counts) + pc.list_flatten(rows["offsets"]).to_numpy()
            alive = step < found.limit(part.session)
            steps.append(step[alive])
            parameters.append(np.repeat(rows["parameter"].to_numpy(), counts)[alive])
            values.append(pc.list_flatten(rows["values"]).to_numpy()[alive])
        step, parameter, value = np.concatenate(steps), np.concatenate(parameters), np.concatenate(values)
        order = np.lexsort((parameter, step))  # stable: of a value written twice, the later stays behind the earlier
        step, parameter, value = step[order], parameter[order], value[order]
        newest = np.append((np.diff(step) != 0) | (np.diff(parameter) != 0), True)[: len(step)]
        known = np.where((parameter >= 0) & (parameter < len(names)), parameter, len(names) - 1)
        columns = [pa.array(step[newest]), pa.array(names[known[newest]], pa.string()), pa.array(value[newest])]
        table = pa.Table.from_arrays(columns, schema=schema)
        yield from cut(table)


def _cuts(tables: Sequence[pa.Table], low: int, high: int) -> list[int]:
    """Blocks at which to cut a stretch, so that about a million values lie between two of them."""
    block = np.concatenate([table["block"].to_numpy() for table in tables])
    values = np.concatenate([pc.list_value_length(table["values"]).to_numpy() for table in tables])
    inside = np.flatnonzero((block >= low) & (block < high))
    inside = inside[np.argsort(block[inside], kind="stable")]
    total = np.cumsum(values[inside], dtype=np.int64)
    if not len(total):
        return [low, high]
    reached = np.searchsorted(total, np.arange(_SLICE_VALUES, int(total[-1]), _SLICE_VALUES))
    return sorted({low, high, *block[inside][reached].tolist()})
