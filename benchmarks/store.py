"""What recording to disk costs, takes and gives back, beside four others in the same run: `make bench-store`."""

import os
import platform
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import gradlens
from benchmarks import queries, report, writing
from benchmarks.content import POINTS, TENSORS
from benchmarks.processes import ROOT
from benchmarks.progress import say

_RESULTS = ROOT / "benchmarks" / "results"

_NOTES = (
    f"Everybody logs the same {POINTS} numbers a step: the norms of {TENSORS} tensors, loss, learning rate and global "
    "norm; log-normal, an AR(1) each, float32.",
    f"Sinks: a process each, in turns of {writing.TURN} steps, {writing.ROUNDS} rounds, in an order that rotates; a "
    "millisecond of matrix products before each call; the median of each turn. gradlens seals a log meanwhile.",
    "W&B: run.log(dict), offline, its looks at the machine off. TensorBoard: an event a number, as torch's "
    "SummaryWriter.add_scalar makes them. SQLite: a row a number, indexed, a transaction a step, WAL, "
    "synchronous=NORMAL. JSONL: a line a step, flushed.",
    "Points a second and core: by processor time of all threads of the process. The whole path ends when the rows are "
    "sealed.",
    "Reading: first is the first answer of a fresh process, opening included, files in the page cache; imports left "
    "out, that of pandas too, which pyarrow does when it first makes an array. Repeated is the median of five more. "
    "TensorBoard's is measured once, since it takes so long.",
)


def facts(sinks):
    """The machine and the versions."""
    versions = {name: sinks[name].version for name in report.PEERS if sinks[name].version}
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "Python": platform.python_version(),
        "gradlens": gradlens.__version__,
        "pyarrow": pa.__version__,
        "NumPy": np.__version__,
        **versions,
    }


def _busy():
    """Seconds that the machine's cores have worked, and those of them that were this benchmark's; None if unknown."""
    try:
        ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except OSError:
        return None
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK"), sum(os.times()[:4])


def _others(before, after, seconds):
    """How many cores other processes kept busy meanwhile, as text."""
    if before is None or after is None:
        return "unknown"
    machine, own = (late - early for early, late in zip(before, after, strict=True))
    return f"{max(0.0, machine - own) / seconds:.1f} cores on average"


def _processor():
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()


def measure(folder):
    """Rows of the table, facts and notes."""
    sinks = writing.start_sinks(folder)
    known = facts(sinks)
    rows = writing.sink_rows(sinks, writing.log_in_turns(sinks))
    sizes = {name: sink.close() for name, sink in sinks.items()}
    if not (sizes[writing.WAITS] and sizes[writing.RUSHES]):
        raise RuntimeError("gradlens' own sink failed; what it said is above")
    able = {name for name in report.PEERS if sizes[name]}
    disk, notes = writing.disk_rows(folder, {name: sizes[name] for name in able})
    many, many_rows = writing.many_tensors_rows(folder)
    short, short_rows = queries.short_rows(folder, able)
    rows += disk + many_rows + short_rows + queries.long_rows(folder)
    rows += queries.tensor_rows(many) + queries.opening_rows(folder, short)
    return rows, known, [*_NOTES, *notes]


def main():
    """Measure, print and write."""
    before, begin = _busy(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gradlens-bench-") as folder:
        rows, known, notes = measure(Path(folder))
    known["other work on the machine meanwhile"] = _others(before, _busy(), time.monotonic() - begin)
    report.write(_RESULTS, rows, known, notes)
    say(f"written to {_RESULTS.relative_to(ROOT)}")
    print(report.table(rows))
    print(report.sentence(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
