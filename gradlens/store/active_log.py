"""The log that a session is writing: one frame a row, one write a frame."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gradlens.store.disk import Disk, lock, whereabouts
from gradlens.store.frames import (
    MAX_COLUMNS,
    MAX_FRAME,
    MAX_LAYOUT,
    Layout,
    MicroBatches,
    Row,
    RowEncoder,
    Tensors,
    domains_payload,
    frame,
    header,
    micro_batches_in,
)
from gradlens.store.layout import LogName

MOST_MICRO_BATCHES: Final = 1 << 20
"""Micro-batches in a log, and so rows in a segment of them."""


class ActiveLog:
    """Appends rows to a log of its own.

    Args:
        disk: where writes go.
        run: the run folder.
        name: the log's name; the file must not exist.

    Attributes:
        path: of the log.
        handle: its open file, locked while the process lives.
        size: bytes that are known to be whole frames.
        rows: how many rows it holds.
        micro_batches: how many micro-batches they have together.
        sound: whether more may be appended; after a failed write that could not be taken back, nothing may.

    Raises:
        FileExistsError: if the name is taken.
        OSError: if it cannot be created.
    """

    def __init__(self, disk: Disk, run: Path, name: LogName) -> None:
        self.path = run / str(name)
        self.size = self.rows = self.micro_batches = 0
        self.sound = True
        self._disk = disk
        self._name = name
        self._frames = 0
        self._encoder = RowEncoder()
        self._names: set[str] = set()
        self.handle = disk.create(self.path)
        if not lock(self.handle) or whereabouts(self.handle, self.path) != self.path:
            self.close()  # who clears up after the dead has taken it for one of theirs
            raise FileExistsError(errno.EEXIST, "the log was taken by another process", str(self.path))
        try:
            self._write(header(name.session, name.number))
            disk.sync_folder(run)
        except Exception:
            self.close()
            disk.remove(self.path)
            raise

    def append(self, seq: int, row: Row, tensors: Tensors, micro_batches: MicroBatches) -> None:
        """Add one row; once this returns, the row survives the death of the process.

        Args:
            seq: the row's place in its session.
            row: the scalars of the step, ``step`` among them; None is null.
            tensors: kind -> (parameters,) float32.
            micro_batches: column -> (micro-batches of the step,).

        Raises:
            OSError: if the disk refuses; the log is then as it was, or not ``sound``.
            ValueError: for a row that no log can hold.
        """
        count = micro_batches_in(micro_batches)
        micro_batches = micro_batches if count else {}
        layout, numbers = self._encoder.numbers(row, tensors, micro_batches)
        size = layout.size + count * layout.width
        if size > MAX_FRAME:
            raise ValueError(f"a row of {size:,} bytes is too large for a frame of {MAX_FRAME:,}")
        self._define(layout, self._encoder.new_domains(micro_batches))
        self._append(self._encoder.payload(layout, seq, numbers, tensors, micro_batches))
        self.rows += 1
        self.micro_batches += count

    def fits(self, row: Row, micro_batches: MicroBatches) -> bool:
        """Whether the log's tables have room for the names of a row, its micro-batches and their domains."""
        if not self._frames:
            return True
        if len(self._names | row.keys()) > MAX_COLUMNS:
            return False
        if not micro_batches:
            return True
        count, domains = micro_batches_in(micro_batches), self._encoder.new_domains(micro_batches)
        return (
            self.micro_batches + count <= MOST_MICRO_BATCHES
            and len(self._encoder.domains) + len(domains) <= MAX_COLUMNS
        )

    def close(self) -> None:
        """Let go of the file."""
        self.sound = False
        if self.handle >= 0:
            handle, self.handle = self.handle, -1
            self._disk.close(handle)

    def _define(self, layout: Layout, domains: Sequence[str]) -> None:
        """Write down what a row's numbers mean, where the log does not say so yet."""
        if domains:
            if len(self._encoder.domains) + len(domains) > MAX_COLUMNS:
                raise ValueError(f"a row of {len(domains):,} new domains is too much for a log of {MAX_COLUMNS:,}")
            self._append(domains_payload(domains))
            self._encoder.add_domains(domains)
        if self._encoder.number_of(layout) is None:
            definition = layout.payload()
            if len(layout.columns) > MAX_COLUMNS or len(definition) > MAX_LAYOUT:
                raise ValueError(f"a row of {len(layout.columns):,} names is too wide for a table of {MAX_COLUMNS:,}")
            self._append(definition)
            self._names.update(layout.columns)
            self._encoder.define(layout)

    def _append(self, payload: bytes) -> None:
        self._write(frame(payload, self._name.session, self._name.number, self._frames))
        self._frames += 1

    def _write(self, data: bytes) -> None:
        try:
            self._disk.append(self.handle, data)
        except Exception:
            try:  # whatever went wrong, a part may be there, and nothing after it would be read
                self._disk.truncate(self.handle, self.size)
            except Exception:
                self.sound = False
            raise
        self.size += len(data)
