"""``gradlens analyze step-size``: steps against the longest that the curvature along them allows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gradlens.analysis import StepSizeSafety, step_size_safety
from gradlens.cli.answers import add_jobs, ask_each
from gradlens.cli.on_disk import named_runs
from gradlens.cli.output import number, print_json, print_table
from gradlens.store import Run

_PHASES = ("early", "middle", "late")


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("step-size", help="whether steps were short enough for the curvature they met")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--json", action="store_true", help="for machines")
    add_jobs(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Judge each run's steps; 1 where a path leads to no run, or a run has no answer."""
    runs, problems = named_runs(given.runs)
    answers, failed = ask_each(given.jobs, step_size_safety, runs)
    problems += failed
    problems += [answer.status for _, answer in answers if answer.status]
    if given.json:
        print_json({"runs": [_numbers(*pair) for pair in answers], "problems": problems})
        return 1 if problems else 0
    for problem in problems:
        print(f"gradlens: {problem}", file=sys.stderr)
    answered = [(run, answer) for run, answer in answers if not answer.status]
    if answered:
        head = ("name", "optimizer", "probes", "median", "limit", "above", *_PHASES)
        print_table(head, [_row(*pair) for pair in answered], right=range(2, 9))
        print("\nlearning rate x clip coefficient x smoothness along the step; beyond the limit a quadratic grows.")
        said = [sentence for _, answer in answered for sentence in (answer.no_line, *answer.caveats) if sentence]
        print("\n".join(dict.fromkeys(said)) + "\n" * bool(said), end="")
        print("\ndraw it with: gradlens export figure RUN --figure step_size_safety --out figure")
    return 1 if problems else 0


def _row(run: Run, answer: StepSizeSafety) -> tuple[str, ...]:
    shares = (number(share, percent=True) for share in (answer.above, *answer.above_by_phase))
    return run.name, answer.optimizer, f"{answer.n:,}", number(_median(answer)), number(answer.limit), *shares


def _median(answer: StepSizeSafety) -> float:
    return float(np.median(answer.product)) if answer.n else float(np.nan)


def _numbers(run: Run, answer: StepSizeSafety) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "path": str(run.path),
        "optimizer": answer.optimizer,
        "probes": answer.n,
        "median": _median(answer),
        "limit": answer.limit,
        "limit_label": answer.limit_label,
        "above": answer.above,
        "above_interval": answer.above_interval,
        "above_by_phase": dict(zip(_PHASES, answer.above_by_phase, strict=True)),
        "no_line": answer.no_line,
        "caveats": answer.caveats,
        "status": answer.status,
    }
