"""``gradlens analyze sweet-spot``: the micro-batch size that a run's own gradients predict to be best."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from gradlens.analysis import predict_sweet_spot
from gradlens.cli.on_disk import named_runs
from gradlens.cli.output import number, print_json, print_table


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("sweet-spot", help="which micro-batch size is predicted to be best, from one run")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--lr", type=float, help="predict for another learning rate than the run's own")
    parser.add_argument("--share", type=float, default=0.5, help="of the steps, at the end, to use (default: 0.5)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Predict for each run; 1 where a path leads to no run, or a run has no prediction."""
    runs, problems = named_runs(given.runs)
    answers = [predict_sweet_spot(each, share=given.share, lr=given.lr) for each in runs]
    problems += [answer.status for answer in answers if not answer.best]
    if given.json:
        print_json({"runs": [asdict(answer) for answer in answers], "problems": problems})
        return 1 if problems else 0
    for problem in problems:
        print(f"gradlens: {problem}", file=sys.stderr)
    for answer in answers:
        if not answer.best:
            continue
        print(f"{answer.run}: best b = {answer.best}, near it {', '.join(map(str, answer.near))}")
        rows = [
            (str(b), number(float(floor)), f"{number(float(low))} to {number(float(high))}", number(float(part)))
            for b, floor, low, high, part in zip(
                answer.sizes, answer.floor, answer.low, answer.high, answer.bias_part, strict=True
            )
        ]
        print_table(("b", "predicted norm", "probes' error, 95 %", "of which bias"), rows, right=range(4))
        print("The probes' error is that of resampling them; how far a swept norm would be is not known.")
        print(f"{answer.status or 'At rest, as the prediction presumes.'}\n")
    return 1 if problems else 0
