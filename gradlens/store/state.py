"""What a run is on disk and how its sessions fared, as a snapshot and the sessions' own notes have it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from gradlens.store import blocks, files, layout
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK
from gradlens.store.log_tables import micro_batches_table
from gradlens.store.segments import Segment
from gradlens.store.snapshot import Snapshot
from gradlens.store.tables import ROW_KEYS

_FOOTPRINT_VALUES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """One process's turn at a run.

    Attributes:
        number: 0 for the first.
        first_step: the smallest step that it wrote, None if it wrote none.
        rows: rows of it that can be read.
        lost: rows that it could not write: by its own count, or missing in the numbering of those that are there.
        last_error: what the disk said last.
        closed: ``finished``, ``stopped``, or None if it never closed.
        heartbeat: when it last said that it lived, seconds since 1970.
    """

    number: int
    first_step: int | None
    rows: int
    lost: int
    last_error: str | None
    closed: str | None
    heartbeat: float | None


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a run takes on disk.

    Attributes:
        segments: sealed segments.
        logs: active logs.
        bytes: of all its files.
        points: recorded numbers: scalars, per-tensor values, and what was measured of micro-batches.
    """

    segments: int
    logs: int
    bytes: int
    points: int


def session_info(found: Snapshot, number: int, health: Mapping[str, Any]) -> SessionInfo:
    """A session by its rows, and by what it said of itself."""
    segments = list(found.segments(number, layout.STEPS))
    fresh = found.fresh(number, layout.STEPS)
    rows = sum(s.rows for s in segments) + sum(len(group.seqs) for group in fresh)
    ends = [s.name.last for s in segments] + [int(group.seqs.max()) for group in fresh]
    missing = max(ends) + 1 - rows if ends and not found.problems else 0
    error, closed = files.text(health.get("last_error")), health.get("closed")
    return SessionInfo(
        number,
        found.starts.get(number),
        rows,
        max(missing, counted(health.get("dropped"))),
        error or None,
        closed if closed in ("finished", "stopped") else None,
        files.number(health.get("heartbeat")),
    )


def losses(sessions: Sequence[SessionInfo]) -> list[str]:
    """A sentence for each session that lost rows, or met a disk that failed."""
    said = []
    for session in sessions:
        of = f" in session {session.number}" if len(sessions) > 1 else ""
        if session.lost:
            why = f": {session.last_error}" if session.last_error else ""
            said.append(f"{session.lost:,} rows lost while recording{of}{why}.")
        elif session.last_error:
            said.append(f"the disk failed while recording{of}, but no row was lost: {session.last_error}.")
    return said


def footprint(found: Snapshot, size: int) -> Footprint:
    """What a run of so many bytes takes, and for how many numbers."""
    points = 0
    for table in (layout.STEPS, layout.MICRO_BATCHES):
        points += sum(_points(segment, ROW_KEYS[table]) for segment in found.tables[table])
    for segment in found.tables[layout.TENSORS]:
        with contextlib.suppress(RunError):
            points += sum(blocks.value_counts(segment).tolist())
    for session in found.sessions:
        points += sum(g.scalars.size - len(g.seqs) for g in found.fresh(session, layout.STEPS))
        points += sum(g.tensors.size for g in found.fresh(session, layout.TENSORS))
        fresh = micro_batches_table(found.fresh(session, layout.MICRO_BATCHES), session)
        points += _numbers(fresh.drop_columns(list(ROW_KEYS[layout.MICRO_BATCHES])))
    return Footprint(len(found.all_segments), len(found.logs), size, points)


def thinned(found: Snapshot) -> tuple[int, int] | None:
    """First and last step of the blocks whose per-tensor detail gave way to summaries; None if there are none."""
    ends: list[int] = []
    for segment in found.tables[layout.TENSORS]:
        try:
            rows = segment.read(["block", "offsets"])
        except RunError:
            continue
        bare = rows["block"].filter(pc.equal(pc.list_value_length(rows["offsets"]), 0))
        ends += [end for end in pc.min_max(bare).as_py().values() if end is not None]
    return (min(ends) * BLOCK, max(ends) * BLOCK + BLOCK - 1) if ends else None


def stats(run: Path, folder: str) -> list[tuple[str, int, int, int]]:
    """Name, inode, size and time of the files in a run's folder, hidden ones left out; of those that can be had."""
    found = []
    with contextlib.suppress(OSError), os.scandir(run / folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    stat = entry.stat(follow_symlinks=False)
                    name = f"{folder}/{entry.name}" if folder else entry.name
                    found.append((name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def counted(value: object) -> int:
    """A number of rows in a session's notes, 0 if it is none."""
    return value if isinstance(value, int) and value > 0 else 0


def _points(segment: Segment, keys: Sequence[str]) -> int:
    """How many numbers a segment's rows hold, read some columns at a time; damaged ones left out."""
    names = [name for name in segment.columns if name not in keys]
    some = max(1, _FOOTPRINT_VALUES // max(1, segment.rows))
    points = 0
    for begin in range(0, len(names), some):
        chosen = names[begin : begin + some]
        try:
            points += _numbers(segment.read(chosen))
        except RunError:  # one of them is damaged; the others count
            for name in chosen:
                with contextlib.suppress(RunError):
                    points += _numbers(segment.read([name]))
    return points


def _numbers(table: Any) -> int:
    return sum(len(column) - int(column.null_count) for column in table.columns)
