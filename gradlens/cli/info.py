"""``gradlens info``: one run, its numbers and its state on disk."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from gradlens.analysis import norm_smoothness, summarize
from gradlens.cli.output import number, print_entry, print_json
from gradlens.clipping import describe
from gradlens.store import Run, open_run


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser("info", help="say what a run holds")
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="folder of one run")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Describe a run; 1 where a part of it is damaged or nothing of it can be read."""
    opened = open_run(given.run_folder)
    if given.json:
        print_json(
            {"run_id": opened.run_id, "name": opened.name, "status": opened.status, "clip": opened.clip}
            | {"config": dict(opened.config), "environment": dict(opened.environment), "columns": opened.columns}
            | {"bytes": opened.bytes, "problems": opened.problems, **asdict(summarize(opened))}
        )
    else:
        for title, value in _entries(opened):
            print_entry(title, value)
        for problem in opened.problems:
            print_entry("problem", problem)
        print(f"\ndraw it with: gradlens export figure {given.run_folder} --out figure")
    return 1 if opened.problems or not opened.columns else 0


def _entries(run: Run) -> list[tuple[str, str]]:
    summary = summarize(run)
    environment = run.environment
    answer = norm_smoothness(run)
    low, high = answer.raw.pearson_interval
    r = answer.status or f"{answer.raw.pearson:.2f} [{low:.2f}, {high:.2f}], detrended {answer.detrended.pearson:.2f}"
    if not answer.status and answer.placebo is not None:
        doubt = f", {answer.raw.caveat}" if answer.raw.caveat else ""
        r = f"r = {r}, placebo {answer.placebo.raw:.2f}; n = {answer.n}{doubt}"
    return [
        ("name", run.name),
        ("run", run.run_id),
        ("status", run.status),
        ("recorded", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.created))),
        ("clip", describe(run.clip)),
        ("config", ", ".join(f"{key} = {value}" for key, value in run.config.items()) or "none"),
        ("torch", f"{environment.get('torch')} on {environment.get('device')}"),
        ("optimizer", str(run.optimizer.get("class"))),
        ("parameters", f"{environment.get('parameters')} in {len(run.parameters)} tensors"),
        ("steps", f"{summary.steps:,} in {number(summary.seconds)} s"),
        ("final loss", number(summary.final_loss)),
        ("clipped", number(summary.clipped, percent=True)),
        ("norm-smoothness", r),
        ("overhead", number(summary.overhead, percent=True) + " of a step, smoothness probes apart"),
        ("series", ", ".join(run.columns) or "none"),
        ("on disk", f"{run.bytes:,} bytes"),
    ]
