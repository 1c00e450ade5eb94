"""From active logs to segments, and from many segments to few. Each is committed by one rename: a crash loses nothing.

What a crash may leave behind, a log whose rows are sealed or a segment that a larger one holds too, readers pass over,
and :func:`tidy` clears it away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradlens.store import files, layout, segments, snapshot
from gradlens.store.disk import Disk, lock
from gradlens.store.errors import RunError
from gradlens.store.frames import Group
from gradlens.store.layout import LogName, SegmentName
from gradlens.store.pyramid import Summaries, merge, summarise
from gradlens.store.segments import MAX_ROWS, Segment
from gradlens.store.tables import TENSOR_SCHEMA, column_order, column_type, steps_table, tensors_table

MERGED_BYTES: Final = 256 << 20
GROUP_BYTES: Final = 128 << 20
GROUP_VALUES: Final = 1 << 20
"""Tensor values in a row group: what reading one tensor's series decodes at least."""

Tick = Callable[[], None]


def seal(disk: Disk, run: Path, log: snapshot.Log) -> bool:
    """Turn a log into segments and remove it; what is sealed already is not sealed again.

    Returns:
        Whether the log is gone; a damaged one stays, so that the damage can be seen.

    Raises:
        OSError: as the system gives it; the log stays.
    """
    if log.rows:
        seqs = np.concatenate([group.seqs for group in log.groups])
        rows = log.name.session, int(seqs.min()), int(seqs.max())
        if not _sealed(run / layout.STEPS, rows):
            table = steps_table(log.groups, log.name.session)
            segments.write(disk, run / layout.STEPS, rows, [table], _pyramids(table))
        with_tensors = [group for group in log.groups if group.layout.tensors]
        if with_tensors and not _sealed(run / layout.TENSORS, rows):
            segments.write(disk, run / layout.TENSORS, rows, _tensor_groups(with_tensors, log.name.session), {})
    if log.damage is not None:
        return False
    disk.remove(log.path)
    return True


def _sealed(folder: Path, rows: tuple[int, int, int]) -> bool:
    """Whether an intact segment has these rows."""
    for path in folder.glob(f"seg-{rows[0]}-*.parquet"):
        name = SegmentName.parse(path.name)
        if name is not None and name.covers(SegmentName(*rows, 0)):
            try:
                Segment.open(path, name, folder.name).check()
            except (RunError, OSError):
                continue
            return True
    return False


def _pyramids(table: pa.Table) -> dict[str, Summaries]:
    steps = table["step"].to_numpy()
    found = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_string(column.type) or name in ("step", "session", "seq"):
            continue
        present = column.is_valid().to_numpy()
        found[name] = summarise(steps[present], column.drop_null().cast(pa.float64()).to_numpy())
    return found


def _tensor_groups(groups: Sequence[Group], session: int) -> Iterator[pa.Table]:
    for kind in sorted({kind for group in groups for kind, _ in group.layout.tensors}):
        yield from _by_values(tensors_table(groups, session, [kind]))


def _by_values(table: pa.Table) -> Iterator[pa.Table]:
    """A table of one kind in pieces of about a million values."""
    ends = np.cumsum(pc.list_value_length(table["values"]).to_numpy())
    start = 0
    while start < table.num_rows:
        reached = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, reached + GROUP_VALUES, side="right")))
        yield table.slice(start, end - start)
        start = end


# ---- many into few ---------------------------------------------------------------------------------------------------


def compact(disk: Disk, run: Path, session: int, more_than: int, tick: Tick = lambda: None) -> int:
    """Merge neighbouring segments of a session where a table has more than so many of them.

    Only for a session whose logs are sealed, but for the one that it still writes: a merged range must not hide rows
    that are in a log.

    Args:
        disk: where writes go.
        run: the run folder.
        session: whose segments.
        more_than: how many segments are fine.
        tick: called now and then, to show that it goes on.

    Returns:
        How many segments were merged away.

    Raises:
        OSError: as the system gives it; nothing is lost.
    """
    found = snapshot.take(run)
    gone = 0
    for table in layout.TABLES:
        parts = list(found.segments(session, table))
        if len(parts) > more_than:
            for group in _neighbours(parts):
                tick()
                gone += _merge(disk, run / table, group, tick)
        gone += _remove_covered(disk, run / table, session)
    return gone


def _neighbours(parts: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Runs of adjacent segments that together are no larger than a segment should be."""
    group: list[Segment] = []
    for part in parts:
        together = [*group, part]
        if sum(p.size for p in together) > MERGED_BYTES or sum(p.rows for p in together) > MAX_ROWS // 2:
            if len(group) > 1:
                yield group
            group = [part]
        else:
            group = together
    if len(group) > 1:
        yield group


def _merge(disk: Disk, folder: Path, parts: Sequence[Segment], tick: Tick) -> int:
    try:
        for part in parts:
            part.check()
            tick()
    except RunError:  # a merge would drop what a reader can still tell of the damage
        return 0
    rows = parts[0].name.session, parts[0].name.first, max(part.name.last for part in parts)
    if folder.name == layout.STEPS:
        tables = _merged_steps(parts)
        names = {name for part in parts for name in part.columns} - {"step", "session", "seq"}
        pyramids = {name: merge([part.pyramid(name) for part in parts]) for name in names}
        pyramids = {name: pyramids[name] for name in column_order(pyramids) if len(pyramids[name])}
    else:
        tables, pyramids = _merged_tensors(parts), {}
    name = segments.write(disk, folder, rows, _ticking(tables, tick), pyramids)
    for part in parts:
        if part.name != name:
            disk.remove(part.path)
    return len(parts) - 1


def _merged_steps(parts: Sequence[Segment]) -> Iterator[pa.Table]:
    names = column_order({name for part in parts for name in part.columns})
    schema = pa.schema([(name, column_type(name)) for name in names])
    most = max(1, GROUP_BYTES // (8 * len(names)))
    waiting: list[pa.Table] = [schema.empty_table()]
    rows = 0
    for part in parts:
        table = part.read(names)
        if rows and rows + table.num_rows > most:
            yield pa.concat_tables(waiting, promote_options="default").combine_chunks()
            waiting, rows = [schema.empty_table()], 0
        waiting.append(table)
        rows += table.num_rows
    yield pa.concat_tables(waiting, promote_options="default").combine_chunks()


def _merged_tensors(parts: Sequence[Segment]) -> Iterator[pa.Table]:
    """Rows in the order of kind, parameter and block, a range of parameters at a time."""
    keys = [part.read(["kind", "parameter", "count", "nonfinite"]) for part in parts]
    for kind in sorted({kind for table in keys for kind in pc.unique(table["kind"]).to_pylist()}):
        values: dict[int, int] = {}
        for part, table in zip(parts, keys, strict=True):
            of_kind = table.filter(pc.equal(table["kind"], kind))
            counts = of_kind["count"].to_numpy() + of_kind["nonfinite"].to_numpy() if "count" in part.columns else None
            parameters = of_kind["parameter"].to_numpy()
            weights = np.full(len(parameters), layout.BLOCK) if counts is None else counts
            for parameter, weight in enumerate(np.bincount(parameters, weights).astype(int).tolist()):
                values[parameter] = values.get(parameter, 0) + weight
        for low, high in _ranges(values):
            yield _tensors_between(parts, kind, low, high)


def _ranges(values: dict[int, int]) -> Iterator[tuple[int, int]]:
    low, total = 0, 0
    for parameter in range(max(values) + 1):
        if total and total + values[parameter] > GROUP_VALUES:
            yield low, parameter
            low, total = parameter, 0
        total += values[parameter]
    yield low, max(values) + 1


def _tensors_between(parts: Sequence[Segment], kind: str, low: int, high: int) -> pa.Table:
    found = []
    for part in parts:
        table = read_tensors(part, kind, low, high)
        if "count" not in table.column_names:  # schema version 1
            lengths = pc.list_value_length(table["values"])
            finite = pa.array([int(np.isfinite(values).sum()) for values in table["values"].to_pylist()], pa.int32())
            table = table.append_column("count", finite)
            table = table.append_column("nonfinite", pc.subtract(lengths, finite).cast(pa.int32()))
        found.append(table.select(TENSOR_SCHEMA.names).cast(TENSOR_SCHEMA))
    return pa.concat_tables(found).sort_by([("parameter", "ascending"), ("block", "ascending")]).combine_chunks()


def read_tensors(segment: Segment, kind: str, low: int, high: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one kind and of parameters ``low`` to ``high - 1``, without reading the others' where they lie apart.

    Raises:
        RunError: if the segment is damaged.
        FileNotFoundError: if it is gone.
    """
    places = {name: place for place, name in enumerate(segment.columns)}

    def wanted(group: Any) -> bool:
        kinds, parameters = (group.column(places[name]).statistics for name in ("kind", "parameter"))
        if kinds is None or parameters is None or not (kinds.has_min_max and parameters.has_min_max):
            return True
        return bool(kinds.min <= kind <= kinds.max and parameters.min < high and parameters.max >= low)

    names = segment.columns if columns is None else (*columns, "kind", "parameter")
    table = segment.read(names, wanted)
    chosen = pc.and_(pc.equal(table["kind"], kind), pc.greater_equal(table["parameter"], low))
    return table.filter(pc.and_(chosen, pc.less(table["parameter"], high)))


def _ticking(tables: Iterable[pa.Table], tick: Tick) -> Iterator[pa.Table]:
    for table in tables:
        yield table
        tick()


# ---- less detail, and less clutter -----------------------------------------------------------------------------------


def thin(disk: Disk, run: Path, most: int) -> bool:
    """Where a run takes more bytes, drop per-tensor detail, the oldest first; its 256-step summaries stay.

    Args:
        disk: where writes go.
        run: the run folder.
        most: bytes that the run may take.

    Returns:
        Whether the run is within them now.

    Raises:
        OSError: as the system gives it; nothing is lost.
    """
    total = sum(files.size(folder) for folder in (run, run / layout.STEPS, run / layout.TENSORS))
    if total <= most:
        return True
    for part in snapshot.take(run).tensors:
        if part.thin:
            continue
        try:
            name = _thinned(disk, run / layout.TENSORS, part)
        except RunError:
            continue
        total += (run / layout.TENSORS / str(name)).stat().st_size - part.size
        if total <= most:
            return True
    return False


def _thinned(disk: Disk, folder: Path, part: Segment) -> SegmentName:
    rows = part.name.session, part.name.first, part.name.last
    kept = part.read([name for name in part.columns if name not in ("offsets", "values")])
    none = pa.ListArray.from_arrays(np.zeros(kept.num_rows + 1, np.int32), pa.array([], pa.uint8()))
    kept = kept.append_column("offsets", none).append_column("values", none.cast(pa.list_(pa.float32())))
    name = segments.write(disk, folder, rows, [kept.select(list(part.columns))], {}, thin=True)
    disk.remove(part.path)
    return name


def tidy(disk: Disk, run: Path, but: int | None = None, tick: Tick = lambda: None) -> tuple[int, ...]:
    """Seal what dead sessions left, and clear away their temporaries.

    A session is dead if its log is not held by a process that lives; where the system has no file locks, all others are
    taken to be dead, and a session whose log is sealed under it goes on in a new one.

    Args:
        disk: where writes go.
        run: the run folder.
        but: a session to leave alone.
        tick: called now and then, to show that it goes on.

    Returns:
        The sessions that are alive.

    Raises:
        OSError: as the system gives it; nothing is lost.
    """
    alive = set()
    for path in sorted(run.glob("active-*.log"), key=lambda p: LogName.parse(p.name) or LogName(0, 0)):
        name = LogName.parse(path.name)
        if name is None or name.session == but or name.session in alive or path.is_symlink():
            continue
        try:
            with path.open("rb") as file:
                if not lock(file.fileno()):
                    alive.add(name.session)
                    continue
                seal(disk, run, snapshot.read_log(path, name, keep=False))
        except (FileNotFoundError, RunError):
            continue
        tick()
    if not alive:
        for folder in (run, run / layout.STEPS, run / layout.TENSORS):
            for path in folder.glob(".*.tmp"):
                if not disk.owns(path):
                    disk.remove(path)
    return tuple(sorted(alive))


def _remove_covered(disk: Disk, folder: Path, session: int) -> int:
    """Remove the session's segments that a larger intact one holds too; what a crash left of a merge."""
    good: list[Segment] = []
    for path in sorted(folder.glob(f"seg-{session}-*.parquet")):
        name = SegmentName.parse(path.name)
        try:
            if name is not None and name.session == session:
                good.append(Segment.open(path, name, folder.name))
        except (RunError, FileNotFoundError):
            continue
    gone = 0
    for small in good:
        for large in good:
            same = large.name.covers(small.name) and small.name.covers(large.name)
            if large is not small and large.name.covers(small.name) and (not same or large.size > small.size):
                try:
                    large.check()
                except (RunError, FileNotFoundError):
                    continue
                disk.remove(small.path)
                gone += 1
                break
    return gone


def compact_run(run: Path, tick: Tick = lambda: None, disk: Disk | None = None) -> tuple[int, ...]:
    """Seal what dead sessions left, merge what can be merged, and clear away the rest; what lives is left alone.

    Args:
        run: the run folder.
        tick: called now and then, to show that it goes on.
        disk: where writes go.

    Returns:
        The sessions that are alive, and were left alone.

    Raises:
        RunError: if it is no whole run.
        OSError: as the system gives it; nothing is lost.
    """
    disk = disk or Disk()
    alive = tidy(disk, run, tick=tick)
    found = snapshot.take(run)
    for session in found.sessions:
        open_logs = [log for log in found.logs if log.name.session == session and found.fresh(session, layout.STEPS)]
        if session not in alive and not open_logs:
            compact(disk, run, session, 1, tick)
    return alive
