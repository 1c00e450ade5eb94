"""``gradlens analyze norm-smoothness``: is smoothness tied to the gradient norm; two runs are compared as well."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gradlens.analysis import (
    NormSmoothness,
    SmoothnessByGroup,
    SmoothnessComparison,
    compare_smoothness,
    norm_smoothness,
    smoothness_by_group,
)
from gradlens.cli.answers import add_jobs, ask_each
from gradlens.cli.on_disk import named_runs
from gradlens.cli.output import number, print_entry, print_json, print_table
from gradlens.stats import LineFit
from gradlens.store import Run

Interval = tuple[float, float]


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the question."""
    parser = verbs.add_parser(
        "norm-smoothness", help="whether smoothness goes with the gradient norm; compares two runs"
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--groups", action="store_true", help="also by recorded group or layer")
    parser.add_argument("--json", action="store_true", help="for machines")
    add_jobs(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Answer for each run, and for two of them the difference; 1 where a path leads to no run, or one has no answer."""
    runs, problems = named_runs(given.runs)
    answered, failed = ask_each(given.jobs, _ask, runs, given.groups)
    problems += failed
    runs, answers = [run for run, _ in answered], [answer for _, (answer, _) in answered]
    groups = [parts for _, (_, parts) in answered if parts is not None]
    compared = compare_smoothness(*runs, answers=(answers[0], answers[1])) if len(runs) == 2 else None
    problems += [answer.status for answer in answers if answer.status]
    problems += [answer.status for answer in groups if answer.status and answer.status not in problems]
    if given.json:
        numbers = [_numbers(*pair) for pair in zip(runs, answers, strict=True)]
        for entry, parts in zip(numbers, groups, strict=False):
            entry["groups"] = asdict(parts)
        print_json({"runs": numbers, "comparison": _compared(compared), "problems": problems})
        return 1 if problems else 0
    for problem in problems:
        print(f"gradlens: {problem}", file=sys.stderr)
    _print_runs(runs, answers)
    for run, parts in zip(runs, groups, strict=False):
        _print_groups(run, parts)
    if compared is not None:
        _print_comparison(compared)
    if any(not answer.status for answer in answers):
        print("\ndraw it with: gradlens export figure RUN --figure smoothness_trajectory --out figure")
    return 1 if problems else 0


def _ask(run: Run, groups: bool) -> tuple[NormSmoothness, SmoothnessByGroup | None]:
    return norm_smoothness(run), smoothness_by_group(run) if groups else None


def _print_runs(runs: list[Run], answers: list[NormSmoothness]) -> None:
    for run, answer in zip(runs, answers, strict=True):
        if answer.status or answer.placebo is None:
            continue
        print_entry("run", run.name)
        doubt = f"; {answer.raw.caveat}" if answer.raw.caveat else ""
        print_entry("r", f"{_with(answer.raw.pearson, answer.raw.pearson_interval)}; n = {answer.n:,}{doubt}")
        print_entry("detrended r", _with(answer.detrended.pearson, answer.detrended.pearson_interval))
        low, high = answer.placebo.raw_range
        placebo = f"{answer.placebo.raw:z.2f} ({low:z.2f} to {high:z.2f}), detrended {answer.placebo.detrended:z.2f}"
        print_entry("placebo r", placebo)
        phases = ", ".join(f"{phase.name} {phase.correlation.pearson:z.2f}" for phase in answer.phases)
        print_entry("r by phase", phases)
        for fit in answer.fits:
            print_entry(fit.form, _fit(fit))
        print()


def _fit(fit: LineFit) -> str:
    if fit.status:
        return fit.status
    text = f"L0 = {_with(fit.l0, fit.l0_interval)}, L1 = {_with(fit.l1, fit.l1_interval)}"
    text += f", rho = {_with(fit.rho, fit.rho_interval)}" * (fit.form == "power")
    return text + (f"; {fit.caveat}" if fit.caveat else "")


def _print_groups(run: Run, parts: SmoothnessByGroup) -> None:
    if parts.status:
        return
    print(f"{run.name}, by {parts.source}")
    rows = [
        (group.name, f"{group.n:,}", *(_with(r.pearson, r.pearson_interval) for r in (group.raw, group.detrended)))
        for group in parts.groups
    ]
    print_table(("part", "probes", "r", "detrended r"), rows, right=(1,))
    print(parts.note + "\n")


def _print_comparison(found: SmoothnessComparison) -> None:
    print("the second run against the first")
    for title, difference, placebo in (
        ("r", found.raw, found.placebo_raw),
        ("detrended r", found.detrended, found.placebo_detrended),
    ):
        doubt = f"; {difference.caveat}" if difference.caveat else ""
        value = f"{_with(difference.value, difference.interval, '+z.2f')}, placebo {placebo.value:+z.2f}{doubt}"
        print_entry(title, difference.status or value)
    matched = found.matched
    low, high = matched.overlap
    medians = (
        f"median at equal loss ({number(low)} to {number(high)}): {number(matched.first)} and "
        f"{number(matched.second)}, ratio {_with(matched.ratio, matched.interval)}"
    )
    print_entry("smoothness", matched.status or "; ".join((medians, *matched.caveats)))


def _with(value: float, interval: Interval, form: str = "") -> str:
    """A value and its interval where it has one.

    >>> _with(-0.001, (-0.25, 0.75)), _with(0.5, (float("nan"), float("nan")))
    ('0.00 [-0.25, 0.75]', '0.50')
    """
    form = form or ("z.2f" if abs(value) < 10 else ".3g")
    return f"{value:{form}}" + ("" if np.isnan(interval[0]) else f" [{interval[0]:{form}}, {interval[1]:{form}}]")


def _numbers(run: Run, answer: NormSmoothness) -> dict[str, Any]:
    placebo = answer.placebo
    return {
        "run_id": run.run_id,
        "name": run.name,
        "path": str(run.path),
        "estimator": answer.estimator,
        "probes": answer.n,
        "raw": asdict(answer.raw) | {"caveat": answer.raw.caveat},
        "detrended": asdict(answer.detrended) | {"caveat": answer.detrended.caveat},
        "phases": [asdict(phase) for phase in answer.phases],
        "placebo": placebo and {key: value for key, value in asdict(placebo).items() if not key.endswith("_each")},
        "fits": [asdict(fit) for fit in answer.fits],
        "noise_floor": answer.noise_floor,
        "last_threshold": answer.threshold,
        "status": answer.status,
    }


def _compared(found: SmoothnessComparison | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "raw": asdict(found.raw),
        "detrended": asdict(found.detrended),
        "placebo_raw": asdict(found.placebo_raw),
        "placebo_detrended": asdict(found.placebo_detrended),
        "matched": asdict(found.matched) | {"edges": found.matched.edges.tolist()},
        "status": found.status,
    }
