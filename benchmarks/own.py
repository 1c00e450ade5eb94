"""What gradlens does with the numbers: as a sink, its whole way to disk, and sealing alone.

``python -m benchmarks.own log PATIENCE FOLDER`` serves as a sink.
"""

import sys
import time
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

import gradlens
from benchmarks.content import POINTS, Norms, Steps, tensor_names
from benchmarks.serving import folder_bytes
from benchmarks.sinks import FIRST, serve
from gradlens.store import PATIENCE, Disk, RunWriter, sealing, session, snapshot
from gradlens.store.active_log import ActiveLog
from gradlens.store.layout import BLOCK, LogName
from gradlens.store.session import SEAL_BYTES

KIND = "grad_norm"
MANY = 10_000
"""Tensors of a large model."""
MANY_ROWS = -(-SEAL_BYTES // (4 * MANY) // BLOCK) * BLOCK
"""Steps in a full log of them: it ends with a block."""

MANY_STEPS = 4 * MANY_ROWS
"""Steps that are recorded of them."""

_PORTION = 2048  # rows that are handed over at once; more than 4,096 waiting would be dropped


class Gradlens:
    """``RunWriter.append``.

    Args:
        folder: of the run.
        patience: seconds that a call may wait for its row to be written.
    """

    version = gradlens.__version__

    def __init__(self, folder, patience):
        self.writer = create(folder, tensor_names(), patience)
        self.folder = self.writer.path
        append_all(self.writer, [self.prepare(*step) for step in Steps(seed=1).take(FIRST)], sealed=False)

    def prepare(self, step, scalars, norms):
        """What ``log`` takes."""
        return as_row(step, scalars, norms)

    def log(self, row, tensors):
        """The one call of a step."""
        self.writer.append(row, tensors)

    def close(self):
        """As at the end of a training."""
        self.writer.close("finished")
        check(self.writer)


def create(root, names, patience):
    """The writer of a new run."""
    return RunWriter.create(root, "benchmark", {}, parameters(names), patience=patience)


def as_row(step, scalars, norms):
    """A step as ``append`` takes it."""
    return {"step": step, **scalars}, {KIND: norms}


def parameters(names):
    """Tensors of these names, as a run describes them."""
    return [(name, (1,), "float32", 0) for name in names]


def check(writer):
    """Nothing may have been lost.

    Raises:
        RuntimeError: if it was; the numbers would mean nothing.
    """
    if writer.dropped or writer.last_error:
        raise RuntimeError(f"gradlens dropped {writer.dropped} rows: {writer.last_error}")


def write_run(root, steps):
    """A finished run; returns its folder."""
    writer = create(root, tensor_names(), PATIENCE)
    append_all(writer, [as_row(*step) for step in steps], sealed=False)
    writer.close("finished")
    check(writer)
    return writer.path


class LiveRun:
    """A run that grows by whole logs, so that it can be looked at while it lives.

    Args:
        root: folder of the run.
    """

    def __init__(self, root):
        self._steps = Steps()
        self._writer = create(root, tensor_names(), patience=0)
        self._points = 0

    def grow(self, rows, *, sealed=True):
        """Append rows without waiting for them, then wait until they are on disk.

        Args:
            rows: how many.
            sealed: whether they fill logs, and are waited for until these are sealed.

        Returns:
            Millions of points per second of processor time of all threads.
        """
        given = [as_row(*step) for step in self._steps.take(rows)]
        begin = time.process_time()
        append_all(self._writer, given, sealed=sealed)
        took = time.process_time() - begin
        self._points += rows * POINTS
        return rows * POINTS / took / 1e6

    def look(self):
        """Bytes per point, and the share of the points that is in the active log."""
        size, path = folder_bytes(self._writer.path), self._writer.path
        in_log = sum(log.rows for log in snapshot.take(path).logs) * POINTS
        return {"bytes": size / self._points, "in_log": in_log / self._points}

    def close(self):
        """Close the run; returns its folder and the number of its points."""
        self._writer.close("finished")
        check(self._writer)
        return self._writer.path, self._points


def append_all(writer, given, *, sealed):
    """Hand rows over as fast as the writer takes them, and wait until they are on disk."""
    for start in range(0, len(given), _PORTION):
        for row, tensors in given[start : start + _PORTION]:
            writer.append(row, tensors)
        writer.flush(60)
    while sealed and next(writer.path.glob("active-*.log"), None):
        time.sleep(0.005)
    check(writer)


def many_tensors(root):
    """A run of 10,000 tensors, a log at a time, through the whole path.

    Args:
        root: folder of the run.

    Returns:
        The run's folder, and of each log the millions of points per second of processor time.
    """
    writer = create(root, tensor_names(MANY), patience=0)
    norms, rates = Norms(MANY), []
    for first in range(0, MANY_STEPS, MANY_ROWS):
        values = norms.take(MANY_ROWS)
        given = [({"step": step, "loss": 1.0}, {KIND: row}) for step, row in enumerate(values, first)]
        begin = time.process_time()
        for start in range(0, MANY_ROWS, 256):  # 64 MB may wait
            append_all(writer, given[start : start + 256], sealed=start + 256 >= MANY_ROWS)
        rates.append(values.size / (time.process_time() - begin) / 1e6)
    writer.close("finished")
    check(writer)
    return writer.path, rates


def sealing_alone(root):
    """``seal`` of full logs of 10,000 tensors; millions of points per second of processor time, of each."""
    disk, norms, rates = Disk(), Norms(MANY, seed=2), []
    run = session.start(disk, root, "benchmark", {}, parameters(tensor_names(MANY)))
    for first in range(0, MANY_STEPS, MANY_ROWS):
        name = LogName(0, first)
        log = ActiveLog(disk, run.path, name)
        for step, row in enumerate(norms.take(MANY_ROWS), first):
            log.append(step, {"step": step, "loss": 1.0}, {KIND: row})
        log.close()
        found = snapshot.read_log(log.path, name, keep=False)
        begin = time.process_time()
        sealing.seal(disk, run.path, found)
        rates.append(MANY_ROWS * MANY / (time.process_time() - begin) / 1e6)
    run.close()
    return rates


def columns(path, points):
    """What each column takes of a run, and the rest of its files; bytes per point, the largest first."""
    found = {}
    for file in path.glob("*/seg-*.parquet"):
        metadata = pq.ParquetFile(file).metadata
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                label = f"{file.parent.name}.{column.path_in_schema.partition('.')[0]}"
                found[label] = found.get(label, 0) + column.total_compressed_size
    found["indices, pyramids, footers, other files"] = folder_bytes(path) - sum(found.values())
    return {name: size / points for name, size in sorted(found.items(), key=lambda item: -item[1])}


if __name__ == "__main__":
    serve(partial(Gradlens, Path(sys.argv[2]), float(sys.argv[1])))
