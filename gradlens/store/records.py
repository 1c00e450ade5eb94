"""Whole rows of a snapshot, step records or micro-batches: those that count, in the order of their steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradlens.store import layout
from gradlens.store.errors import RunError
from gradlens.store.log_tables import micro_batches_table, steps_table
from gradlens.store.scan import Group
from gradlens.store.segments import TooMuchError
from gradlens.store.snapshot import Snapshot
from gradlens.store.tables import ROW_KEYS

SUPERSEDED = "superseded"
_Key = NDArray[np.int64]
FROM_LOG = {layout.STEPS: steps_table, layout.MICRO_BATCHES: micro_batches_table}


def count(found: Snapshot, table: str) -> int:
    """How many rows a table has, superseded and broken ones included."""
    sealed = sum(segment.rows for segment in found.tables[table])
    return sealed + sum(fresh_count(found.fresh(session, table), table) for session in found.sessions)


def fresh_count(groups: Sequence[Group], table: str) -> int:
    """How many rows of a table rows of logs make."""
    if table == layout.STEPS:
        return sum(len(group.seqs) for group in groups)
    return sum(len(group.micro_batches.values) for group in groups if group.micro_batches is not None)


def rows(found: Snapshot, table: str) -> pa.Table | None:
    """All rows of a table that can be read; None if there are none.

    Raises:
        TooMuchError: if they are more than memory should hold.
    """
    parts = []
    for session in found.sessions:
        for segment in found.segments(session, table):
            try:
                parts.append(segment.read(segment.columns))
            except TooMuchError:
                raise
            except RunError:
                continue
        fresh = found.fresh(session, table)
        if fresh:
            parts.append(FROM_LOG[table](fresh, session))
    return pa.concat_tables(parts, promote_options="default") if any(part.num_rows for part in parts) else None


def in_order(found: Snapshot, table: str, read: pa.Table, *, superseded: bool) -> pa.Table:
    """The rows that count, ascending in step; or all of them, with a last column that says which do not.

    Args:
        found: what they are of.
        table: whose rows they are.
        read: the rows, with all columns that tell which they are.
        superseded: give also those that a later session replaced.
    """
    *place, seq, session, step = (read[key].to_numpy() for key in reversed(ROW_KEYS[table]))
    chosen = _newest(found, step, session, seq, place)
    if superseded:
        old = np.ones(len(step), np.bool_)
        old[chosen] = False
        read = read.append_column(SUPERSEDED, pa.array(old))
        chosen = np.lexsort([*place, seq, session, step])
    return read if np.array_equal(chosen, np.arange(len(step))) else read.take(pa.array(chosen))


def _newest(found: Snapshot, step: _Key, session: _Key, seq: _Key, place: Sequence[_Key]) -> _Key:
    """Places of the rows that count, ascending in step: of a step those of the newest record, each once."""
    order = np.lexsort([*place, seq, session, step])
    limits = np.vectorize(found.limit, otypes=[float])
    numbers, which = np.unique(session, return_inverse=True)
    alive = step < limits(numbers)[which]
    order = order[alive[order]]
    if not len(order):
        return np.empty(0, np.int64)
    ends = _ends(step[order])
    if place:
        newest = np.repeat(order[ends], np.diff(ends, prepend=-1))
        order = order[(session[order] == session[newest]) & (seq[order] == seq[newest])]
        ends = _ends(step[order], *(key[order] for key in place))
    chosen: _Key = order[ends]
    return chosen


def _ends(*keys: _Key) -> _Key:
    """Places in which a row is followed by one that has not all the same keys, or by none."""
    changes = np.logical_or.reduce([np.diff(key) != 0 for key in keys])
    ends: _Key = np.append(np.flatnonzero(changes), len(keys[0]) - 1)
    return ends
