"""``gradlens analyze layers``: each layer's norm over the training, and which layers a rule would have clipped."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlens.analysis import LayerClipping, LayerProfile, layer_clipping, layer_profile
from gradlens.cli.answers import add_runs, answer_all
from gradlens.cli.output import number, print_entry, print_table
from gradlens.cli.replayed import Numbers, add_rule, numbers_of, option_of, rule_of
from gradlens.clipping import one_rule
from gradlens.schema import TENSOR_KINDS
from gradlens.store import Run

_PLACES = ("first", "middle", "last")


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser("layers", help="each layer's norm over the training, and which a rule would clip")
    parser.add_argument(
        "--kind", choices=TENSOR_KINDS, default="grad_norm", help="what to look at (default: %(default)s)"
    )
    parser.add_argument("--by", choices=("parameter", "layer"), default="parameter", help="rows (default: %(default)s)")
    parser.add_argument("--include", nargs="+", default=["*"], metavar="GLOB", help="parameters to look at")
    add_rule(parser, " on each parameter")
    add_runs(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Look at each run's layers; 1 where a path leads to no run, or a run has no answer."""
    if not any(value is not None for value in numbers_of(given)):
        asked = {"kind": given.kind, "by": given.by, "include": given.include}
        return answer_all(given, _profile, _profile_numbers, _show_profile, asked, tuple(asked.values()))
    rule = rule_of(given)
    if given.kind != "grad_norm" or given.by != "parameter":
        raise ValueError("a rule is replayed over the grad_norm of parameters; leave --kind and --by out, or the rule.")

    def show(answers: Sequence[tuple[Run, LayerClipping]]) -> None:
        _show_clipping(answers)
        print(f"draw it with: gradlens export figure RUN --figure layer_clipping {option_of(given)} --out figure")

    arguments = (numbers_of(given), given.include)
    return answer_all(given, _replayed, _clipping_numbers, show, {"rule": repr(rule)}, arguments)


def _profile(run: Run, kind: str, by: str, include: Sequence[str]) -> LayerProfile:
    return layer_profile(run, kind, by=by, include=include)


def _replayed(run: Run, numbers: Numbers, include: Sequence[str]) -> LayerClipping:
    return layer_clipping(run, one_rule(*numbers), include=include)


def _profile_numbers(answer: LayerProfile) -> dict[str, Any]:
    return {
        "layers": answer.names,
        "edges": answer.edges.tolist(),
        "low": answer.low.tolist(),
        "mean": answer.mean.tolist(),
        "high": answer.high.tolist(),
        "summarised": answer.summarised,
    }


def _clipping_numbers(answer: LayerClipping) -> dict[str, Any]:
    names = ("rate", "rate_by_phase", "mean_coefficient", "median_norm", "threshold", "nonfinite", "n")
    return {"layers": answer.names, **{name: getattr(answer, name).tolist() for name in names}}


def _show_profile(answers: Sequence[tuple[Run, LayerProfile]]) -> None:
    for run, answer in answers:
        print_entry("run", f"{run.name}, {answer.kind}")
        rows = []
        for place, name in enumerate(answer.names):
            thirds = [_mean(part) for part in np.array_split(answer.mean[place].astype(np.float64), 3)]
            high = answer.high[place]
            worst = int(np.nanargmax(high)) if np.isfinite(high).any() else 0
            where = f"{answer.edges[worst]:,} to {answer.edges[worst + 1] - 1:,}"
            rows.append((name, *map(number, thirds), number(float(high[worst])), where))
        print_table(("layer", *(f"mean, {each}" for each in _PLACES), "largest", "in steps"), rows, range(1, 6))
        print("\n" + f"{answer.note}\n" * bool(answer.note))
    print("draw it with: gradlens export figure RUN --figure layer_heatmap --out figure")


def _show_clipping(answers: Sequence[tuple[Run, LayerClipping]]) -> None:
    for run, answer in answers:
        print_entry("run", f"{run.name}, {answer.rule} on each parameter")
        rows = []
        for place, name in enumerate(answer.names):
            rates = (answer.rate[place], *answer.rate_by_phase[place])
            shares = (number(float(rate), percent=True) for rate in rates)
            numbers = (answer.mean_coefficient[place], answer.median_norm[place], answer.threshold[place])
            rows.append((name, *shares, *(number(float(each)) for each in numbers)))
        head = ("parameter", "clipped", "early", "middle", "late", "mean coefficient", "median norm", "last threshold")
        print_table(head, rows, range(1, len(head)))
        print(f"\n{answer.note}")


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
