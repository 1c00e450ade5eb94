"""``gradlens analyze strategies``: clip rules side by side, each at its own learning rate."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from gradlens.analysis import compare_strategies
from gradlens.analysis.strategies import Strategy
from gradlens.cli.on_disk import named_runs
from gradlens.cli.output import number, print_entry, print_json, print_table
from gradlens.stats.mean_interval import MeanInterval

_HEAD = ("strategy", "lr", "seeds", "metric", "best", "final loss", "steps", "norm after", "ms", "spikes", "clipped")


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("strategies", help="compare clip rules, each at its own learning rate")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--metric", default="test_accuracy", help="metric logged (default: %(default)s)")
    parser.add_argument("--smaller-is-better", action="store_true", help="the metric is a loss or an error")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Compare; 1 where a path leads to no run, or the runs cannot be compared."""
    runs, problems = named_runs(given.runs)
    answer = compare_strategies(runs, metric=given.metric, larger_is_better=not given.smaller_is_better)
    problems += [answer.status] if answer.status else []
    if given.json:
        print_json(asdict(answer) | {"problems": problems})
        return 1 if problems else 0
    for problem in problems:
        print(f"gradlens: {problem}", file=sys.stderr)
    if answer.strategies and not answer.status:
        print(f"Each at its own best learning rate by {answer.chosen_by}; steps to a loss of {number(answer.level)}.\n")
        print_table(_HEAD, [_row(each) for each in answer.strategies], right=range(1, len(_HEAD)))
        print()
    for each in () if answer.status else answer.differences:
        found, name = (each.final, answer.metric) if answer.metric else (each.loss, "final loss")
        span = f"{name} {_signed(found.mean)} [{_signed(found.low)}, {_signed(found.high)}], paired by seed"
        print_entry("difference", f"{each.name} less {each.baseline}: {each.status or span}")
    for strategy in answer.strategies:
        where = strategy.ran_on
        words = "; ".join(", ".join(part) for part in (where.models, where.optimizers, where.devices, where.batches))
        print_entry("ran on", f"{strategy.name}: {words}; {where.runs} runs")
        for sentence in strategy.excluded:
            print_entry("left out", sentence)
    for doubt in () if answer.status else answer.doubts:
        print_entry("to bear in mind", doubt)
    if answer.strategies and not answer.status:
        print("\ndraw it with: gradlens export figure RUNS --figure strategy_comparison --out figure")
    return 1 if problems else 0


def _row(each: Strategy) -> tuple[str, ...]:
    numbers = (each.final, each.best, each.loss, each.speed, each.norm, each.ms)
    counts = each.stability
    return (
        each.name,
        number(each.lr),
        str(len(each.seeds)),
        *(number(_mean(value)) for value in numbers),
        f"{counts.spikes:,}",
        number(counts.clipped, percent=True),
    )


def _mean(interval: MeanInterval) -> float:
    return float(interval.mean)


def _signed(value: object) -> str:
    return f"{float(value):+.3g}"  # type: ignore[arg-type]
