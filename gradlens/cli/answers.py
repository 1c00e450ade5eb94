"""Putting one question to several runs: for people a text, for machines JSON, and what went wrong on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gradlens.cli.on_disk import named_runs
from gradlens.cli.output import print_json, printable
from gradlens.store import Run


class Answer(Protocol):
    """A result that says why where it has none."""

    @property
    def status(self) -> str:
        """Empty, or a sentence."""


A = TypeVar("A", bound=Answer)


def add_runs(parser: argparse.ArgumentParser) -> None:
    """What every question takes."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--json", action="store_true", help="for machines")


def answer_all(
    given: argparse.Namespace,
    ask: Callable[[Run], A],
    numbers: Callable[[A], Mapping[str, Any]],
    show: Callable[[Sequence[tuple[Run, A]]], None],
    asked: Mapping[str, Any] | None = None,
) -> int:
    """Ask every run; 1 where a path leads to no run, or a run has no answer.

    Args:
        given: the command line, with ``runs`` and ``json``.
        ask: run -> answer.
        numbers: answer -> what JSON says of it, beside the run's name, the status and the note.
        show: prints the answers that there are, one or more.
        asked: what JSON says of the question.
    """
    runs, problems = named_runs(given.runs)
    answers = [(run, ask(run)) for run in runs]
    problems += [answer.status for _, answer in answers if answer.status]
    if given.json:
        of_runs = [_about(run) | dict(numbers(answer)) | _doubts(answer) for run, answer in answers]
        print_json({**(asked or {}), "runs": of_runs, "problems": problems})
        return 1 if problems else 0
    for problem in problems:
        print(f"gradlens: {printable(problem)}", file=sys.stderr)
    good = [(run, answer) for run, answer in answers if not answer.status]
    if good:
        show(good)
    return 1 if problems else 0


def _about(run: Run) -> dict[str, Any]:
    return {"run_id": run.run_id, "name": run.name, "path": str(run.path)}


def _doubts(answer: Answer) -> dict[str, Any]:
    return {"status": answer.status, "note": getattr(answer, "note", "")}
