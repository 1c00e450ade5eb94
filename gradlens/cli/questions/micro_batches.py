"""``gradlens analyze micro-batches``: what the size of the micro-batches does under micro-batch clipping."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from gradlens.analysis import MicroBatchBias, micro_batch_bias
from gradlens.analysis.ladders import Ladder
from gradlens.analysis.micro_batch_bias import RateSweep
from gradlens.cli.on_disk import named_runs
from gradlens.cli.output import number, print_entry, print_json, print_table


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("micro-batches", help="which micro-batch size is best under micro-batch clipping")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--metric", default="test_accuracy", help="held-out metric logged (default: %(default)s)")
    parser.add_argument("--smaller-is-better", action="store_true", help="the metric is a loss or an error")
    parser.add_argument("--chance", type=float, help="leave out runs whose metric is not above this")
    parser.add_argument("--cannot-memorise", action="store_true", help="the model cannot fit its training set")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Answer; 1 where a path leads to no run, or the runs cannot answer."""
    runs, problems = named_runs(given.runs)
    answer = micro_batch_bias(
        runs,
        metric=given.metric,
        larger_is_better=not given.smaller_is_better,
        chance=given.chance,
        can_memorise=not given.cannot_memorise,
    )
    problems += [answer.status] if answer.status else []
    if given.json:
        print_json(asdict(answer) | {"problems": problems})
        return 1 if problems else 0
    for problem in problems:
        print(f"gradlens: {problem}", file=sys.stderr)
    for sweep in answer.sweeps:
        _print_sweep(sweep)
    _print_bias(answer)
    for title, sentences in (("left out", answer.excluded), ("to bear in mind", answer.doubts)):
        for sentence in sentences:
            print_entry(title, sentence)
    if answer.sweeps:
        print("\ndraw it with: gradlens export figure RUNS --figure micro_batch_bias --out figure")
    return 1 if problems else 0


def _print_sweep(sweep: RateSweep) -> None:
    name = "noise floor" if sweep.is_floor else f"gradient norm at T = {sweep.last_step:,}"
    print(f"lr {sweep.lr:g}{', decaying' if sweep.decays else ''}")
    rows = [_row(name, sweep.norm)]
    rows += [_row(sweep.metric.quantity, sweep.metric)] if sweep.metric else []
    rows += [_row(f"steps to a loss of {sweep.level:.3g}", sweep.speed)] if sweep.speed else []
    sizes = tuple(f"b = {b}" for b in sweep.norm.sizes)
    print_table(("", *sizes, "best", "not distinguishable"), rows, right=range(1, len(sizes) + 2))
    for quantity in (sweep.norm, sweep.metric):
        if quantity is not None and quantity.status:
            print_entry(quantity.quantity[:17], quantity.status)
    if sweep.status:
        print_entry("", sweep.status)
    print()


def _row(name: str, ladder: Ladder) -> tuple[str, ...]:
    best = str(ladder.minimum.best or "-")
    return name, *(number(float(mean)) for mean in ladder.interval.mean), best, ", ".join(map(str, ladder.minimum.ties))


def _print_bias(answer: MicroBatchBias) -> None:
    for each in answer.biases:
        span = f"{number(each.beta)} [{number(each.low)}, {number(each.high)}]"
        print_entry(f"bias, b = {each.micro_batch_size}", f"{each.status or span} ({each.route})")
    for effect in answer.effects:
        found = effect.difference
        cells = (
            f"b = {b}: {mean:+.3g} [{low:+.3g}, {high:+.3g}]"
            for b, mean, low, high in zip(effect.sizes, found.mean, found.low, found.high, strict=True)
        )
        said = effect.status or "; ".join(cells)
        print_entry(f"less {effect.versus}", f"{effect.quantity}, lr {effect.lr:g}: {said}")
