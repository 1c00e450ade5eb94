"""The runs under a root, by opaque keys, with what was computed from them kept while their files do not change.

A key is a hash of the run's place under the root: it says nothing, survives restarts, and is looked up among the runs
found there. No text from a request ever becomes a path.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gradlens.analysis import NormSmoothness, Summary, norm_smoothness, summarize
from gradlens.store import Run, RunError, open_run, open_runs
from gradlens_app.selection import SelectionError

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
Stamp = tuple[tuple[str, int, int, int], ...]

UNKNOWN = "This address names a run that is not in the folder, or no longer; choose from those below."


@dataclass(frozen=True, slots=True)
class Entry:
    """A run and the key that addresses it."""

    key: str
    run: Run


@dataclass(frozen=True, slots=True)
class Overview:
    """A run's row in the table: its numbers, and a sentence for each part of it that is broken."""

    summary: Summary | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """The runs found, oldest first, and a sentence for each that could not be opened."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]


class Catalogue:
    """Looks runs up, and remembers what was computed from them.

    Args:
        root: the folder of runs.

    Attributes:
        name: the folder's own name, the only part of its path that is ever shown.

    Raises:
        RunError: if the root is missing or is not a folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).resolve()
        self.name = self._root.name or "/"
        self._paths: dict[str, Path] = {}
        self._kept: dict[tuple[str, str], tuple[Stamp, Any]] = {}
        open_runs(root)  # a wrong root speaks before anything is served
        self.listing()

    def listing(self) -> Listing:
        """Search the root anew."""
        try:
            runs = open_runs(self._root)
        except RunError:
            return Listing((), (f"The folder {self.name} is gone; restart gradlens where it is now.",))
        entries = tuple(Entry(self._key(run.path), run) for run in runs)
        self._paths = {entry.key: entry.run.path for entry in entries}
        return Listing(entries, tuple(self._said(text) for text in runs.problems))

    def find(self, keys: Iterable[str]) -> tuple[Entry, ...]:
        """Open the runs of some keys, each as it is now.

        Raises:
            SelectionError: if a key is not of a run here, or the run can no longer be read.
        """
        return tuple(Entry(key, self._open(key)) for key in keys)

    def overviews(self, entries: Iterable[Entry], seconds: float) -> dict[str, Overview]:
        """What the table shows of each run; those not reached in time are left for the next call.

        Args:
            entries: the runs.
            seconds: when to stop computing; what is kept already costs nothing.
        """
        end = time.monotonic() + seconds
        found: dict[str, Overview] = {}
        for entry in entries:
            kept = self._kept.get(("overview", entry.key))
            if kept is not None and kept[0] == entry.run.stamp:
                found[entry.key] = kept[1]
            elif time.monotonic() < end:
                found[entry.key] = self._once("overview", entry, self._overview)
        return found

    def summary(self, entry: Entry) -> Summary | None:
        """A run in numbers; None if it cannot be read."""
        return self._once("overview", entry, self._overview).summary

    def problems(self, entry: Entry) -> tuple[str, ...]:
        """A sentence for each part of a run that is broken."""
        return self._once("overview", entry, self._overview).problems

    def norm_smoothness(self, entry: Entry) -> NormSmoothness:
        """The run's correlation between gradient norm and smoothness."""
        return self._once("norm_smoothness", entry, norm_smoothness)

    def stamp(self, entry: Entry) -> Stamp:
        """Differs once a file of the run has changed, or a log has grown."""
        return entry.run.stamp

    def _overview(self, run: Run) -> Overview:
        """A run's row; whatever its files hold, it must not take the table of all others down."""
        summary, problems = None, [f"{run.run_id} cannot be read; the terminal of gradlens says more."]
        try:
            summary, problems = summarize(run), []
        except Exception:
            logger.exception("run %s cannot be summarised", run.run_id)
        try:
            problems = [*run.problems, *problems]
        except Exception:
            logger.exception("run %s cannot be looked through", run.run_id)
            problems = [f"{run.run_id} cannot be looked through; the terminal of gradlens says more.", *problems]
        return Overview(summary, tuple(self._said(text) for text in problems))

    def _once(self, name: str, entry: Entry, compute: Callable[[Run], Answer]) -> Answer:
        stamp = entry.run.stamp
        kept = self._kept.get((name, entry.key))
        if kept is None or kept[0] != stamp:
            kept = self._kept[name, entry.key] = (stamp, compute(_afresh(entry.run)))
        answer: Answer = kept[1]
        return answer

    def _open(self, key: str) -> Run:
        if key not in self._paths:
            self.listing()
        path = self._paths.get(key)
        if path is None or not path.resolve().is_relative_to(self._root):
            raise SelectionError(UNKNOWN)
        try:
            return open_run(path)
        except RunError:
            raise SelectionError(UNKNOWN) from None

    def _key(self, path: Path) -> str:
        place = path.relative_to(self._root).as_posix()
        return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    def _said(self, sentence: str) -> str:
        """A sentence of the store without the way to the root."""
        return sentence.replace(f"{self._root}{os.sep}", "").replace(str(self._root), self.name)


def _afresh(run: Run) -> Run:
    """A run opened again: what it says of its health must not be older than the stamp under which it is kept."""
    try:
        return open_run(run.path)
    except RunError:
        return run
