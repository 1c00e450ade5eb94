"""Many segments into few, and few bytes of many: what a session does with its segments once they are sealed.

Each result is committed by one rename before what it replaces is removed, so that a crash in between leaves both;
readers take the larger one, and the next merge clears the other away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradlens.store import files, layout, segments, snapshot
from gradlens.store.blocks import read_tensors
from gradlens.store.disk import Disk
from gradlens.store.errors import RunError
from gradlens.store.layout import SegmentName
from gradlens.store.pyramid import Summaries, merge
from gradlens.store.segments import Segment
from gradlens.store.tables import MAX_ROWS, MICRO_BATCH_SCHEMA, TENSOR_SCHEMA, column_order, column_type

MERGED_BYTES: Final = 160 << 20
GROUP_BYTES: Final = 256 << 20
MOST_CHUNKS: Final = 30_000
"""Columns times row groups of a merged segment of step records: what bounds its footer."""
GROUP_VALUES: Final = 1 << 18
"""Tensor values in a row group: what reading one tensor's series decodes at least."""
GROUP_ROWS: Final = 1 << 18
"""Micro-batches in a row group."""

Tick = Callable[[], None]


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
            for group in _neighbours(parts, _names(run / table, session)):
                tick()
                gone += _merge(disk, run / table, group, tick)
        gone += _remove_covered(disk, run / table, session)
    return gone


def _names(folder: Path, session: int) -> list[SegmentName]:
    """Names of a session's segments, those that cannot be read included."""
    found = (SegmentName.parse(path.name) for path in folder.iterdir())
    return [name for name in found if name is not None and name.session == session]


def _neighbours(parts: Sequence[Segment], names: Sequence[SegmentName]) -> Iterator[list[Segment]]:
    """Runs of adjacent segments that together are no larger than a segment should be.

    None reaches over a segment that cannot be read: a merged name would claim its rows, and hide them should it be
    restored. Thinned segments stay with their kind.
    """
    group: list[Segment] = []
    for part in parts:
        together = [*group, part]
        size, rows = sum(p.size for p in together), sum(p.rows for p in together)
        columns = len({name for p in together for name in p.columns})
        chunks = columns * (1 + 8 * rows * columns // GROUP_BYTES)
        apart = group and any(group[-1].name.last < n.first and n.last < part.name.first for n in names)
        unlike = group and group[-1].thin != part.thin
        if size > MERGED_BYTES or rows > MAX_ROWS // 2 or chunks > MOST_CHUNKS or apart or unlike:
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
    tables, pyramids = _MERGED[folder.name](parts)
    name = segments.write(disk, folder, rows, _ticking(tables, tick), pyramids, thin=parts[0].thin)
    for part in parts:
        if part.name != name:
            disk.remove(part.path)
    return len(parts) - 1


def _merged_steps(parts: Sequence[Segment]) -> tuple[Iterator[pa.Table], dict[str, Summaries]]:
    names = column_order({name for part in parts for name in part.columns})
    schema = pa.schema([(name, column_type(name)) for name in names])
    brought = [part.pyramids() for part in parts]
    numeric = (name for name in names if any(name in each for each in brought))
    pyramids = {name: merge([each[name] for each in brought if name in each]) for name in numeric}
    return _together(parts, schema, max(1, GROUP_BYTES // (8 * len(names)))), pyramids


def _merged_micro_batches(parts: Sequence[Segment]) -> tuple[Iterator[pa.Table], dict[str, Summaries]]:
    return _together(parts, MICRO_BATCH_SCHEMA, GROUP_ROWS), {}


def _together(parts: Sequence[Segment], schema: pa.Schema, most: int) -> Iterator[pa.Table]:
    """Rows in their order, a row group of so many at a time, or of one segment."""
    waiting: list[pa.Table] = [schema.empty_table()]
    rows = 0
    for part in parts:
        table = part.read(schema.names)
        if rows and rows + table.num_rows > most:
            yield pa.concat_tables(waiting, promote_options="default").combine_chunks()
            waiting, rows = [schema.empty_table()], 0
        waiting.append(table)
        rows += table.num_rows
    yield pa.concat_tables(waiting, promote_options="default").combine_chunks()


def _merged_tensors(parts: Sequence[Segment]) -> tuple[Iterator[pa.Table], dict[str, Summaries]]:
    return _regrouped(parts), {}


_MERGED: Final[dict[str, Callable[[Sequence[Segment]], tuple[Iterator[pa.Table], dict[str, Summaries]]]]] = {
    layout.STEPS: _merged_steps,
    layout.TENSORS: _merged_tensors,
    layout.MICRO_BATCHES: _merged_micro_batches,
}


def _regrouped(parts: Sequence[Segment]) -> Iterator[pa.Table]:
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


def _ticking(tables: Iterable[pa.Table], tick: Tick) -> Iterator[pa.Table]:
    for table in tables:
        yield table
        tick()


def thin(disk: Disk, run: Path, most: int) -> bool:
    """Where a run takes more bytes, drop per-tensor detail, the oldest first; its 256-step summaries stay.

    Step records and micro-batches have no summaries that could stay in their place, and are never thinned.

    Args:
        disk: where writes go.
        run: the run folder.
        most: bytes that the run may take.

    Returns:
        Whether the run is within them now.

    Raises:
        OSError: as the system gives it; nothing is lost.
    """
    total = sum(files.size(folder) for folder in (run, *(run / table for table in layout.TABLES)))
    if total <= most:
        return True
    for part in snapshot.take(run).tables[layout.TENSORS]:
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
