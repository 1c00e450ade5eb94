"""What a run folder holds at one moment: sealed segments, and rows of active logs that no segment has yet."""

from __future__ import annotations

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from gradlens.store import files, layout
from gradlens.store.errors import RunError
from gradlens.store.layout import LogName, SegmentName
from gradlens.store.log_tables import has
from gradlens.store.scan import Group, Scan
from gradlens.store.segments import Segment

_MAX_LOG = 192 << 20
_MAX_KEPT = 256 << 20
_PIECE = 8 << 20


@dataclass(frozen=True)
class Log:
    """What could be read of an active log.

    Attributes:
        path: of the file.
        name: what its name says.
        groups: its rows.
        good: bytes read.
        unreadable: bytes behind them.
        damage: why they cannot be read; None if they may be a write under way, or one that a crash cut short.
    """

    path: Path
    name: LogName
    groups: tuple[Group, ...]
    good: int
    unreadable: int
    damage: str | None

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return sum(len(group.seqs) for group in self.groups)

    @property
    def problem(self) -> str | None:
        """A sentence about its damage."""
        if self.damage is None:
            return None
        return (
            f"{self.path}: {self.unreadable:,} bytes are unreadable ({self.damage}); "
            f"the {self.rows:,} rows before them are read."
        )


def read_log(path: Path, name: LogName, *, keep: bool = True) -> Log:
    """Read an active log.

    Args:
        path: of the log.
        name: what its name says.
        keep: whether to keep what was read, and to go on from there the next time.

    Raises:
        FileNotFoundError: if it is gone.
        RunError: if it is no regular file, or cannot be read.
    """
    with files.opened(path) as (file, stamp), _lock if keep else nullcontext():
        key, size = (path, stamp[1]), min(stamp[2], _MAX_LOG)
        scan = _scans.pop(key, None) if keep else None
        try:
            if scan is None or scan.good > size or not scan.continues(lambda at, length: files.read(file, at, length)):
                scan = Scan(name.session, name.number)
            before = scan.good
            _read_on(scan, file, size)
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}. Its rows are left out.") from error
        if keep and scan.good:
            _scans[key] = scan
        if scan.good > before:
            while len(_scans) > 1 and sum(kept.good for kept in _scans.values()) > _MAX_KEPT:
                _scans.popitem(last=False)
        damage = scan.damage or (f"only the first {_MAX_LOG >> 20} MiB are read" if stamp[2] > _MAX_LOG else None)
        return Log(path, name, tuple(scan.groups()), scan.good, stamp[2] - scan.good, damage)


def _read_on(scan: Scan, file: io.FileIO, size: int) -> None:
    """Feed what a log has more, in pieces: most of it may turn out to be no log."""
    piece = _PIECE
    while scan.good < size and scan.damage is None:
        before = scan.good
        data = files.read(file, before, min(piece, size - before))
        scan.feed(data)
        if scan.good == before:
            if len(data) < piece:
                return
            piece *= 8


_scans: OrderedDict[tuple[Path, int], Scan] = OrderedDict()
_lock = threading.Lock()


def _after_fork() -> None:
    """A thread that held the lock is not in the child."""
    global _lock
    _lock = threading.Lock()
    _scans.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@dataclass(frozen=True)
class Snapshot:
    """The parts of a run that can be read.

    Attributes:
        tables: the segments of each table, in the order of session and row; none lies within another.
        logs: active logs.
        problems: a sentence for each part that cannot be read.
    """

    tables: Mapping[str, tuple[Segment, ...]]
    logs: tuple[Log, ...]
    problems: tuple[str, ...]

    @property
    def all_segments(self) -> tuple[Segment, ...]:
        """Those of all tables."""
        return tuple(segment for segments in self.tables.values() for segment in segments)

    @cached_property
    def sessions(self) -> tuple[int, ...]:
        """Sessions with rows, ascending."""
        sealed = {segment.name.session for segment in self.tables[layout.STEPS]}
        return tuple(sorted(sealed | {log.name.session for log in self.logs if log.rows}))

    def fresh(self, session: int, table: str) -> list[Group]:
        """Rows of a session's logs that no segment of a table has."""
        ranges = [(segment.name.first, segment.name.last) for segment in self.segments(session, table)]
        found = []
        for log in self.logs:
            for group in log.groups if log.name.session == session else ():
                if not has(table, group):
                    continue
                open_rows = np.ones(len(group.seqs), np.bool_)
                for first, last in ranges:
                    open_rows &= (group.seqs < first) | (group.seqs > last)
                if open_rows.all():
                    found.append(group)
                elif open_rows.any():
                    found.append(group.only(open_rows))
        return found

    @cached_property
    def starts(self) -> dict[int, int]:
        """The smallest step of each session that has rows."""
        found: dict[int, int] = {}
        for segment in self.tables[layout.STEPS]:
            try:
                first = segment.first_step
            except RunError:
                continue
            if first is not None:
                found[segment.name.session] = min(first, found.get(segment.name.session, first))
        for log in self.logs:
            for group in log.groups:
                first = int(group.steps.min())
                found[log.name.session] = min(first, found.get(log.name.session, first))
        return found

    def limit(self, session: int) -> float:
        """The step from which on later sessions' rows supersede those of this one; infinite if none do."""
        return min((start for later, start in self.starts.items() if later > session), default=float("inf"))

    def segments(self, session: int, table: str) -> Iterator[Segment]:
        """A session's segments of a table, in the order of their rows."""
        return (segment for segment in self.tables[table] if segment.name.session == session)


def take(run: Path) -> Snapshot:
    """Look through a run folder.

    The logs are listed before the segments: a log that is sealed meanwhile is then found again as a segment.
    """
    logs, problems = _logs(run)
    tables = {table: _segments(run, table, problems) for table in layout.TABLES}
    kept = []
    for name, path in logs:
        try:
            log = read_log(path, name)
        except RunError as error:
            problems.append(str(error))
            continue
        if log.problem:
            problems.append(log.problem)
        kept.append(log)
    return Snapshot(tables, tuple(kept), tuple(problems))


def _logs(run: Path) -> tuple[list[tuple[LogName, Path]], list[str]]:
    try:
        entries = files.listing(run)
    except OSError as error:
        return [], [f"{run} cannot be listed: {error.strerror}."]
    found = [(LogName.parse(entry.name), Path(entry.path)) for entry in entries]
    return sorted((name, path) for name, path in found if name is not None and str(name) == path.name), []


def _segments(run: Path, table: str, problems: list[str]) -> tuple[Segment, ...]:
    folder = run / table
    try:
        if folder.is_symlink():
            problems.append(f"{folder} is a link; it is not followed.")
            return ()
        entries = files.listing(folder)
    except OSError as error:
        gone = isinstance(error, FileNotFoundError)
        if not (gone and (table in layout.OPTIONAL or _is_older(run, table))):
            problems.append(f"{folder} cannot be listed: {error.strerror}.")
        return ()
    good: list[Segment] = []
    for entry in entries:
        name = SegmentName.parse(entry.name)
        if name is None or str(name) != entry.name:
            problems.append(f"{entry.path} is not a gradlens segment; it is ignored.")
            continue
        try:
            good.append(Segment.open(Path(entry.path), name, table))
        except RunError as error:
            problems.append(str(error))
    return _outermost(good, problems)


def _is_older(run: Path, table: str) -> bool:
    """Whether a run is of a version that did not have a table."""
    try:
        version = files.read_json(run / layout.RUN_FILE).get("schema_version")
    except (FileNotFoundError, RunError):
        return False
    return isinstance(version, int) and version < layout.SINCE[table]


def _outermost(found: Sequence[Segment], problems: list[str]) -> tuple[Segment, ...]:
    """Leave out segments whose rows another has too: what a crash left of a merge or of a thinning."""
    ordered = sorted(found, key=lambda s: (s.name.session, s.name.first, -s.name.last, -s.size))
    kept: list[Segment] = []
    for segment in ordered:
        before = kept[-1].name if kept else segment.name
        if not kept or before.session < segment.name.session or before.last < segment.name.first:
            kept.append(segment)
        elif not before.covers(segment.name):
            problems.append(f"{segment.path} shares rows with {before}, as no two segments do; it is ignored.")
    return tuple(kept)
