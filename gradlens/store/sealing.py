"""From active logs to segments, and from many segments to few. Each is committed by one rename: a crash loses nothing.

What a crash may leave behind, a log whose rows are sealed or a segment that a larger one holds too, readers pass over,
and :func:`tidy` clears it away.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gradlens.schema import SCHEMA_VERSION
from gradlens.store import files, layout, segments, snapshot
from gradlens.store.disk import Disk, lock
from gradlens.store.errors import RunError
from gradlens.store.layout import LogName, SegmentName
from gradlens.store.log_tables import has, micro_batches_table, steps_table, tensors_table
from gradlens.store.merging import GROUP_ROWS, GROUP_VALUES, Tick, compact
from gradlens.store.pyramid import Summaries, summarise
from gradlens.store.scan import Group
from gradlens.store.segments import Segment
from gradlens.store.tables import STEP_KEYS

STALE_SECONDS: Final = 60.0
"""Age from which on a temporary is nobody's; writing one takes a living process seconds."""


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
        for table in layout.TABLES:
            groups = [group for group in log.groups if has(table, group)]
            if groups and not _sealed(run / table, rows):
                row_groups, summaries = _SEALED[table](groups, log.name.session)
                segments.write(disk, run / table, rows, row_groups, summaries)
    if log.damage is not None:
        return False
    for table in layout.TABLES:
        disk.sync_folder(run / table)  # also where the segment was there already
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


def pyramids(table: pa.Table) -> dict[str, Summaries]:
    """Summaries of every numeric column of a step table."""
    steps = table["step"].to_numpy()
    found = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_string(column.type) or name in STEP_KEYS:
            continue
        present = column.is_valid().to_numpy()
        found[name] = summarise(steps[present], column.drop_null().cast(pa.float64()).to_numpy())
    return found


_Content = tuple[Iterable[pa.Table], Mapping[str, Summaries]]
"""Row groups and pyramids of a segment."""


def _steps(groups: Sequence[Group], session: int) -> _Content:
    table = steps_table(groups, session)
    return [table], pyramids(table)


def _tensors(groups: Sequence[Group], session: int) -> _Content:
    return _tensor_groups(groups, session), {}


def _micro_batches(groups: Sequence[Group], session: int) -> _Content:
    table = micro_batches_table(groups, session)
    return [table.slice(begin, GROUP_ROWS) for begin in range(0, table.num_rows, GROUP_ROWS)], {}


_SEALED: Final[dict[str, Callable[[Sequence[Group], int], _Content]]] = {
    layout.STEPS: _steps,
    layout.TENSORS: _tensors,
    layout.MICRO_BATCHES: _micro_batches,
}


def _tensor_groups(groups: Sequence[Group], session: int) -> Iterator[pa.Table]:
    for kind in sorted({kind for group in groups for kind, _ in group.layout.tensors}):
        yield from _by_values(tensors_table(groups, session, [kind]))


def _by_values(table: pa.Table) -> Iterator[pa.Table]:
    """A table of one kind in pieces of so many values."""
    ends = np.cumsum(pc.list_value_length(table["values"]).to_numpy())
    start = 0
    while start < table.num_rows:
        reached = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, reached + GROUP_VALUES, side="right")))
        yield table.slice(start, end - start)
        start = end


def written_to(run: Path) -> bool:
    """Whether a living process holds a log of the run; False where the system has no file locks."""
    for path in run.glob("active-*.log"):
        try:
            with files.opened(path) as (file, _):
                if not lock(file.fileno()):
                    return True
        except (OSError, RunError):
            continue
    return False


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
            with files.opened(path) as (file, _):
                if not lock(file.fileno()):
                    alive.add(name.session)
                    continue
                seal(disk, run, snapshot.read_log(path, name, keep=False))
        except (FileNotFoundError, RunError):
            continue
        tick()
    if not alive:
        for folder in (run, *(run / table for table in layout.TABLES)):
            for path in folder.glob(".*.tmp"):
                if not disk.owns(path) and _older(path, STALE_SECONDS):
                    disk.remove(path)
    return tuple(sorted(alive))


def _older(path: Path, seconds: float) -> bool:
    """Whether a file was last written so long ago; not if it is gone."""
    try:
        return time.time() - path.lstat().st_mtime >= seconds
    except OSError:
        return False


def raise_version(disk: Disk, run: Path) -> None:
    """Make the folders that this version adds to a run, and note in ``run.json`` that its segments may follow.

    Raises:
        RunError: if it is no whole run, or one that this version cannot read.
        OSError: if it cannot be noted.
    """
    try:
        entries = files.read_json(run / layout.RUN_FILE)
    except FileNotFoundError:
        raise RunError(f"{run} is not a run: it holds no {layout.RUN_FILE}.") from None
    version = entries.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise RunError(
            f"{run / layout.RUN_FILE}: expected schema version {SCHEMA_VERSION} or older, got {version!r}; "
            "update gradlens to write to this run."
        )
    missing = [table for table in layout.TABLES if not (run / table).is_dir()]
    for table in missing:
        if table not in layout.OPTIONAL and layout.SINCE[table] <= version:
            raise RunError(f"{run} is not a whole run: its folder {table} is missing.")
    for table in missing:
        disk.make_folder(run / table)
        disk.sync_folder(run)
    if version < SCHEMA_VERSION:
        disk.write(run / layout.RUN_FILE, json.dumps(entries | {"schema_version": SCHEMA_VERSION}, indent=1).encode())


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
    raise_version(disk, run)
    alive = tidy(disk, run, tick=tick)
    found = snapshot.take(run)
    for session in found.sessions:
        logs = {path.name for path in run.glob(f"active-{session}-*.log")}
        read = {str(log.name) for log in found.logs}
        if session not in alive and logs <= read and not found.fresh(session, layout.STEPS):
            compact(disk, run, session, 1, tick)
    return alive
