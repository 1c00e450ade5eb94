"""What attaching the recorder costs a training, beside others in the same run: `make bench-recorder`."""

import argparse
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks import machine, report
from benchmarks.loops import PERIOD, SETTLE, TURN, WARM
from benchmarks.processes import ROOT, Sink
from benchmarks.progress import say
from benchmarks.report import OWN, Row

ROUNDS = 15
_PEERS = ("torch clip", "naive loop", "W&B", "TensorBoard", "Cockpit")
_PIPELINES = ("W&B", "TensorBoard")
_EVERYBODY = ("bare", "torch clip", "naive loop", *_PIPELINES, "norms", "default", "full", "clips")
_LOOPS = {"stress": _EVERYBODY, "stress SGD": ("bare", "full", "Cockpit"), "normal": _EVERYBODY, "gpt2": _EVERYBODY}
_TASKS = {"cpu": ("stress", "stress SGD", "normal"), "cuda": ("gpt2",)}
_TARGETS = {
    "stress": {"norms": 1.08, "default": 1.10, "full": 1.45, "clips": 1.005, "peers": 0.65},
    "stress SGD": {},
    "normal": {"norms": 1.03, "default": 1.03, "full": 1.10, "clips": 1.005, "peers": 0.65},
    "gpt2": {"default": 1.01, "full": 1.03, "clips": 1.005, "peers": 0.65, "peak": 1.02},
}
_LOGGED = {"stress": 153, "normal": 151, "gpt2": 151}  # numbers a step by the others
_OWN = {
    "norms": "norms every step",
    "default": f"norms every step, update every {PERIOD}",
    "full": "norms and update every step",
}

_NOTES = (
    "stress: 75 linear layers of 365 x 365 with ReLU (150 tensors, 10 M parameters), batch 32. normal: a GPT of 12 "
    "blocks of width 256 (148 tensors, 9.5 M parameters), batch 4 x 64. gpt2: 124 M parameters, batch 32 x 1,024, bf16 "
    "autocast. Fused AdamW, or SGD where the row says so; seeded.",
    f"A process each, in turns of {TURN} steps, the first {WARM} of which are not measured, in an order that rotates; "
    "torch has all cores, nobody else works meanwhile. A step is everything from zero_grad to the end of "
    "optimizer.step.",
    "Ratios and added ms: the median step of a turn against that of the bare loop in the same round; the median of the "
    f"rounds. Where the update is measured every {PERIOD} steps, these and the steps after them, which hand their rows "
    "on, have medians of their own, and all are weighted by how often they come.",
    "gradlens: smoothness never, since its probes count apart. It writes to disk meanwhile, as W&B and TensorBoard do.",
    "torch clip: clip_grad_norm_, nothing recorded. naive loop: p.grad.norm().item() for each tensor and loss.item(), "
    "into a list. W&B (offline, run.log(dict)) and TensorBoard (an event a number): all norms by one foreach call and "
    "one read, then their call every step, with loss, learning rate and global norm. Cockpit: GradNorm, UpdateSize and "
    "Loss every step, kept in memory.",
    "Clipping: fixed(0.001) and clip_grad_norm_(0.001), low enough to act at every step.",
    "The best pipeline is the quicker of W&B and TensorBoard; both sides are medians of the rounds, hence no spread.",
    "Memory: between two steps at which the update is due (SGD: it is due at every step). Tensors are all that Python "
    "holds once zero_grad is done; the resident set is the process's, its libraries and what its allocator keeps "
    "included.",
)


def in_turns(task, device, folder, rounds):
    """Name -> milliseconds of each step, round by round; name -> what it said at the end; name -> why it is missing."""
    loops = {
        name: Sink(
            sys.executable, "benchmarks.loops", name, task, device, folder / name.replace(" ", "-"),
            environment={"PYTHONWARNINGS": "ignore"},
        )
        for name in _LOOPS[task]
    }  # fmt: skip
    found, order = {name: [] for name in loops}, list(loops)
    for number in range(rounds):
        say(f"{task}, round {number + 1} of {rounds}: {TURN} steps by each of {len(loops)}")
        for name in order:
            found[name].append(loops[name].turn(TURN))
        order = order[1:] + order[:1]
    ends = {name: loop.close() for name, loop in loops.items()}
    missing = {name: loop.error for name, loop in loops.items() if loop.error}
    if {"bare", *_OWN, "clips"} & missing.keys():
        raise RuntimeError(f"{task}: {missing}; what they said is above")
    able = loops.keys() - missing.keys()
    return {name: found[name] for name in able}, {name: ends[name] for name in able}, missing


def amortised(turn):
    """What a step costs where every `PERIOD`-th measures more and its row is handed on in the step after."""
    kinds = {}
    for place, cost in enumerate(turn, SETTLE + WARM):
        kinds.setdefault(min(place % PERIOD, 2), []).append(cost)
    return sum(statistics.median(costs) * weight for costs, weight in zip(
        (kinds[0], kinds[1], kinds[2]), (1 / PERIOD, 1 / PERIOD, 1 - 2 / PERIOD), strict=True
    ))  # fmt: skip


def task_rows(task, found, ends, missing):
    """The rows of one task.

    Args:
        task: its name.
        found: name -> milliseconds of each step, round by round.
        ends: name -> what it said at the end.
        missing: name -> why it is missing.
    """
    costs = {
        name: [(amortised if name == "default" else statistics.median)(turn) for turn in turns]
        for name, turns in found.items()
    }
    others = [name for name in _PEERS if name in costs]
    missing = {name: why for name, why in missing.items() if name in _PEERS}
    targets = _TARGETS[task]

    def over(name, base="bare"):
        return [mine / theirs for mine, theirs in zip(costs[name], costs[base], strict=True)]

    def added(name):
        return [mine - theirs for mine, theirs in zip(costs[name], costs["bare"], strict=True)]

    def row(what, values, **more):
        return Row(f"{task}: {what}", values, digits=4, **more)

    own = [name for name in _OWN if name in costs]
    rows = []
    for name in own:  # the others stand beside the row that records what they do
        beside = {peer: over(peer) for peer in others} | missing if name == own[0] else {}
        rows.append(row(f"{_OWN[name]}, over the bare loop", {OWN: over(name), **beside}, most=targets.get(name)))
    if "clips" in costs:
        values = {OWN: over("clips", "torch clip")}
        rows.append(row("clipping, norms every step, over torch's clipping", values, most=targets.get("clips")))
    rows.append(Row(f"{task}: bare step, ms", {OWN: costs["bare"]}))
    for name in own:
        beside = {peer: added(peer) for peer in others} if name == own[0] else {}
        rows.append(Row(f"{task}: {_OWN[name]}, ms added", {OWN: added(name), **beside}))
        rows.append(Row(f"{task}: the same as the run itself recorded it", {OWN: _recorded(name, ends[name])}))
    pipelines = [statistics.median(added(name)) for name in _PIPELINES if name in costs]
    if pipelines:
        what = f"{ends['full']['series']} series, added time over the best pipeline's with its {_LOGGED[task]}"
        least, most = min(pipelines), targets.get("peers")
        ratio = [statistics.median(added("full")) / least] if least > 0 else "theirs is lost in the noise"
        rows.append(row(what, {OWN: ratio}, most=most))
    return rows + _memory_rows(row, ends, "default" if "default" in ends else "full", others, targets.get("peak"))


def _recorded(name, end):
    """``overhead_ms`` of the steps that were measured, turn by turn."""
    cost = amortised if name == "default" else statistics.median
    overhead = end["overhead_ms"]
    starts = range(SETTLE, len(overhead) - TURN + 1, TURN)
    return [cost(overhead[start + WARM : start + TURN]) for start in starts]


def _memory_rows(row, ends, own, others, most):
    """``own``: the loop to look at; between its samples, or between steps where it samples every one."""
    when, rows = "samples" if own == "default" else "steps", []
    for what, key in (("tensors", "tensors"), ("resident set", "resident"), ("the card's peak memory", "peak")):
        if ends["bare"].get(key):
            names = {OWN: own, **{name: name for name in others}}
            values = {who: [ends[name][key] / ends["bare"][key]] for who, name in names.items()}
            target = {"most": most} if key == "peak" else {}
            rows.append(row(f"{what} between {when}, over the bare loop's", values, **target))
    return rows


def main():
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="a GPT-2 on the CUDA device; recorder-<card>.md")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    device, stem, versions = "cpu", "recorder", {"torch": torch.__version__, "its threads": str(os.cpu_count())}
    if asked.gpu:
        device, versions["card"] = "cuda", torch.cuda.get_device_name()
        stem += "-" + re.sub(r"\W+", "-", versions["card"]).strip("-").lower()
    rows, others = [], machine.Others()
    with tempfile.TemporaryDirectory(prefix="gradlens-bench-") as folder:
        for task in _TASKS[device]:
            found, ends, missing = in_turns(task, device, Path(folder) / task.replace(" ", "-"), asked.rounds)
            rows += task_rows(task, found, ends, missing)
            versions |= {name: end["version"] for name, end in ends.items() if "version" in end}
    known = machine.facts(**versions, rounds=str(asked.rounds))
    known["other work on the machine meanwhile"] = others.text()
    command = "make bench-recorder" + (" GPU=1" if asked.gpu else "")
    kept = report.Report(report.RESULTS / stem, "What recording costs a training", command, _PEERS)
    report.write(kept, rows, known, _NOTES)
    say(f"written to {kept.stem.relative_to(ROOT)}.md")
    print(report.table(rows, _PEERS))
    print(report.sentence(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
