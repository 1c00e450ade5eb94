"""``gradlens analyze landscape``: how far ahead the gradient could be trusted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from gradlens.analysis import PHASES, Landscape, landscape
from gradlens.cli.answers import add_runs, answer_all
from gradlens.cli.output import number, print_table
from gradlens.store import Run


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("landscape", help="loss and gradient along the gradient, as recorded by landscape=")
    add_runs(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Look at each run's probes; 1 where a path leads to no run, or a run has none."""
    return answer_all(given, landscape, _numbers, _show)


def _numbers(answer: Landscape) -> dict[str, Any]:
    return {
        "probes": answer.n,
        "nonfinite": answer.nonfinite,
        "beta_by_phase": dict(zip(PHASES, answer.beta_by_phase, strict=True)),
        "loss_width_by_phase": dict(zip(PHASES, answer.loss_width_by_phase, strict=True)),
        "grad_change_by_phase": dict(zip(PHASES, answer.grad_change_by_phase, strict=True)),
    }


def _show(answers: Sequence[tuple[Run, Landscape]]) -> None:
    what = ("beta", "loss band / loss", "gradient change")
    rows = []
    for run, answer in answers:
        parts = (answer.beta_by_phase, answer.loss_width_by_phase, answer.grad_change_by_phase)
        rows.append(
            (run.name, f"{answer.n:,}", *(" ".join(map(number, part)) for part in parts), f"{answer.nonfinite:,}")
        )
    print_table(
        ("name", "probes", *(f"{each} ({', '.join(PHASES)})" for each in what), "not finite"), rows, range(1, 6)
    )
    print("\n" + answers[0][1].note)
    print("\ndraw it with: gradlens export figure RUN --figure landscape_bands --out figure")
