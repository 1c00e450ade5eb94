"""``gradlens analyze recommend``: which threshold to try first, and how much others would have clipped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gradlens.analysis import PHASES, ThresholdAdvice, recommend_thresholds, threshold_sweep
from gradlens.cli.answers import add_runs, answer_all
from gradlens.cli.output import number, print_entry, print_table
from gradlens.clipping import autoclip, fixed
from gradlens.store import Run

PERCENTILES = (1.0, 10.0, 25.0, 50.0, 90.0)


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("recommend", help="which clipping threshold to try first, and why")
    add_runs(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Advise for each run; 1 where a path leads to no run, or a run gives no fixed threshold."""
    return answer_all(given, _ask, _numbers, _show, arguments=(not given.json,))


@dataclass(frozen=True, slots=True)
class _Advised:
    """An advice and the table of rules beside it, made where the run is read.

    Attributes:
        advice: the answer.
        rows: of the table.
        status: of the advice.
        note: of the advice.
    """

    advice: ThresholdAdvice
    rows: list[tuple[str, ...]]
    status: str
    note: str


def _ask(run: Run, table: bool) -> _Advised:
    advice = recommend_thresholds(run)
    rows = _rows(run, advice) if table and not advice.status else []
    return _Advised(advice, rows, advice.status, advice.note)


def _numbers(answer: _Advised) -> dict[str, Any]:
    return {name: value for name, value in asdict(answer.advice).items() if name not in ("status", "note")}


def _show(answers: Sequence[tuple[Run, _Advised]]) -> None:
    for run, advised in answers:
        answer = advised.advice
        low, high = answer.max_norm_interval
        print_entry("run", run.name)
        print_entry("percentile", f"{answer.percentile:g}. {answer.percentile_reason}")
        print_entry(
            "fixed norm", f"{number(answer.max_norm)} [{number(low)}, {number(high)}]. {answer.max_norm_reason}"
        )
        for warning in answer.warnings:
            print_entry("but", warning)
        print()
        head = ("rule", "threshold at the end", "clipped", *PHASES, "mean coefficient")
        print_table(head, advised.rows, range(1, 7))
        print(f"\n{answer.note}\n")
    print("replay one with: gradlens analyze thresholds RUN --percentile 10")


def _rows(run: Run, answer: ThresholdAdvice) -> list[tuple[str, ...]]:
    rows, rounded = [], float(f"{answer.max_norm:.3g}")
    for sweep in (threshold_sweep(run, autoclip, PERCENTILES), threshold_sweep(run, fixed, [rounded])):
        for place, rule in enumerate(sweep.rules):
            rates = (sweep.rate[place], *sweep.rate_by_phase[place])
            shares = (number(float(rate), percent=True) for rate in rates)
            last, left = float(sweep.threshold[place]), float(sweep.mean_coefficient[place])
            rows.append((rule, number(last), *shares, number(left)))
    return rows
