"""Rows of the table about logging: what a step costs the training, what the whole path costs, what lies on disk."""

import statistics
import sys

from benchmarks import own, report
from benchmarks.content import POINTS
from benchmarks.processes import PEERS, Sink
from benchmarks.progress import say
from benchmarks.report import OWN, Row
from gradlens.store import PATIENCE
from gradlens.store.session import SEAL_ROWS

ROUNDS, TURN = 16, 250
WAITS, RUSHES = "waits", "never waits"

_GROWTHS, _LOGS = 3, 4
_RATE = "M points/s/core"


def start_sinks(folder):
    """Name -> process, those that cannot log included."""
    found = {
        WAITS: Sink(sys.executable, "benchmarks.own", PATIENCE, folder / "waits"),
        RUSHES: Sink(sys.executable, "benchmarks.own", 0, folder / "rushes"),
    }
    for name in report.PEERS:
        python = PEERS if name in ("W&B", "TensorBoard") else sys.executable
        found[name] = Sink(python, "benchmarks.peers", "log", name, folder / name)
    return found


def log_in_turns(sinks):
    """Name -> milliseconds of each call, round by round, of those that can log."""
    found = {name: [] for name in sinks}
    order = list(sinks)
    for number in range(ROUNDS):
        say(f"logging, round {number + 1} of {ROUNDS}: {TURN} steps of {POINTS} numbers by each")
        for name in order:
            found[name].append(sinks[name].turn(TURN))
        order = order[1:] + order[:1]
    return {name: rounds for name, rounds in found.items() if not sinks[name].error}


def sink_rows(sinks, calls):
    """What a step costs the training."""
    medians = {name: [statistics.median(turn) for turn in turns] for name, turns in calls.items()}
    means = {name: [statistics.mean(turn) for turn in turns] for name, turns in calls.items()}
    longest = {name: [max(map(max, turns))] for name, turns in calls.items()}
    missing = {name: sinks[name].error for name in report.PEERS if sinks[name].error}
    rows = _two_rows("sink, ms a step", medians | missing, most=0.1)
    slower = list(map(max, medians[WAITS], medians[RUSHES]))
    for name, most in (("W&B", 1 / 8), ("TensorBoard", 1 / 40)):
        if name in medians:
            ratios = [mine / theirs for mine, theirs in zip(slower, medians[name], strict=True)]
            rows.append(Row(f"sink, the slower of both over {name}", {OWN: ratios}, most=most, fraction=True))
    return rows + _two_rows("mean with all stalls, ms", means) + _two_rows("longest call, ms", longest)


def _two_rows(what, found, **target):
    others = {name: found[name] for name in report.PEERS if name in found}
    return [
        Row(f"{what}; waits until written (CPU)", {OWN: found[WAITS], **others}, **target),
        Row(f"{what}; never waits (GPU)", {OWN: found[RUSHES]}, **target),
    ]


def disk_rows(folder, sizes):
    """What lies on disk, and the whole path there; with sentences on where the bytes go.

    Args:
        folder: to write in.
        sizes: peer -> bytes after it closed, of ``ROUNDS * TURN`` steps.
    """
    say("a run that lives: rows without waiting, until they are sealed")
    live = own.LiveRun(folder / "live")
    rates = [live.grow(_LOGS * SEAL_ROWS) for _ in range(_GROWTHS)]
    live.grow(SEAL_ROWS // 2, sealed=False)
    found = live.look()
    path, points = live.close()
    shares = own.columns(path, points)
    closed = {name: [size / (ROUNDS * TURN * POINTS)] for name, size in sizes.items()}
    rows = [
        Row("disk, bytes a point; live", {OWN: [found["bytes"]]}, most=3.3),
        Row("disk, bytes a point; closed", {OWN: [sum(shares.values())], **closed}, most=3.15),
        Row(f"whole path, {POINTS} numbers a step, {_RATE}", {OWN: rates}, least=50),
    ]
    largest = ", ".join(f"{name} {size:.3f}" for name, size in list(shares.items())[:9])
    return rows, [
        f"Disk: the live run had {points // POINTS:,} steps, {found['in_log']:.1%} of its points in the log, which is "
        "half full, as it is on average.",
        f"Where a point's bytes are in the closed run: {largest}.",
    ]


def many_tensors_rows(folder):
    """The whole path and sealing alone for a large model; and the run that it made."""
    say(f"{own.MANY:,} tensors: whole path, and sealing alone")
    path, rates = own.many_tensors(folder / "many")
    alone = own.sealing_alone(folder / "alone")
    return path, [
        Row(f"whole path, {own.MANY:,} numbers a step, {_RATE}", {OWN: rates}, least=50),
        Row(f"sealing alone, {own.MANY:,} numbers a step, {_RATE}", {OWN: alone}, least=50),
    ]
