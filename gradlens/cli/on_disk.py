"""What a run's files are, counted; and the runs that a command line names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gradlens.store import Run, RunError, open_runs
from gradlens.store.layout import TABLES


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a run.

    Attributes:
        segments: sealed segments, damaged ones among them.
        logs: active logs.
        bytes: of all its files.
    """

    segments: int
    logs: int
    bytes: int

    def __str__(self) -> str:
        return f"{count(self.segments, 'segment')}, {count(self.logs, 'active log')}, {self.bytes:,} bytes"


def files_of(run: Run) -> Files:
    """Count the files of a run."""
    stamp = run.stamp
    segments = sum(name.startswith(tuple(f"{table}/seg-" for table in TABLES)) for name, *_ in stamp)
    logs = sum(name.startswith("active-") for name, *_ in stamp)
    return Files(segments, logs, sum(size for _, _, size, _ in stamp))


def count(number: int, what: str) -> str:
    """A number of things.

    >>> count(1, "row"), count(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def named_runs(paths: Iterable[Path]) -> tuple[list[Run], list[str]]:
    """The runs that paths lead to, each once; and a sentence for each path that leads to none, or to one not readable.

    Args:
        paths: run folders, or folders of runs.
    """
    runs: dict[Path, Run] = {}
    problems: list[str] = []
    for path in paths:
        try:
            found = open_runs(path)
        except RunError as error:
            problems.append(str(error))
            continue
        problems += found.problems
        if not found and not found.problems:
            problems.append(f"no runs in {path}; give a run folder, or the folder that your recorder writes to.")
        runs |= {run.path.resolve(): run for run in found if run.path.resolve() not in runs}
    return list(runs.values()), list(dict.fromkeys(problems))
