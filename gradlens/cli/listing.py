"""``gradlens list``: a line a run."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from gradlens.analysis import Summary, summarize
from gradlens.cli.answers import add_jobs, ask_each
from gradlens.cli.on_disk import count
from gradlens.cli.output import number, print_json, print_table
from gradlens.clipping import describe
from gradlens.store import Run, open_runs


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser("list", help="list the runs in a folder")
    parser.add_argument("root", type=Path, help="folder of runs")
    parser.add_argument("--json", action="store_true", help="for machines")
    add_jobs(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Look:
    """What a line says of a run.

    Attributes:
        summary: its numbers.
        problems: what was found broken meanwhile.
    """

    summary: Summary
    problems: tuple[str, ...]


def _look(run: Run, timed: bool) -> _Look:
    return _Look(summarize(run, timed=timed), run.problems)


def run(given: argparse.Namespace) -> int:
    """List the runs of a folder; 1 where there is none."""
    runs = open_runs(given.root)
    answers, failed = ask_each(given.jobs, _look, runs, given.json)
    rows = [(run, look.summary) for run, look in answers]
    damage = [f"{run.name}: {problem}" for run, look in answers for problem in look.problems]
    problems = [*runs.problems, *failed, *damage]
    if given.json:
        listed = [
            {"run_id": run.run_id, "name": run.name, "status": run.status, "path": str(run.path), "clip": run.clip}
            | {"config": dict(run.config), **asdict(summary)}
            for run, summary in rows
        ]
        print_json({"root": str(given.root), "runs": listed, "problems": problems})
        return 0 if rows else 1
    for problem in problems:
        print(f"gradlens: {problem}", file=sys.stderr)
    if not rows:
        print(
            f"gradlens: no runs in {given.root}; record some with gradlens.Recorder(model, optimizer, root)",
            file=sys.stderr,
        )
        return 1
    print_table(
        ("name", "status", "clip", "steps", "final loss", "step sd/mean", "clipped", "folder"),
        [
            (
                run.name,
                run.status,
                describe(run.clip),
                f"{summary.steps:,}" if summary.steps else "-",
                number(summary.final_loss),
                number(summary.step_variation),
                number(summary.clipped, percent=True),
                str(run.path.relative_to(given.root)),
            )
            for run, summary in rows
        ],
        right=(3, 4, 5, 6),
    )
    print(f"\n{count(len(rows), 'run')}. Browse them with: gradlens show {given.root}")
    return 0
