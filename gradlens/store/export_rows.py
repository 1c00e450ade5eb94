"""Step records and micro-batches in the order of their steps, a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from gradlens.store import layout, records
from gradlens.store.errors import RunError
from gradlens.store.records import SUPERSEDED
from gradlens.store.run import Run
from gradlens.store.segments import Segment
from gradlens.store.slices import Held, Part, Slices, Source, cut, group_rows, only
from gradlens.store.snapshot import Snapshot
from gradlens.store.tables import MICRO_BATCH_SCHEMA, ROW_KEYS, column_type


def step_slices(run: Run, *, superseded: bool = False) -> Slices:
    """The step table: what :meth:`gradlens.store.Run.steps` gives, but for columns that are damaged in places.

    Those are null there, and named in ``damage``; a data frame leaves the rows out.

    Args:
        run: which run.
        superseded: give also the rows that a later session replaced, and say in a last column which.
    """
    schema = pa.schema([(name, column_type(name)) for name in run.columns])
    return _slices(run, layout.STEPS, schema, schema, superseded=superseded)


def micro_batch_slices(run: Run, *, superseded: bool = False) -> Slices:
    """The micro-batches: what :meth:`gradlens.store.Run.micro_batches` gives, damage as in :func:`step_slices`.

    Args:
        run: which run.
        superseded: give also those of steps that a later session replaced, and say in two last columns in which session
            they were recorded, and which they are.
    """
    named = [name for name in MICRO_BATCH_SCHEMA.names if name not in ("session", "seq")]
    given = pa.schema([MICRO_BATCH_SCHEMA.field(name) for name in [*named, *(["session"] if superseded else [])]])
    return _slices(run, layout.MICRO_BATCHES, MICRO_BATCH_SCHEMA, given, superseded=superseded)


def _slices(run: Run, table: str, schema: pa.Schema, given: pa.Schema, *, superseded: bool) -> Slices:
    """Slices of a table, of which all columns of ``schema`` are read and those of ``given`` are given."""
    given = given.append(pa.field(SUPERSEDED, pa.bool_())) if superseded else given
    source = Source(
        run,
        partial(_parts, table=table, names=schema.names, superseded=superseded),
        partial(_between, table=table, schema=schema, given=given, superseded=superseded),
    )
    return source.slices(given)


def _parts(found: Snapshot, table: str, names: Sequence[str], *, superseded: bool) -> list[Part]:
    parts = []
    for session in found.sessions:
        for segment in found.segments(session, table):
            try:
                steps = segment.steps()
            except RunError:
                continue
            begin = 0
            for group, rows in enumerate(group_rows(segment)):
                own, begin = steps[begin : begin + rows], begin + rows
                if len(own):
                    read = partial(_read_group, segment, group, names)
                    parts.append(Part(session, int(own.min()), int(own.max()), rows, read))
        fresh = found.fresh(session, table)
        if fresh:
            steps = np.concatenate([group.steps for group in fresh])
            read = partial(records.FROM_LOG[table], fresh, session)
            parts.append(Part(session, int(steps.min()), int(steps.max()), records.fresh_count(fresh, table), read))
    return parts if superseded else [part for part in parts if part.first < found.limit(part.session)]


def _read_group(segment: Segment, number: int, names: Sequence[str]) -> pa.Table | None:
    """The named columns of one row group; those that are damaged are missing."""
    try:
        return segment.read(names, only(number))
    except RunError:
        pass  # the segment keeps what is damaged, to be named; the other columns are read one by one
    keys = ROW_KEYS[segment.table]
    try:
        table = segment.read(keys, only(number))
    except RunError:
        return None
    for name in names:
        if name in segment.columns and name not in keys:
            try:
                table = table.append_column(name, segment.read([name], only(number))[name])
            except RunError:
                continue
    return table


def _between(
    found: Snapshot,
    held: Sequence[Held],
    low: int,
    high: int,
    table: str,
    schema: pa.Schema,
    given: pa.Schema,
    *,
    superseded: bool,
) -> Iterator[pa.Table]:
    tables = []
    for _, part in held:
        step = part["step"].to_numpy()
        inside = (step >= low) & (step < high)
        tables.append(_complete(part if inside.all() else part.filter(pa.array(inside)), schema))
    rows = records.in_order(found, table, pa.concat_tables(tables), superseded=superseded)
    place_of = {name: place for place, name in enumerate(schema.names)}
    places = [place_of[name] for name in (given.names[:-1] if superseded else given.names)]
    yield from cut(rows.select([*places, len(schema)] if superseded else places))


def _complete(table: pa.Table, schema: pa.Schema) -> pa.Table:
    there = dict(zip(table.column_names, table.columns, strict=True))  # table[name] looks through all names
    columns = [
        there[column.name] if column.name in there else pa.nulls(table.num_rows, column.type) for column in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
