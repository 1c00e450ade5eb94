"""Putting one question to several runs: for people a text, for machines JSON, and what went wrong on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gradlens.analysis import over
from gradlens.cli.on_disk import named_runs
from gradlens.cli.output import print_json, printable
from gradlens.cli.progress import progress
from gradlens.store import Run


class Answer(Protocol):
    """A result that says why where it has none."""

    @property
    def status(self) -> str:
        """Empty, or a sentence."""


A = TypeVar("A", bound=Answer)
T = TypeVar("T")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """What every question takes."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--json", action="store_true", help="for machines")
    add_jobs(parser)


def add_jobs(parser: argparse.ArgumentParser) -> None:
    """What every question that goes over many runs takes."""
    parser.add_argument(
        "--jobs", type=_jobs, metavar="N", help="processes to ask with (default: one a core, where it takes long)"
    )


def _jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expects a whole number, 1 or more; got {text!r}")
    return int(text)


def ask_each(
    jobs: int | None, ask: Callable[..., T], runs: Sequence[Run], *arguments: Any
) -> tuple[list[tuple[Run, T]], list[str]]:
    """Those of some runs that have an answer, with it; and a sentence for each of the others.

    Args:
        jobs: processes, None for as many as are worth it.
        ask: run and arguments -> answer, a function of a module; what it returns stays in memory.
        runs: to ask.
        arguments: of the question.

    Raises:
        ValueError: if the arguments fit none of the runs.
    """
    answered: list[tuple[Run, T]] = []
    problems: list[str] = []
    refused, first = 0, ""
    with progress("asking", len(runs), "runs") as advance:
        for outcome in over(ask, runs, *arguments, processes=jobs):
            refused += outcome.refused
            if outcome.problem:
                named = outcome.run.name in outcome.problem
                problems.append(outcome.problem if named else f"{outcome.run.name}: {outcome.problem}")
                first = first or outcome.problem
            elif outcome.answer is not None:
                answered.append((outcome.run, outcome.answer))
            advance(1, outcome.run.name)
    if problems and refused == len(runs):
        raise ValueError(first)
    return answered, problems


def answer_all(
    given: argparse.Namespace,
    ask: Callable[..., A],
    numbers: Callable[[A], Mapping[str, Any]],
    show: Callable[[Sequence[tuple[Run, A]]], None],
    asked: Mapping[str, Any] | None = None,
    arguments: Sequence[Any] = (),
) -> int:
    """Ask every run; 1 where a path leads to no run, or a run has no answer.

    Args:
        given: the command line, with ``runs``, ``json`` and ``jobs``.
        ask: run and arguments -> answer, a function of a module. All answers are in memory together: of a series as
            long as the run, it should keep what is said of it.
        numbers: answer -> what JSON says of it, beside the run's name, the status and the note.
        show: prints the answers that there are, one or more.
        asked: what JSON says of the question.
        arguments: further arguments of ``ask``.
    """
    runs, problems = named_runs(given.runs)
    answers, failed = ask_each(given.jobs, ask, runs, *arguments)
    problems += failed + [answer.status for _, answer in answers if answer.status]
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
