"""Runs to ask the shell about: whole, killed, lossy and damaged."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gradlens.cli import main
from gradlens.store import Disk, Run, RunWriter

WriteRun = Callable[..., Run]
Capture = pytest.CaptureFixture[str]
Rows = list[dict[str, Any]]
PARAMETERS = [("=a.weight", (2, 3), "float32", 0), ("b", (), "float32", 1)]


def step_row(step: int) -> dict[str, Any]:
    return {"step": step, "time": float(step), "loss": 1.0 / (step + 1), "clipped": step % 3 == 0, "lr": 0.1}


def record(writer: RunWriter, rows: Rows, *, tensors: bool = True) -> RunWriter:
    rng = np.random.default_rng(len(rows))
    for row in rows:
        writer.append(row, {"grad_norm": rng.standard_normal(2).astype(np.float32)} if tensors else {})
    assert writer.flush()
    return writer


def begin(root: Path, rows: Rows | int = 400, name: str = "run", disk: Disk | None = None) -> RunWriter:
    writer = RunWriter.create(root, name, {}, PARAMETERS, disk=disk)
    return record(writer, [step_row(step) for step in range(rows)] if isinstance(rows, int) else rows)


def resumed(path: Path, first: int, last: int) -> RunWriter:
    return record(RunWriter.resume(path, {}, PARAMETERS), [step_row(step) for step in range(first, last)])


def settled(writer: RunWriter) -> RunWriter:
    """Wait until the writer's keeper has sealed what is full, and said how it is doing."""
    for _ in range(500):
        logs = list(writer.path.glob(f"active-{writer.session}-*"))
        if len(logs) == 1 and (writer.path / f"health-{writer.session}.json").exists():
            return writer
        time.sleep(0.01)
    raise AssertionError("the keeper never came to rest")


def killed(writer: RunWriter, root: Path) -> Path:
    """A copy of a run under way: what its process would leave if it were killed now."""
    path = root / settled(writer).path.name
    shutil.copytree(writer.path, path)
    writer.close("stopped")
    return path


def flip(path: Path, column: str) -> None:
    """Break one bit of a column's bytes in a segment."""
    place = pa.parquet.ParquetFile(path).metadata.row_group(0)
    names = [place.column(i).path_in_schema.partition(".")[0] for i in range(place.num_columns)]
    chunk = place.column(names.index(column))
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 1
    path.write_bytes(data)


def only_segment(run: Path, table: str = "steps") -> Path:
    (path,) = (run / table).iterdir()
    return path


def info(path: Path, capsys: Capture, code: int = 0) -> tuple[str, dict[str, Any]]:
    """What ``gradlens info`` says, to people and to machines."""
    assert main(["info", str(path)]) == code
    text = capsys.readouterr().out
    assert main(["info", str(path), "--json"]) == code
    return text, json.loads(capsys.readouterr().out)


class FullDisk(Disk):
    """A disk that takes nothing while it is full."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False

    def append(self, handle: int, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().append(handle, data)


def lossy(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose disk was full for a while: rows 100 to 599 waited, and most were dropped."""
    monkeypatch.setattr("gradlens.store.writer.MOST_ROWS", 16)
    disk = FullDisk()
    writer = RunWriter.create(root, "full disk", {}, PARAMETERS, disk=disk)
    for step in range(600):
        disk.full = step >= 100
        writer.append(step_row(step), {})
        assert step >= 100 or writer.flush()
    disk.full = False
    writer.close("finished")
    return writer.path


def export(what: str, *arguments: object, code: int = 0) -> None:
    assert main(["export", what, *map(str, arguments)]) == code
