"""``gradlens compact``: fewer and smaller files, the same numbers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gradlens.cli.on_disk import Files, count, files_of, named_runs
from gradlens.cli.output import print_json, print_table, printable
from gradlens.cli.progress import Advance, progress
from gradlens.store import Run, RunError, compact_run


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser("compact", help="seal what crashes left, and merge small files")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.set_defaults(run=run)


@dataclass(frozen=True, slots=True)
class _Result:
    """What became of one run: its files before and after, which sessions live, and what went wrong, if anything."""

    run: Run
    before: Files
    after: Files
    alive: tuple[int, ...]
    problem: str | None


def run(given: argparse.Namespace) -> int:
    """Compact runs; 1 where a path is no run, or a run could not be compacted."""
    runs, problems = named_runs(given.runs)
    results = []
    with progress("compacting", len(runs), "runs") as advance:
        for each in runs:
            results.append(_compacted(each, advance))
            advance(1, each.name)
    problems += [f"{result.run.path}: {result.problem}" for result in results if result.problem]
    if given.json:
        print_json({"runs": [_entries(result) for result in results], "problems": problems})
    else:
        for problem in problems:
            print(f"gradlens: {printable(problem)}", file=sys.stderr)
        _print(results)
    return 1 if problems else 0


def _compacted(run: Run, advance: Advance) -> _Result:
    before, pieces = files_of(run), 0

    def tick() -> None:
        nonlocal pieces
        pieces += 1
        advance(0, f"{run.name}: {count(pieces, 'piece')}")

    alive: tuple[int, ...] = ()
    problem = None
    try:
        alive = compact_run(run.path, tick)
    except (RunError, OSError) as error:
        problem = f"not compacted, nothing is lost: {error}"
    return _Result(run, before, files_of(run), alive, problem)


def _entries(result: _Result) -> dict[str, object]:
    return {
        "run_id": result.run.run_id,
        "name": result.run.name,
        "path": str(result.run.path),
        "before": asdict(result.before),
        "after": asdict(result.after),
        "alive": result.alive,
        "problem": result.problem,
    }


def _print(results: Sequence[_Result]) -> None:
    if not results:
        return
    print_table(
        ("name", "segments", "active logs", "bytes", "folder"),
        [
            (
                result.run.name,
                _change(result.before.segments, result.after.segments),
                _change(result.before.logs, result.after.logs),
                _change(result.before.bytes, result.after.bytes),
                str(result.run.path),
            )
            for result in results
        ],
        right=(1, 2, 3),
    )
    print()
    for result in results:
        name = printable(result.run.name)
        for session in result.alive:
            print(f"{name}: session {session} is being written, and was left alone.")
        if result.run.problems:
            print(f"{name}: what is damaged or lost was left as it is; it is named by: gradlens info {result.run.path}")
    still = [result for result in results if not result.alive]
    files = sum(each.before.segments + each.before.logs - each.after.segments - each.after.logs for each in still)
    size = sum(each.before.bytes - each.after.bytes for each in still)
    print(f"{count(len(results), 'run')}: {_less(files, 'file')}, {_less(size, 'byte')}.")


def _less(number: int, what: str) -> str:
    """By how much a number fell, or rose.

    >>> _less(2, "file"), _less(-1, "file")
    ('2 fewer files', '1 more file')
    """
    return count(abs(number), f"{'fewer' if number >= 0 else 'more'} {what}")


def _change(before: int, after: int) -> str:
    """A number before and after, once where it is the same.

    >>> _change(1200, 2), _change(3, 3)
    ('1,200 → 2', '3')
    """
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"
