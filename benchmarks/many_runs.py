"""What questions to a hundred runs of a million steps take, and to one of ten million: `make bench-many`."""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import app_runs, machine, report
from benchmarks.processes import ROOT
from benchmarks.progress import say

RUNS, DISTINCT = 100, 4
LONG = 10_000_000
QUESTIONS = {
    "list": ("list",),
    "thresholds, fixed norm": ("analyze", "thresholds", "--max-norm", "0.3"),
    "norm-smoothness": ("analyze", "norm-smoothness"),
    "thresholds, AutoClip": ("analyze", "thresholds", "--percentile", "10"),
}
_REPORT = report.Report(report.RESULTS / "many_runs", "What questions to many runs take", "make bench-many", ())
_NOTES = (
    f"{RUNS} runs of {app_runs.STEPS:,} steps and 12 series, {DISTINCT} that differ in seed and links to their files "
    "under other names, compacted; the files are in the page cache. Half of them record a clip rule, AutoClip.",
    "Each time is that of the whole command in a process of its own, the start of Python (about a second) with it, "
    "asked once; the processes are chosen by the command itself.",
    "Of processors: what all processes of the command used, which says more than the clock where others work too.",
    "Peak memory: the largest process that the command was or started (ru_maxrss of the children); processes add up.",
    f"One run of {LONG:,} steps, as compaction leaves it: its arrays are that long, so that memory grows with "
    "it, unlike with the number of runs.",
)


def main():
    """Measure, print and write."""
    others = machine.Others()
    with tempfile.TemporaryDirectory(prefix="gradlens-bench-") as folder:
        many, one = (Path(folder) / name for name in ("many", "one"))
        many.mkdir()
        one.mkdir()
        if shutil.disk_usage(folder).free < 4 << 30:
            raise SystemExit(f"{folder} has less than 4 GiB free; set TMPDIR to another folder.")
        say(f"writing {RUNS} runs of {app_runs.STEPS:,} steps and one of {LONG:,}")
        app_runs.build(many, RUNS, distinct=DISTINCT)
        app_runs.build(one, 1, steps=LONG)
        measure({f"{LONG:,} steps": one, f"{RUNS} runs": many}, others)
    return 0


def measure(roots, others):
    """Ask every question of every folder; what is known is written after each, since all take long."""
    rows = []
    for what, root in roots.items():
        for name, words in QUESTIONS.items():
            say(f"{what}: {name}")
            seconds, cores, peak = asked(root, words)
            rows.append(report.Row(f"{what}: {name} (s)", {report.OWN: [seconds]}))
            rows.append(report.Row(f"{what}: {name}, of processors (s)", {report.OWN: [cores]}))
            rows.append(report.Row(f"{what}: {name}, peak memory (MB)", {report.OWN: [peak / 1e6]}))
            known = machine.facts(numpy=np.__version__)
            known["other work on the machine meanwhile"] = others.text()
            report.write(_REPORT, rows, known, _NOTES)
    say(f"written to {_REPORT.stem.relative_to(ROOT)}.md")
    print(report.table(rows, ()))


def asked(root, words):
    """Seconds of a command over a folder, those of the processors, and the peak of its largest process in bytes.

    The command is started by a process of its own: ``ru_maxrss`` is of all children there ever were.
    """
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.many_runs", *words, str(root)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(result.stderr)
    seconds, cores, peak = result.stdout.split()
    return float(seconds), float(cores), int(peak)


def once(words):
    """Ask, and print the seconds, those of the processors, and the peak."""
    begin = time.perf_counter()
    command = [sys.executable, "-m", "gradlens", *words]
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - begin
    sys.stderr.write(result.stderr)
    unit = 1 if sys.platform == "darwin" else 1024
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(seconds, used.ru_utime + used.ru_stime, unit * used.ru_maxrss)
    return 1 if result.returncode < 0 or result.returncode > 1 else 0  # 1: some runs have no answer


if __name__ == "__main__":
    sys.exit(once(sys.argv[1:]) if sys.argv[1:] else main())
