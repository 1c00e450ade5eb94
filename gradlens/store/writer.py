"""The writing side of a run: rows come in, immutable segments go to disk.

Rows wait in memory until a segment is sealed: at 8,192 steps, after ten seconds, or at close. Closing rewrites a
session's segments as one, over the union of their columns. A process killed in between loses the rows still waiting;
everything sealed is safe.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradlens.schema import SCHEMA_VERSION
from gradlens.store import layout, segments
from gradlens.store.disk import Disk
from gradlens.store.layout import BLOCK, SegmentName
from gradlens.store.tables import PARAMETER_SCHEMA, Row, TensorBlock, parquet_bytes, steps_table, tensors_table

SEAL_ROWS = 8192
SEAL_VALUES = 8_000_000  # tensor values: 32 MB of float32
SEAL_SECONDS = 10.0


class RunWriter:
    """Writes one session of one run.

    Args:
        root: folder of runs; created if missing.
        name: what people call the run; any text, never used as a path.
        description: further JSON entries of ``run.json``: config, clip, environment.
        parameters: (name, shape, dtype, group) of each parameter, in the order of the tensor values.
        disk: where writes go.

    Attributes:
        path: the run folder.
        acknowledged: step of the last row that is safe on disk, -1 before the first.
        dropped: rows that could not be written.

    Raises:
        OSError: if the run folder cannot be made; later failures are counted instead.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        description: Mapping[str, Any],
        parameters: Sequence[tuple[str, tuple[int, ...], str, int]],
        disk: Disk | None = None,
    ) -> None:
        self.acknowledged = -1
        self.dropped = 0
        self.last_error: str | None = None
        self._disk = disk or Disk()
        self._session = 0
        self._rows: list[Row] = []
        self._blocks: list[TensorBlock] = []
        self._open_blocks: dict[str, TensorBlock] = {}
        self._values = 0
        self._written = 0
        self._segments: dict[str, list[SegmentName]] = {layout.STEPS: [], layout.TENSORS: []}
        self._sealed_at = time.monotonic()
        run_id = layout.new_run_id()
        self.path = root / run_id
        for folder in (layout.STEPS, layout.TENSORS):
            self._disk.make_folder(self.path / folder)
        ids, names, shapes, dtypes, groups = range(len(parameters)), *zip(*parameters, strict=True)
        table = pa.table([ids, names, [json.dumps(shape) for shape in shapes], dtypes, groups], schema=PARAMETER_SCHEMA)
        self._disk.write(layout.parameters_file(self.path, self._session), parquet_bytes(table))
        entries = {"schema_version": SCHEMA_VERSION, "run_id": run_id, "name": name, "created": time.time()}
        self._disk.write(self.path / layout.RUN_FILE, json.dumps(entries | dict(description), indent=1).encode())
        self._beat(closed=None)

    def append(self, row: Row, tensors: Mapping[str, NDArray[np.float32]]) -> None:
        """Take one complete step record.

        Args:
            row: the scalars of the step, ``step`` among them; None is null.
            tensors: kind -> (parameters,) float32, for the kinds measured in this step.
        """
        step = int(row["step"])  # type: ignore[arg-type]  # every row has a step, and it is a number
        self._rows.append({**row, "session": self._session, "seq": self._written + len(self._rows)})
        for kind, values in tensors.items():
            block = self._open_blocks.get(kind)
            if block is None or block.block != step // BLOCK:
                block = self._open_blocks[kind] = TensorBlock(kind, step // BLOCK)
                self._blocks.append(block)
            block.add(step, values)
            self._values += len(values)
        waited = time.monotonic() - self._sealed_at
        if len(self._rows) >= SEAL_ROWS or self._values >= SEAL_VALUES or waited >= SEAL_SECONDS:
            self.seal()

    def seal(self) -> None:
        """Write the waiting rows as a segment. A failure drops them, and is counted."""
        rows, blocks = self._rows, self._blocks
        self._rows, self._blocks, self._open_blocks, self._values = [], [], {}, 0
        self._sealed_at = time.monotonic()
        if not rows:
            return
        first, last = self._written, self._written + len(rows) - 1
        self._written += len(rows)
        if self._try(lambda: self._write_segment(layout.STEPS, first, last, steps_table(rows))):
            self.acknowledged = int(rows[-1]["step"])  # type: ignore[arg-type]
        else:
            self.dropped += len(rows)
        if blocks:
            self._try(lambda: self._write_segment(layout.TENSORS, first, last, tensors_table(blocks, self._session)))
        self._try(lambda: self._beat(closed=None))

    def _try(self, write: Callable[[], None]) -> bool:
        """Whether a write went well; whatever it raises is kept as the last error and must not end a training."""
        try:
            write()
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {error}"
            return False
        return True

    def close(self, outcome: str) -> None:
        """Seal what waits, rewrite the segments as one, and note how the session ended.

        Args:
            outcome: ``"finished"`` or ``"stopped"``.
        """
        self.seal()
        self._try(lambda: self._compact(layout.STEPS))
        self._try(lambda: self._compact(layout.TENSORS))
        self._try(lambda: self._beat(closed=outcome))

    def _compact(self, folder: str) -> None:
        old = self._segments[folder]
        if len(old) < 2:
            return
        paths = [self.path / folder / str(name) for name in old]
        table = pa.concat_tables([segments.read(path) for path in paths], promote_options="default")
        self._segments[folder] = []
        self._write_segment(folder, old[0].first, old[-1].last, table)
        for path in paths:
            self._disk.remove(path)

    def _write_segment(self, folder: str, first: int, last: int, table: pa.Table) -> None:
        data = parquet_bytes(table)
        name = SegmentName(self._session, first, last, zlib.crc32(data))
        self._disk.write(self.path / folder / str(name), data)
        self._segments[folder].append(name)

    def _beat(self, closed: str | None) -> None:
        health = {
            "session": self._session,
            "heartbeat": time.time(),
            "rows": self._written,
            "dropped": self.dropped,
            "last_error": self.last_error,
            "closed": closed,
        }
        self._disk.write(layout.health_file(self.path, self._session), json.dumps(health).encode())
