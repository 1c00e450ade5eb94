"""``gradlens analyze stability``: spikes, steps that failed, layers that explode or vanish."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from gradlens.analysis import SpikeSeries, Stability, stability
from gradlens.cli.answers import add_runs, answer_all
from gradlens.cli.output import number, print_entry, print_table
from gradlens.store import Run

_MOST = 1000
_NO_STEPS, _NO_VALUES = np.empty(0, np.int64), np.empty(0)


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("stability", help="spikes, failed steps, layers that explode or vanish")
    parser.add_argument("--window", type=int, default=64, help="steps that a spike is compared with (%(default)s)")
    parser.add_argument("--score", type=float, default=6.0, help="least robust sd of a spike (default: %(default)s)")
    add_runs(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Look at each run; 1 where a path leads to no run, or a run has no answer."""
    asked = {"window": given.window, "score": given.score}
    return answer_all(given, _ask, _numbers, _show, asked, (given.window, given.score))


def _ask(run: Run, window: int, score: float) -> Stability:
    """The answer without its series: those of a hundred long runs would be gigabytes."""
    answer = stability(run, window=window, score=score)
    norm, loss = (replace(each, steps=_NO_STEPS, values=_NO_VALUES) for each in (answer.grad_norm, answer.loss))
    return replace(answer, grad_norm=norm, loss=loss)


def _numbers(answer: Stability) -> dict[str, Any]:
    return {
        "steps": answer.n,
        "grad_norm": _series(answer.grad_norm),
        "loss": _series(answer.loss),
        "nonfinite": len(answer.nonfinite_steps),
        "nonfinite_steps": answer.nonfinite_steps[:_MOST].tolist(),
        "skipped": len(answer.skipped_steps),
        "skipped_steps": answer.skipped_steps[:_MOST].tolist(),
        "clipped": answer.clipped,
        "layers": [asdict(each) for each in answer.layers],
        "layer_status": answer.layer_status,
    }


def _series(series: SpikeSeries) -> dict[str, Any]:
    """The first thousand spikes by step, and how many there are."""
    return {
        "spikes": len(series.spike_steps),
        "episodes": series.episodes,
        "scored": series.scored,
        "spike_steps": series.spike_steps[:_MOST].tolist(),
        "spike_values": series.spike_values[:_MOST].tolist(),
        "scores": series.scores[:_MOST].tolist(),
    }


def _show(answers: Sequence[tuple[Run, Stability]]) -> None:
    head = ("name", "steps", "norm spikes", "loss spikes", "NaN or inf", "skipped", "clipped", "layers")
    print_table(head, [_row(run, answer) for run, answer in answers], right=range(1, len(head)))
    print()
    for run, answer in answers:
        if answer.layer_status:
            print_entry(run.name, answer.layer_status)
        for each in answer.layers:
            print_entry(
                run.name,
                f"{each.name} {each.direction} in steps {each.first:,} to {each.last:,}: {number(each.factor)} times "
                f"its start, {number(each.relative)} times the others",
            )
    print("\n".join(dict.fromkeys(answer.note for _, answer in answers)))
    print("\ndraw it with: gradlens export figure RUN --figure spike_timeline --out figure")


def _row(run: Run, answer: Stability) -> tuple[str, ...]:
    spikes = (f"{len(s.spike_steps):,} in {s.episodes:,}" for s in (answer.grad_norm, answer.loss))
    odd, skipped = f"{len(answer.nonfinite_steps):,}", f"{len(answer.skipped_steps):,}"
    return (
        run.name,
        f"{answer.n:,}",
        *spikes,
        odd,
        skipped,
        number(answer.clipped, percent=True),
        f"{len(answer.layers):,}",
    )
