"""``gradlens analyze thresholds``: which recorded steps a rule would have clipped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gradlens.analysis import PHASES, Thresholds, thresholds
from gradlens.cli.answers import add_runs, answer_all
from gradlens.cli.output import number, print_table
from gradlens.cli.replayed import Numbers, add_rule, numbers_of, option_of, rule_of
from gradlens.clipping import one_rule
from gradlens.store import Run


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("thresholds", help="which recorded steps a clip rule would have clipped")
    add_rule(parser)
    add_runs(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Replay the rule over each run; 1 where a path leads to no run, or a run has no answer."""
    rule = rule_of(given)

    def show(answers: Sequence[tuple[Run, Thresholds]]) -> None:
        head = ("name", "steps", "clipped", *PHASES, "last threshold", "median coefficient", "NaN or inf")
        print_table(head, [_row(run, answer) for run, answer in answers], right=range(1, len(head)))
        said = [*(f"{run.name}: {each}" for run, answer in answers for each in answer.warnings)]
        print("\n" + "\n".join([*said, *dict.fromkeys(answer.note for _, answer in answers)]))
        option = option_of(given)
        print(f"\ndraw it with: gradlens export figure RUN --figure threshold_history {option} --out figure")

    return answer_all(given, _ask, _numbers, show, {"rule": repr(rule)}, (numbers_of(given),))


def _ask(run: Run, numbers: Numbers) -> Thresholds:
    """The answer with the last of its steps only: those of a hundred long runs would be gigabytes."""
    answer = thresholds(run, one_rule(*numbers))
    series = ("steps", "grad_norm", "thresholds", "coefficients", "clipped", "lr", "effective_lr")
    return replace(answer, **{name: getattr(answer, name)[-1:].copy() for name in series})


def _row(run: Run, answer: Thresholds) -> tuple[str, ...]:
    rates = (number(rate, percent=True) for rate in (answer.rate, *answer.rate_by_phase))
    coefficients = " ".join(number(each) for each in answer.coefficient_by_phase)
    return run.name, f"{answer.n:,}", *rates, number(_last(answer)), coefficients, f"{answer.nonfinite:,}"


def _numbers(answer: Thresholds) -> dict[str, Any]:
    return {
        "steps": answer.n,
        "clipped": answer.rate,
        "clipped_by_phase": dict(zip(PHASES, answer.rate_by_phase, strict=True)),
        "coefficient_by_phase": dict(zip(PHASES, answer.coefficient_by_phase, strict=True)),
        "effective_lr_by_phase": dict(zip(PHASES, answer.effective_lr_by_phase, strict=True)),
        "last_threshold": _last(answer),
        "nonfinite": answer.nonfinite,
        "warnings": answer.warnings,
    }


def _last(answer: Thresholds) -> float:
    return float(answer.thresholds[-1]) if answer.n else float("nan")
