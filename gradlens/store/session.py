"""One process's turn at a run: it claims a number, appends rows to a log, and seals the log when it is full.

Nothing here starts a thread: :class:`gradlens.store.RunWriter` does.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gradlens.schema import SCHEMA_VERSION
from gradlens.store import layout, merging, sealing, snapshot
from gradlens.store.active_log import ActiveLog
from gradlens.store.disk import Disk, whereabouts
from gradlens.store.errors import RunError
from gradlens.store.frames import NONE, MicroBatches, Row, Tensors
from gradlens.store.layout import BLOCK, LogName
from gradlens.store.segments import parquet_bytes
from gradlens.store.tables import Parameters, parameters_table

SEAL_ROWS: Final = 8192
SEAL_BYTES: Final = 32 << 20
SEAL_MICRO_BATCHES: Final = 1 << 19
COMPACT_ABOVE: Final = 32


class Session:
    """Writes rows of one session of one run; every method may raise OSError, and loses nothing by it.

    ``append`` belongs to one thread, all else to another.

    Args:
        disk: where writes go.
        path: the run folder.
        number: the session's number, claimed already.

    Attributes:
        path: the run folder, also after it was renamed.
        number: the session's number.
        gone: whether the run folder is no longer to be found.
        max_bytes: what the run may take before per-tensor detail is thinned; None is no limit.
    """

    def __init__(self, disk: Disk, path: Path, number: int) -> None:
        self.path = path
        self.number = number
        self.gone = False
        self.max_bytes: int | None = None
        self._disk = disk
        self._log: ActiveLog | None = None
        self._full: deque[ActiveLog] = deque()
        self._logs = 0
        self._synced: dict[str, int] = {}
        self._folder = os.open(path, os.O_RDONLY) if os.name != "nt" else -1

    # ---- the writing thread ------------------------------------------------------------------------------------------

    def append(self, seq: int, row: Row, tensors: Tensors, micro_batches: MicroBatches = NONE) -> None:
        """Add one row; once this returns, it survives the death of the process.

        Raises:
            OSError: if the disk refuses; the row is not in the run then.
            ValueError: for a row that cannot be stored.
        """
        if self.gone:
            raise FileNotFoundError(errno.ENOENT, "the run folder was removed", str(self.path))
        if self._log is not None and not self._log.sound:
            there = self._has(self._log, seq)
            self.rotate()
            if there:  # a write that failed, it was said, and could not be taken back
                return
        if self._log is not None and not self._log.fits(row, micro_batches):
            self.rotate()
        if self._log is None:
            self._log = self._next_log()
        self._log.append(seq, row, tensors, micro_batches)
        if self._is_full(self._log, int(row["step"])):  # type: ignore[arg-type]  # a row has a step, a number
            self.rotate()

    def rotate(self) -> None:
        """End the log under way; it waits to be sealed."""
        log, self._log = self._log, None
        if log is not None:
            self._full.append(log)

    def _has(self, log: ActiveLog, seq: int) -> bool:
        """Whether a row is in a log.

        Raises:
            OSError: if the log cannot be read.
        """
        try:
            found = snapshot.read_log(log.path, self._name(log), keep=False)
        except FileNotFoundError:
            return False
        except RunError as error:
            raise OSError(errno.EIO, str(error)) from error
        return any((group.seqs == seq).any() for group in found.groups)

    def _next_log(self) -> ActiveLog:
        while True:
            name = LogName(self.number, self._logs)
            self._logs += 1
            try:
                return ActiveLog(self._disk, self.path, name)
            except FileExistsError:
                continue

    def _is_full(self, log: ActiveLog, step: int) -> bool:
        """A log ends with a block of steps where it can, so that the block is one row a tensor."""
        at_end = step % BLOCK == BLOCK - 1
        large = log.rows >= SEAL_ROWS or log.size >= SEAL_BYTES or log.micro_batches >= SEAL_MICRO_BATCHES
        return large and (at_end or log.rows >= 2 * SEAL_ROWS or log.size >= 2 * SEAL_BYTES)

    # ---- the keeping thread ------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """Whether full logs wait to be sealed."""
        return bool(self._full)

    def seal(self, tick: merging.Tick = lambda: None) -> None:
        """Seal the full logs, oldest first; the first that fails keeps the later ones waiting."""
        while self._full:
            log = self._full[0]
            sealing.seal(self._disk, self.path, snapshot.read_log(log.path, self._name(log), keep=False))
            self._full.popleft()
            self._synced.pop(log.path.name, None)
            log.close()
            tick()
        if self.max_bytes is not None:
            merging.thin(self._disk, self.path, self.max_bytes)

    def compact(self, more_than: int = COMPACT_ABOVE, tick: merging.Tick = lambda: None) -> None:
        """Merge small segments where there are many, unless a log waits to be sealed."""
        if not self._full:
            merging.compact(self._disk, self.path, self.number, more_than, tick)

    def tidy(self) -> None:
        """Seal what dead sessions of the run left."""
        sealing.tidy(self._disk, self.path, but=self.number)

    def sync(self) -> None:
        """Bring the rows so far to the medium."""
        for log in (*self._full, *((self._log,) if self._log else ())):
            size = log.size
            if log.handle >= 0 and self._synced.get(log.path.name) != size:
                self._disk.sync(log.handle)
                self._synced[log.path.name] = size

    def beat(self, entries: Mapping[str, Any]) -> None:
        """Write the session's health."""
        health = {"session": self.number, "heartbeat": time.time(), **entries}
        self._disk.write(layout.health_file(self.path, self.number), json.dumps(health).encode())

    def look(self) -> bool:
        """See whether the run folder is still there, and follow it where it was renamed to.

        Returns:
            Whether anything changed.
        """
        if self._folder < 0:
            return False
        found = whereabouts(self._folder, self.path)
        gone = found is None or not (found / layout.STEPS).is_dir()
        changed = gone != self.gone or (found is not None and found != self.path)
        self.gone = gone
        if found is not None and found != self.path:
            self.path = found
            for log in (*self._full, *((self._log,) if self._log else ())):
                log.path = found / log.path.name
        return changed

    def remove(self) -> None:
        """Remove the folder of a run that has no rows."""
        for path in self.path.iterdir():
            if path.name in layout.TABLES:
                self._disk.remove_folder(path)
            elif path.name == layout.RUN_FILE or layout.session_of(path.name) == self.number:
                self._disk.remove(path)
        self._disk.remove_folder(self.path)

    def close(self) -> None:
        """Let go of all files."""
        self.rotate()
        for log in self._full:
            log.close()
        self._full.clear()
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)

    def _name(self, log: ActiveLog) -> LogName:
        name = LogName.parse(log.path.name)
        assert name is not None  # noqa: S101 - it was made from one
        return name


def start(
    disk: Disk, root: Path, name: str, description: Mapping[str, Any], parameters: Parameters, *, run_id: str = ""
) -> Session:
    """Begin a run in a folder of its own.

    Args:
        disk: where writes go.
        root: folder of runs; created if missing.
        name: what people call the run; any text, never used as a path.
        description: further JSON entries of ``run.json``: config, clip, environment.
        parameters: of the model.
        run_id: generated if not given.

    Raises:
        OSError: if it cannot be made.
    """
    run_id = run_id or layout.new_run_id()
    path = root / run_id
    for table in layout.TABLES:
        disk.make_folder(path / table)
    disk.write(layout.parameters_file(path, 0), parquet_bytes(parameters_table(parameters)))
    entries = {"schema_version": SCHEMA_VERSION, "run_id": run_id, "name": name, "created": time.time()}
    disk.write(path / layout.RUN_FILE, json.dumps(entries | dict(description), indent=1).encode())
    disk.sync_folder(root)
    return Session(disk, path, 0)


def resume(disk: Disk, path: Path, description: Mapping[str, Any], parameters: Parameters) -> Session:
    """Take the next turn at a run.

    Args:
        disk: where writes go.
        path: the run folder.
        description: config, clip and environment of this turn.
        parameters: of the model.

    Raises:
        RunError: if it is no run that this version can read.
        OSError: if it cannot be written to.
    """
    sealing.raise_version(disk, path)
    number = _claim(disk, path)
    own = {"session": number, "created": time.time(), **description}
    disk.write(layout.session_file(path, number), json.dumps(own, indent=1).encode())
    disk.write(layout.parameters_file(path, number), parquet_bytes(parameters_table(parameters)))
    return Session(disk, path, number)


def _claim(disk: Disk, path: Path) -> int:
    """A session number that no other process has, and none had."""
    names = [entry.name for entry in os.scandir(path)]
    names += [f"active-{name.session}-0.log" for name in _segment_names(path)]
    number = max((found for name in names if (found := layout.session_of(name)) is not None), default=0) + 1
    while True:
        try:
            handle = disk.create(layout.session_file(path, number))
        except FileExistsError:
            number += 1
            continue
        disk.close(handle)
        return number


def _segment_names(path: Path) -> list[layout.SegmentName]:
    found = (layout.SegmentName.parse(p.name) for table in layout.TABLES for p in (path / table).iterdir())
    return [name for name in found if name is not None]
