"""``gradlens analyze draggers``: micro-batches over the training, by domain, and whether draggers can be told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlens.analysis import PHASES, DraggerProfile, dragger_profile
from gradlens.cli.answers import add_runs, answer_all
from gradlens.cli.output import number, print_entry, print_table
from gradlens.store import Run

_NUMBERS = ("grad_norm", "cosine", "clip_coef")


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("draggers", help="micro-batches by domain, and whether draggers can be told")
    parser.add_argument("--draggers", nargs="+", metavar="DOMAIN", help="domains whose micro-batches are draggers")
    add_runs(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Look at each run's micro-batches; 1 where a path leads to no run, or a run has none."""
    asked = {"draggers": given.draggers}
    return answer_all(given, dragger_profile, _numbers, _show, asked, (given.draggers,))


def _numbers(answer: DraggerProfile) -> dict[str, Any]:
    return {
        "micro_batches": answer.n,
        "steps": len(answer.steps),
        "domains": [
            {"domain": name, "micro_batches": int(answer.count[row].sum())}
            | {each: _mean(getattr(answer, each)[row], answer.count[row]) for each in _NUMBERS}
            for row, name in enumerate(answer.domains)
        ],
        "effective_by_phase": dict(zip(PHASES, answer.effective_by_phase, strict=True)),
        "effective_lengths_by_phase": dict(zip(PHASES, answer.effective_lengths_by_phase, strict=True)),
        "clip_coef_recorded": answer.recorded,
        "known": answer.known_count,
        "detection": [
            {"score": each.score, "phase": each.phase, "auc": each.auc.value, "interval": each.auc.interval}
            | {"steps": each.auc.groups, "status": each.auc.status, "caveat": each.auc.caveat}
            for each in answer.detections
        ],
    }


def _show(answers: Sequence[tuple[Run, DraggerProfile]]) -> None:
    for run, answer in answers:
        print_entry("run", f"{run.name}, {answer.n:,} micro-batches in {len(answer.steps):,} steps")
        rows = []
        for row, name in enumerate(answer.domains):
            means = (number(_mean(getattr(answer, each)[row], answer.count[row])) for each in _NUMBERS)
            rows.append((name, f"{int(answer.count[row].sum()):,}", *means))
        print_table(("domain", "micro-batches", "gradient norm", "cosine", "clip coefficient"), rows, range(1, 5))
        print()
        for title, numbers in (("weight", answer.effective_by_phase), ("length", answer.effective_lengths_by_phase)):
            print_entry(f"effective, {title}", " ".join(map(number, numbers)) + "  (early, middle, late)")
        for each in answer.detections:
            low, high = each.auc.interval
            doubt = f", {each.auc.caveat}" if each.auc.caveat else ""
            text = each.auc.status or f"{number(each.auc.value)} [{number(low)}, {number(high)}]{doubt}"
            print_entry(f"AUC, {each.score}", f"{each.phase}: {text}")
        print(f"{answer.note}\n")
    print("draw it with: gradlens export figure RUN --figure dragger_profile --out figure")


def _mean(values: np.ndarray[Any, np.dtype[np.float64]], count: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Mean over stretches, by their number of micro-batches."""
    known = np.isfinite(values)
    return float(np.average(values[known], weights=count[known])) if known.any() else float("nan")
