"""What others do with the same numbers. Needs NumPy and, for two of them, their packages; never gradlens or torch.

``python -m benchmarks.peers log NAME FOLDER`` serves as a sink, ``python -m benchmarks.peers read NAME FOLDER SERIES``
times reading one series, and prints it as JSON.
"""

import json
import os
import sqlite3
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.content import tensor_names
from benchmarks.sinks import serve

_NAMES = tensor_names()
_NOWHERE = "http://127.0.0.1:9"  # the discard port: whatever still wants out ends there


class _Peer:
    """One call a step with a dict of Python floats, as a training has them after ``tolist()``."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def prepare(self, step, scalars, norms):
        return step, {**scalars, **dict(zip(_NAMES, norms.tolist(), strict=True))}


class WandB(_Peer):
    """``run.log(dict)``, offline, with everything off that looks at the machine or would call home."""

    def __init__(self, folder):
        super().__init__(folder)
        os.environ |= {
            "WANDB_MODE": "offline",
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_DIR": str(folder),
            **{f"WANDB_{name}_DIR": str(folder.parent / "wandb-own") for name in ("CACHE", "CONFIG", "DATA")},
            **dict.fromkeys(("WANDB_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _NOWHERE),
            "OTEL_SDK_DISABLED": "true",
        }
        import wandb

        off = ("stats", "meta", "machine_info", "viewer")
        settings = wandb.Settings(
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_save_requirements=False,
            **{f"x_disable_{name}": True for name in off},
        )
        self.version = wandb.__version__
        self._run = wandb.init(project="benchmark", settings=settings)

    def log(self, step, scalars):
        self._run.log(scalars, step=step)

    def close(self):
        self._run.finish()


class TensorBoard(_Peer):
    """An event a number: what ``add_scalar`` of torch's ``SummaryWriter`` does, less its detour through NumPy."""

    def __init__(self, folder):
        super().__init__(folder)
        import tensorboard
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.version = tensorboard.__version__
        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(folder))

    def log(self, step, scalars):
        for name, value in scalars.items():
            summary = self._summary(value=[self._summary.Value(tag=name, simple_value=value)])
            self._writer.add_event(self._event(summary=summary, wall_time=time.time(), step=step))

    def close(self):
        self._writer.close()


class SQLite(_Peer):
    """A row a number and a transaction a step; like gradlens' rows, they survive the process and not the power."""

    version = sqlite3.sqlite_version

    def __init__(self, folder):
        super().__init__(folder)
        self._base = sqlite3.connect(folder / "metrics.sqlite")
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")
        self._base.execute("CREATE TABLE metrics (step INTEGER, name TEXT, value REAL)")
        self._base.execute("CREATE INDEX by_name ON metrics (name, step)")
        self._base.commit()

    def log(self, step, scalars):
        rows = [(step, name, value) for name, value in scalars.items()]
        self._base.executemany("INSERT INTO metrics VALUES (?, ?, ?)", rows)
        self._base.commit()

    def close(self):
        self._base.close()


class JSONL(_Peer):
    """A line of JSON a step, flushed."""

    version = "Python's json"

    def __init__(self, folder):
        super().__init__(folder)
        self._file = (folder / "metrics.jsonl").open("w")

    def log(self, step, scalars):
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()

    def close(self):
        self._file.close()


# ---- reading one series ----------------------------------------------------------------------------------------------


def _read_tensorboard(folder, name):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    begin = time.perf_counter()
    accumulator.Reload()
    found = accumulator.Scalars(name)
    return begin, np.array([event.step for event in found]), np.array([event.value for event in found])


def _read_sqlite(folder, name):
    begin = time.perf_counter()
    base = sqlite3.connect(folder / "metrics.sqlite")
    found = base.execute("SELECT step, value FROM metrics WHERE name = ? ORDER BY step", [name]).fetchall()
    base.close()
    return begin, np.array([step for step, _ in found]), np.array([value for _, value in found])


def _read_jsonl(folder, name):
    begin = time.perf_counter()
    with (folder / "metrics.jsonl").open() as file:
        found = [(row["step"], row[name]) for row in map(json.loads, file)]
    return begin, np.array([step for step, _ in found]), np.array([value for _, value in found])


LOG = {"W&B": WandB, "TensorBoard": TensorBoard, "SQLite": SQLite, "JSONL": JSONL}
READ = {"TensorBoard": _read_tensorboard, "SQLite": _read_sqlite, "JSONL": _read_jsonl}


def main(what, name, folder, *series):
    """Serve as a sink, or read a series once."""
    if what == "log":
        serve(partial(LOG[name], Path(folder)))
        return
    begin, steps, _ = READ[name](Path(folder), *series)
    print(json.dumps({"first": time.perf_counter() - begin, "repeated": [], "size": len(steps)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
