"""A run's tables in the order of their steps, a slice at a time: what an export reads, however long the run.

Memory holds the parts of the run that have rows of the step reached: a row group of each session's step records, a
segment of each session's per-tensor blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count, pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradlens.store import layout, series, snapshot
from gradlens.store.blocks import MAX_BYTES
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK
from gradlens.store.run import Run
from gradlens.store.segments import Segment, TooMuchError
from gradlens.store.series import KEYS
from gradlens.store.snapshot import Snapshot
from gradlens.store.tables import column_type, steps_table, tensors_table

SLICE_ROWS: Final = 1 << 16
SUPERSEDED: Final = "superseded"
_SLICE_VALUES = 1 << 20
_MOST_BYTES = 320 << 20  # of one kind in a segment; gradlens writes less
_PATIENCE = 20


@dataclass
class Slices:
    """Rows of one run, to be gone through once.

    Attributes:
        schema: of every slice.
        rows: how many there are, or a little more.
        damage: a sentence for each part that could not be read; complete once the last slice was given.
    """

    schema: pa.Schema
    rows: int
    damage: tuple[str, ...]
    _source: _Source

    def __iter__(self) -> Iterator[pa.Table]:
        done: int | None = None
        patience = _PATIENCE
        while True:
            try:
                found = snapshot.take(self._source.run.path)
                for high, tables in self._source.stretches(found, done):
                    yield from tables
                    done, patience = high, _PATIENCE
            except FileNotFoundError:  # sealed or merged meanwhile: look again, and go on from the step reached
                patience -= 1
                if not patience:
                    raise RunError(f"{self._source.run.path} changes faster than it can be read; try again.") from None
                time.sleep(0.002 * (_PATIENCE - patience))
                continue
            broken = (sentence for segment in (*found.steps, *found.tensors) for sentence in segment.damage)
            self.damage = tuple(dict.fromkeys((*found.problems, *broken)))
            return


def step_slices(run: Run, *, superseded: bool = False) -> Slices:
    """The step table: what :meth:`gradlens.store.Run.steps` gives, but for columns that are damaged in places.

    Those are null there, and named in ``damage``; a data frame leaves the rows out.

    Args:
        run: which run.
        superseded: give also the rows that a later session replaced, and say in a last column which.
    """
    names = run.columns
    schema = pa.schema([(name, column_type(name)) for name in names])
    source = _Source(
        run,
        partial(_step_parts, names=names, superseded=superseded),
        partial(_steps_between, schema=schema, superseded=superseded),
    )
    if superseded:
        schema = schema.append(pa.field(SUPERSEDED, pa.bool_()))
    return source.slices(schema)


def tensor_slices(run: Run, kind: str) -> Slices:
    """A per-tensor quantity as rows of step, parameter and value: what :meth:`gradlens.store.Run.tensors` gives.

    Args:
        run: which run.
        kind: ``"grad_norm"``, ``"update_norm"`` or ``"param_norm"``.
    """
    schema = pa.schema([("step", pa.int64()), ("parameter", pa.string()), ("value", pa.float32())])
    names = np.array([*run.parameters, "?"], dtype=object)
    between = partial(_tensors_between, names=names, schema=schema)
    return _Source(run, partial(_tensor_parts, kind=kind), between).slices(schema)


# ---- parts of a run, and stretches between their ends ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows that are read at once.

    Attributes:
        session: whose rows they are.
        first: the smallest place among them, a step or a block of steps.
        last: the largest.
        rows: how many, or a little more.
        read: gives them, None where they are damaged; raises FileNotFoundError once their file is gone.
    """

    session: int
    first: int
    last: int
    rows: int
    read: Callable[[], pa.Table | None]


_Held = tuple[_Part, pa.Table]


@dataclass(frozen=True)
class _Source:
    """A table of a run: the parts it lies in, and what its rows are between two places."""

    run: Run
    parts: Callable[[Snapshot], list[_Part]]
    between: Callable[[Snapshot, Sequence[_Held], int, int], Iterator[pa.Table]]

    def slices(self, schema: pa.Schema) -> Slices:
        rows = self.run._ask(lambda found: sum(part.rows for part in self.parts(found)))
        return Slices(schema, rows, (), self)

    def stretches(self, found: Snapshot, begin: int | None) -> Iterator[tuple[int, Iterator[pa.Table]]]:
        """Where each stretch between the ends of parts ends, and its rows; from ``begin`` on.

        Raises:
            FileNotFoundError: if a file is gone; not while a stretch's rows are given.
        """
        parts = self.parts(found)
        waiting = sorted(range(len(parts)), key=lambda index: -parts[index].first)
        ends = sorted({part.first for part in parts} | {part.last + 1 for part in parts})
        if begin is not None:
            ends = sorted({begin, *(end for end in ends if end > begin)})
        here: dict[int, _Held] = {}
        for low, high in pairwise(ends):
            here = {index: held for index, held in here.items() if held[0].last >= low}
            while waiting and parts[waiting[-1]].first <= low:
                index = waiting.pop()
                table = parts[index].read() if parts[index].last >= low else None
                if table is not None:
                    here[index] = parts[index], table
            if here:
                yield high, self.between(found, [here[index] for index in sorted(here)], low, high)


# ---- step records ----------------------------------------------------------------------------------------------------


def _step_parts(found: Snapshot, names: Sequence[str], *, superseded: bool) -> list[_Part]:
    parts = []
    for session in found.sessions:
        for segment in found.segments(session, layout.STEPS):
            try:
                steps = segment.steps()
            except RunError:
                continue
            begin = 0
            for group, rows in enumerate(_group_rows(segment)):
                own, begin = steps[begin : begin + rows], begin + rows
                if len(own):
                    read = partial(_read_group, segment, group, names)
                    parts.append(_Part(session, int(own.min()), int(own.max()), rows, read))
        fresh = found.fresh(session, layout.STEPS)
        if fresh:
            steps = np.concatenate([group.steps for group in fresh])
            read = partial(steps_table, fresh, session)
            parts.append(_Part(session, int(steps.min()), int(steps.max()), len(steps), read))
    return parts if superseded else [part for part in parts if part.first < found.limit(part.session)]


def _group_rows(segment: Segment) -> list[int]:
    rows: list[int] = []

    def note(group: Any) -> bool:
        rows.append(group.num_rows)
        return False

    segment.read((), note)
    return rows


def _only(number: int) -> Callable[[Any], bool]:
    """What chooses one row group."""
    places = count()
    return lambda _group: next(places) == number


def _read_group(segment: Segment, number: int, names: Sequence[str]) -> pa.Table | None:
    """The named columns of one row group; those that are damaged are missing."""
    try:
        return segment.read(names, _only(number))
    except RunError:
        pass  # the segment keeps what is damaged, to be named; the other columns are read one by one
    try:
        table = segment.read(KEYS, _only(number))
    except RunError:
        return None
    for name in names:
        if name in segment.columns and name not in KEYS:
            try:
                table = table.append_column(name, segment.read([name], _only(number))[name])
            except RunError:
                continue
    return table


def _steps_between(
    found: Snapshot, held: Sequence[_Held], low: int, high: int, schema: pa.Schema, *, superseded: bool
) -> Iterator[pa.Table]:
    tables = []
    for _, table in held:
        step = table["step"].to_numpy()
        inside = (step >= low) & (step < high)
        tables.append(_complete(table if inside.all() else table.filter(pa.array(inside)), schema))
    rows = pa.concat_tables(tables)
    step, session, seq = (rows[key].to_numpy() for key in KEYS)
    newest = series.newest_rows(found, step, session, seq)
    if superseded:
        old = np.ones(len(step), np.bool_)
        old[newest] = False
        rows = rows.append_column(SUPERSEDED, pa.array(old))
        newest = np.lexsort((seq, session, step))
    if not np.array_equal(newest, np.arange(len(step))):
        rows = rows.take(pa.array(newest))
    for begin in range(0, rows.num_rows, SLICE_ROWS):
        yield rows.slice(begin, SLICE_ROWS)


def _complete(table: pa.Table, schema: pa.Schema) -> pa.Table:
    there = set(table.column_names)
    columns = [
        table[column.name] if column.name in there else pa.nulls(table.num_rows, column.type) for column in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


# ---- per-tensor values -----------------------------------------------------------------------------------------------


def _tensor_parts(found: Snapshot, kind: str) -> list[_Part]:
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
                parts.append(_Part(session, int(blocks.min()), int(blocks.max()), rows, read))
        fresh = found.fresh(session, layout.TENSORS)
        fresh = [group for group in fresh if kind in dict(group.layout.tensors)]
        if fresh:
            blocks = np.concatenate([group.steps for group in fresh]) // BLOCK
            rows = sum(len(group.seqs) * dict(group.layout.tensors)[kind] for group in fresh)
            read = partial(tensors_table, fresh, session, [kind])
            parts.append(_Part(session, int(blocks.min()), int(blocks.max()), rows, read))
    return [part for part in parts if part.first * BLOCK < found.limit(part.session)]


def _blocks_of(segment: Segment, kind: str, columns: Sequence[str]) -> pa.Table | None:
    """Rows of one kind, a row group at a time, since memory holds them all; those that are damaged are left out."""
    tables = []
    for number in range(len(_group_rows(segment))):
        try:
            chosen = pc.equal(segment.read(["kind"], _only(number))["kind"], kind)
            if pc.any(chosen).as_py():
                table = segment.read(columns, _only(number))
                tables.append(table if pc.all(chosen).as_py() else table.filter(chosen))
                if sum(each.nbytes for each in tables) > _MOST_BYTES:
                    return None
        except RunError:
            continue
        if sum(table.nbytes for table in tables) > MAX_BYTES:
            raise TooMuchError(f"{segment.path} holds more of {kind} than can be exported.")
    return pa.concat_tables(tables) if tables else None


def _tensors_between(
    found: Snapshot, held: Sequence[_Held], low: int, high: int, names: NDArray[np.object_], schema: pa.Schema
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
        for start in range(0, table.num_rows, SLICE_ROWS):
            yield table.slice(start, SLICE_ROWS)


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
