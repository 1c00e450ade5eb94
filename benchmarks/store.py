"""What recording to disk costs, takes and gives back, beside four others in the same run: `make bench-store`."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks import machine, queries, report, writing
from benchmarks.content import POINTS, TENSORS
from benchmarks.processes import ROOT
from benchmarks.progress import say

_REPORT = report.Report(report.RESULTS / "store", "What the store costs", "make bench-store", report.PEERS)

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


def measure(folder):
    """Rows of the table, facts and notes."""
    sinks = writing.start_sinks(folder)
    versions = {name: sinks[name].version for name in report.PEERS if sinks[name].version}
    known = machine.facts(pyarrow=pa.__version__, NumPy=np.__version__, **versions)
    rows = writing.sink_rows(sinks, writing.log_in_turns(sinks))
    sizes = {name: (sink.close() or {}).get("bytes") for name, sink in sinks.items()}
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
    others = machine.Others()
    with tempfile.TemporaryDirectory(prefix="gradlens-bench-") as folder:
        rows, known, notes = measure(Path(folder))
    known["other work on the machine meanwhile"] = others.text()
    report.write(_REPORT, rows, known, notes)
    say(f"written to {_REPORT.stem.relative_to(ROOT)}.md")
    print(report.table(rows, _REPORT.peers))
    print(report.sentence(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
