"""Rows of the table about reading: first answers come from processes that have asked nothing before."""

import statistics
import sys

from benchmarks import long_runs, own
from benchmarks.content import Steps, tensor_names
from benchmarks.long_runs import MILLION, SEGMENTS
from benchmarks.processes import PEERS, ask_own, ask_peer
from benchmarks.progress import say
from benchmarks.report import OWN, Row
from benchmarks.sinks import FIRST
from benchmarks.writing import ROUNDS, TURN

_READS = 5
_RUNS = 1000


def _in_turns(**questions):
    """Ask each question in turn, some rounds; name -> milliseconds of first and of repeated answers."""
    first, repeated = {name: [] for name in questions}, {name: [] for name in questions}
    for _ in range(_READS):
        for name, question in questions.items():
            answer = question()
            first[name].append(answer["first"])
            if answer["repeated"]:
                repeated[name].append(statistics.median(answer["repeated"]))
    return first, repeated


def _two_rows(what, first, repeated, **target):
    return [Row(f"{what}; first", {OWN: first}, **target), Row(f"{what}; repeated", {OWN: repeated}, **target)]


def short_rows(folder, able):
    """The same series at the same length from everybody who can read; and gradlens' run."""
    steps = ROUNDS * TURN
    say(f"reading one series of {steps:,} steps from each; TensorBoard reads all of them, which takes a while")
    path = own.write_run(folder / "short", Steps(FIRST).take(steps))
    questions = {OWN: lambda: ask_own("series", path, "grad_norm")}
    for name in sorted(able & {"SQLite", "JSONL"}):
        questions[name] = lambda name=name: ask_peer(sys.executable, name, folder / name, "grad_norm")
    first, repeated = _in_turns(**questions)
    if "TensorBoard" in able:
        first["TensorBoard"] = [ask_peer(PEERS, "TensorBoard", folder / "TensorBoard", "grad_norm")["first"]]
    what = f"one series of {steps:,} steps, ms"
    return path, [Row(f"{what}; first", first), Row(f"{what}; repeated", {OWN: repeated[OWN]})]


def long_rows(folder):
    """One series of a million steps in a run of 200, and its pyramid beside that of a short run."""
    say(f"building a run of {MILLION:,} steps and {len(long_runs.SERIES)} series in {SEGMENTS} segments")
    parts = long_runs.build(folder / "long", MILLION, SEGMENTS)
    say("compacting a copy of it")
    whole = long_runs.compacted(parts)
    short = long_runs.build(folder / "brief", MILLION // 100, 1)
    say("reading from it")
    name = long_runs.SERIES[100]
    first, repeated = _in_turns(
        whole=lambda: ask_own("series", whole, name),
        parts=lambda: ask_own("series", parts, name),
        long_pyramid=lambda: ask_own("pyramid", whole, name),
        short_pyramid=lambda: ask_own("pyramid", short, name),
    )
    rows = _two_rows("one of 200 series of 1e6 steps, compacted, ms", first["whole"], repeated["whole"], most=15)
    rows += _two_rows(f"the same in {SEGMENTS} segments, ms", first["parts"], repeated["parts"], most=40)
    rows += _two_rows("its pyramid, compacted, ms", first["long_pyramid"], repeated["long_pyramid"])
    ratios = [
        [long / brief for long, brief in zip(times["long_pyramid"], times["short_pyramid"], strict=True)]
        for times in (first, repeated)
    ]
    return rows + _two_rows("its pyramid over that of 1e4 steps", *ratios, most=2)


def tensor_rows(path):
    """One tensor of many."""
    first, repeated = _in_turns(tensor=lambda: ask_own("tensor", path, tensor_names(own.MANY)[own.MANY // 2]))
    what = f"one tensor of {own.MANY:,}, {own.MANY_STEPS:,} steps, ms"
    return _two_rows(what, first["tensor"], repeated["tensor"])


def opening_rows(folder, run):
    """A folder of many runs."""
    say(f"opening a folder of {_RUNS:,} runs")
    root = long_runs.many_runs(run, folder / "runs", _RUNS)
    first, repeated = _in_turns(runs=lambda: ask_own("runs", root))
    return _two_rows(f"open_runs of {_RUNS:,} runs, ms", first["runs"], repeated["runs"], most=2000)
