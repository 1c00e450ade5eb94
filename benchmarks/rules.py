"""What each clip rule costs a step beside torch's own clip, and its replay over a million steps: `make bench-rules`."""

import statistics
import sys
import time

import numpy as np
import torch

from benchmarks import machine, report
from benchmarks.processes import ROOT
from benchmarks.progress import say
from benchmarks.report import OWN, Row
from gradlens import clipping
from gradlens.recording.apply_clip import Clipper
from gradlens.recording.micro_batch_clip import MicroBatchClip
from gradlens.recording.norms import tensor_norms

ROUNDS, CALLS = 7, 12
TENSORS, ENTRIES = 150, 365 * 365 // 2
STEPS = 1_000_000
TORCH = "torch's clip_grad_norm_"
_CPU = torch.device("cpu")

RULES = (
    clipping.fixed(1e-3),
    clipping.autoclip(10),
    clipping.autoclip(10, window=1000),
    clipping.per_parameter(clipping.autoclip(10)),
    clipping.per_group(clipping.fixed(1e-3), {"weights": "w*"}),
    clipping.value(1e-3),
    clipping.normalize(),
    clipping.agc(1e-3),
    clipping.zclip(),
    clipping.adagc(),
    clipping.soft(0.1),
    clipping.rescale(0.1, 1.0),
    clipping.chain(clipping.value(1e-3), clipping.fixed(1.0)),
    clipping.match_step(clipping.per_parameter(clipping.fixed(1e-3))),
)
REPLAYED = (
    clipping.fixed(1.0),
    clipping.autoclip(10),
    clipping.autoclip(10, window=1000),
    clipping.autoclip(10, ema=0.99, exclude_current=True),
    clipping.zclip(),
    clipping.rescale(0.1, 1.0),
)

_NOTES = (
    f"A step: the norm of {TENSORS} tensors of {ENTRIES:,} entries (10 M parameters), the decision, and the gradients "
    "multiplied in place; in one process, rule and torch's clip in turns, from memory that no cache holds. Rules are "
    "set to act, but AutoClip, which sees one norm again and again here, has nothing to multiply.",
    "micro_batch: what clipping adds to one backward pass, its norm included; twice the traffic, since a sum is kept "
    "beside the gradient.",
    f"Replay: thresholds and coefficients of {STEPS:,} recorded norms, in microseconds a step.",
)


def gradients():
    """Parameters with gradients, seeded."""
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(365, ENTRIES // 365, generator=generator)) for _ in range(TENSORS)]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return parameters


def milliseconds(act, renew):
    """The median of some calls, each after the gradients were written anew, which also empties the cache."""
    found = []
    for _ in range(CALLS):
        renew()
        begin = time.perf_counter()
        act()
        found.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(found)


def step_rows():
    """A row for each rule: milliseconds, and torch's beside it in the same rounds."""
    parameters = gradients()
    kept = [parameter.grad.clone() for parameter in parameters]

    def renew():
        for parameter, gradient in zip(parameters, kept, strict=True):
            parameter.grad = gradient.clone()

    def torch_clip():
        torch.nn.utils.clip_grad_norm_(parameters, 1e-3)

    names = [f"w{index}" for index in range(TENSORS)]
    actions = {}
    for rule in RULES:
        clipper = Clipper(rule, names, _CPU)

        def act(clipper=clipper):
            clipper.clip(parameters, tensor_norms([p.grad for p in parameters], _CPU), lr=0.1)

        actions[f"{rule}, ms a step"] = act
    micro = MicroBatchClip(clipping.micro_batch(), parameters, _CPU)

    def micro_batch():
        micro.pass_ended(torch.ones(()), (), plain=False)
        micro._aside = True

    actions["micro_batch(), ms a backward pass"] = micro_batch
    found = {name: [] for name in actions}
    beside = {name: [] for name in actions}
    for number in range(ROUNDS):
        say(f"round {number + 1} of {ROUNDS}")
        for name, act in actions.items():
            found[name].append(milliseconds(act, renew))
            beside[name].append(milliseconds(torch_clip, renew))
    return [Row(name, {OWN: found[name], TORCH: beside[name]}) for name in actions]


def replay_rows():
    """A row for each rule that norms determine."""
    norms = np.random.default_rng(0).lognormal(size=STEPS)
    rows = []
    for rule in REPLAYED:
        say(f"replay of {rule}")
        found = []
        for _ in range(3):
            begin = time.perf_counter()
            clipping.replay(rule, norms)
            found.append(1e6 * (time.perf_counter() - begin) / STEPS)
        rows.append(Row(f"replay of {rule}, us a step", {OWN: found}, most=3.0))
    return rows


def main():
    """Measure, print and write."""
    others = machine.Others()
    rows = step_rows() + replay_rows()
    known = machine.facts(torch=torch.__version__, rounds=str(ROUNDS))
    known["other work on the machine meanwhile"] = others.text()
    kept = report.Report(report.RESULTS / "rules", "What each clip rule costs", "make bench-rules", (TORCH,))
    report.write(kept, rows, known, _NOTES)
    say(f"written to {kept.stem.relative_to(ROOT)}.md")
    print(report.table(rows, (TORCH,)))
    print(report.sentence(known))
    return 0


if __name__ == "__main__":
    sys.exit(main())
