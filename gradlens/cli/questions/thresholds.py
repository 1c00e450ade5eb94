"""``gradlens analyze thresholds``: which recorded steps a rule would have clipped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gradlens.analysis import Thresholds, thresholds
from gradlens.cli.on_disk import named_runs
from gradlens.cli.output import number, print_json, print_table
from gradlens.clipping import one_rule
from gradlens.store import Run

_PHASES = ("early", "middle", "late")


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("thresholds", help="which recorded steps a clip rule would have clipped")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--percentile", type=float, help="replay AutoClip at this percentile")
    parser.add_argument("--max-norm", type=float, help="replay a fixed norm")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Replay the rule over each run; 1 where a path leads to no run, or a run has no answer."""
    rule = one_rule(given.percentile, given.max_norm)
    runs, problems = named_runs(given.runs)
    answers = [(run, thresholds(run, rule)) for run in runs]
    problems += [answer.status for _, answer in answers if answer.status]
    if given.json:
        print_json({"rule": repr(rule), "runs": [_numbers(*pair) for pair in answers], "problems": problems})
        return 1 if problems else 0
    for problem in problems:
        print(f"gradlens: {problem}", file=sys.stderr)
    rows = [_row(run, answer) for run, answer in answers if not answer.status]
    if rows:
        print_table(("name", "steps", "clipped", *_PHASES, "last threshold", "NaN or inf"), rows, right=range(1, 8))
        print("\n" + "\n".join(dict.fromkeys(answer.note for _, answer in answers if not answer.status)))
        option = f"--percentile {given.percentile:g}" if given.max_norm is None else f"--max-norm {given.max_norm:g}"
        print(f"\ndraw it with: gradlens export figure RUN --figure threshold_history {option} --out figure")
    return 1 if problems else 0


def _row(run: Run, answer: Thresholds) -> tuple[str, ...]:
    rates = (number(rate, percent=True) for rate in (answer.rate, *answer.rate_by_phase))
    return run.name, f"{answer.n:,}", *rates, number(_last(answer)), f"{answer.nonfinite:,}"


def _numbers(run: Run, answer: Thresholds) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "path": str(run.path),
        "steps": answer.n,
        "clipped": answer.rate,
        "clipped_by_phase": dict(zip(_PHASES, answer.rate_by_phase, strict=True)),
        "last_threshold": _last(answer),
        "nonfinite": answer.nonfinite,
        "status": answer.status,
        "note": answer.note,
    }


def _last(answer: Thresholds) -> float:
    return float(answer.thresholds[-1]) if answer.n else float(np.nan)
