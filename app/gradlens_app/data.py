"""The runs under the roots, and every answer about them: computed once, and kept while their files do not change.

A key is a hash of the run's place under its root: it says nothing, survives restarts, and is looked up among the runs
found there. No text from a request ever becomes a path.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gradlens.store import Run, RunError, open_run, open_runs
from gradlens_app.kept import Kept, size_of, touch
from gradlens_app.view import ViewError

logger = logging.getLogger(__name__)
Answer = TypeVar("Answer")
Stamp = tuple[tuple[str, int, int, int], ...]

FRESH_SECONDS = 0.5
"""How old a look at the folder may be. Many readers at once then cost no more than one."""
SHARE = 4
"""How many times what a look at the folder took it is good for, at least: thousands of runs take long to look at."""
MOST_BYTES = 256 << 20
_NO_RUN = "left out"
"""What kept answers may take in memory."""
UNKNOWN = "This address names a run that is not in the folder, or no longer; choose from those below."


@dataclass(frozen=True, slots=True)
class Entry:
    """A run as it was at one moment.

    Attributes:
        key: what addresses it.
        run: the run.
        stamp: of its files; another once any of them has changed.
        place: its place among all runs, oldest first, which gives it its colour.
    """

    key: str
    run: Run
    stamp: Stamp
    place: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The runs found, oldest first, and a sentence for each that could not be opened."""

    entries: tuple[Entry, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Each(Sequence[Any]):
    """A question's answers, those of runs that have one.

    Attributes:
        entries: the runs that answered.
        answers: theirs.
        problems: a sentence for each run that did not: one run must not blank the page of others.
    """

    entries: tuple[Entry, ...]
    answers: tuple[Any, ...]
    problems: tuple[str, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.answers[index]

    def __len__(self) -> int:
        return len(self.answers)


class Data:
    """Looks runs up, and remembers what was computed from them.

    Args:
        roots: folders of runs.
        fresh: seconds that a look at the folders is good for.

    Attributes:
        name: the folders' own names, the only part of their paths that is ever shown; of folders that are called the
            same, those of the folders around them too.

    Raises:
        RunError: if a root is missing or is not a folder.
    """

    def __init__(self, roots: Iterable[str | os.PathLike[str]], fresh: float | None = None) -> None:
        for root in (roots := tuple(roots)):
            open_runs(root)  # a wrong root speaks before anything is served
        self._roots = tuple(dict.fromkeys(Path(root).resolve() for root in roots))
        self.name = ", ".join(_told_apart(self._roots))
        self._fresh = FRESH_SECONDS if fresh is None else fresh
        self._listing_fresh = 0.0
        self._answers = Kept(most_bytes=MOST_BYTES)
        self._lock = threading.Lock()
        self._paths: dict[str, tuple[Path, int]] = {}
        self._seen: dict[str, tuple[float, Entry]] = {}
        self._listed: tuple[float, Listing] = (-1e9, Listing((), ()))
        self._pending: dict[Hashable, Future[Any]] = {}
        self.listing()

    def listing(self) -> Listing:
        """The runs that there are."""
        with self._lock:
            now = time.monotonic()
            if now - self._listed[0] >= self._listing_fresh:
                self._listed = now, self._search()
                self._listing_fresh = max(self._fresh, SHARE * (time.monotonic() - now)) if self._fresh else 0.0
            listing = self._listed[1]
        touch("", self._identity(listing))
        return listing

    def find(self, keys: Iterable[str]) -> tuple[Entry, ...]:
        """The runs of some keys, each as it is now.

        Raises:
            ViewError: if a key is not of a run here, or the run can no longer be read.
        """
        entries = tuple(self._look(key) for key in keys)
        for entry in entries:
            touch(entry.key, entry.stamp)
        return entries

    def is_now(self, key: str, identity: Hashable) -> bool:
        """Whether a run, or with an empty key the listing, is still what it was when it was touched."""
        try:
            return (self._look(key).stamp if key else self._identity(self.listing())) == identity
        except ViewError:
            return False

    def ask(self, question: Callable[..., Answer], entry: Entry, *arguments: Hashable, **named: Hashable) -> Answer:
        """A question's answer for one run: ``question(run, *arguments, **named)``."""
        of = _asked(question, entry, arguments, named)
        return self._once(of, entry.stamp, lambda: question(entry.run, *arguments, **named))

    def ask_each(
        self,
        question: Callable[..., Any],
        entries: Iterable[Entry],
        *arguments: Hashable,
        seconds: float = float("inf"),
        **named: Hashable,
    ) -> Each:
        """A question's answers for several runs; one that cannot be answered is left out and named.

        Args:
            question: takes a run first.
            entries: the runs.
            arguments: passed on, as ``named`` are.
            seconds: when to stop computing, the runs not reached left out; what is kept already costs nothing.
            named: passed on.
        """
        end = time.monotonic() + seconds
        answered, answers, problems = [], [], []
        for entry in entries:
            try:
                if time.monotonic() > end and self._kept(question, entry, arguments, named) is None:
                    touch(_NO_RUN, None)  # what leaves a run out is no answer for another time
                    continue
                answers.append(self.ask(question, entry, *arguments, **named))
                answered.append(entry)
            except Exception:  # files of any content may be there
                logger.exception("run %s does not answer %s", entry.run.run_id, question.__name__)
                problems.append(left_out(entry.run))
        return Each(tuple(answered), tuple(answers), tuple(problems))

    def ask_all(
        self, question: Callable[..., Answer], entries: Sequence[Entry], *arguments: Hashable, **named: Hashable
    ) -> Answer:
        """A question's answer for several runs together: ``question(runs, *arguments, **named)``."""
        of = (question, tuple(entry.key for entry in entries), arguments, tuple(sorted(named.items())))
        stamps = tuple(entry.stamp for entry in entries)
        return self._once(of, stamps, lambda: question([entry.run for entry in entries], *arguments, **named))

    def said(self, sentence: str) -> str:
        """A sentence of the store without the way to the root."""
        for root in self._roots:
            sentence = sentence.replace(f"{root}{os.sep}", "").replace(str(root), root.name)
        return sentence

    def _kept(self, question: Callable[..., Any], entry: Entry, arguments: Any, named: Any) -> Any:
        return self._answers.get(_asked(question, entry, arguments, named), entry.stamp)

    def _once(self, of: Hashable, identity: Hashable, compute: Callable[[], Answer]) -> Answer:
        """Compute an answer, in one thread however many ask for it."""
        kept = self._answers.get(of, identity)
        if kept is not None:
            return kept  # type: ignore[no-any-return]
        with self._lock:
            waiting = self._pending.get((of, identity))
            mine: Future[Any] = Future()
            if waiting is None:
                self._pending[of, identity] = mine
        if waiting is not None:
            return waiting.result()  # type: ignore[no-any-return]
        try:
            answer = compute()
            self._answers.put(of, identity, answer, size_of(answer))
            mine.set_result(answer)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            return answer
        finally:
            with self._lock:
                del self._pending[of, identity]

    def _search(self) -> Listing:
        runs: list[Run] = []
        problems: list[str] = []
        before = {entry.run.path: entry for _, entry in tuple(self._seen.values())}  # others may add to it meanwhile
        stamps: dict[Path, Stamp] = {}

        def known(path: Path) -> Run | None:
            """A run whose files are what they were."""
            entry = before.get(path)
            if entry is None:
                return None
            stamps[path] = entry.run.stamp
            return entry.run if stamps[path] == entry.stamp else None

        for root in self._roots:
            try:
                found = open_runs(root, known)
            except RunError:
                problems.append(f"The folder {root.name} is gone; restart gradlens where it is now.")
                continue
            runs += found
            problems += [self.said(text) for text in found.problems]
        runs = list({run.path: run for run in runs}.values())  # of roots within each other
        runs.sort(key=lambda run: (run.created, run.run_id))
        keys = [self._key(run.path) for run in runs]
        self._paths = {key: (run.path, place) for place, (key, run) in enumerate(zip(keys, runs, strict=True))}
        kept = {id(entry.run) for entry in before.values()}
        entries = [
            Entry(key, run if id(run) in kept else run.held(), stamps.get(run.path) or run.stamp, place)
            for place, (key, run) in enumerate(zip(keys, runs, strict=True))
        ]
        now = time.monotonic()
        self._seen = {entry.key: (now, entry) for entry in entries}
        return Listing(tuple(entries), tuple(problems))

    def _look(self, key: str) -> Entry:
        seen = self._seen.get(key)
        if seen is not None and time.monotonic() - seen[0] < self._fresh:
            return seen[1]
        if key not in self._paths:
            self.listing()
        path, place = self._paths.get(key, (None, 0))
        if path is None or not any(path.resolve().is_relative_to(root) for root in self._roots):
            raise ViewError(UNKNOWN)
        try:
            known = seen[1] if seen is not None else None
            stamp = known.run.stamp if known is not None else ()
            run = known.run if known is not None and known.stamp == stamp and stamp else open_run(path).held()
        except (RunError, OSError):
            raise ViewError(UNKNOWN) from None
        entry = Entry(key, run, stamp or run.stamp, place)
        self._seen[key] = time.monotonic(), entry
        return entry

    def _key(self, path: Path) -> str:
        root = next(root for root in self._roots if path.is_relative_to(root))
        place = path.relative_to(root).as_posix()
        if len(self._roots) > 1:
            place = f"{root.name}/{place}"
            others = [other.name for other in self._roots if other != root]
            place = f"{self._roots.index(root)}:{place}" if root.name in others else place
        return hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:12]

    def _identity(self, listing: Listing) -> Hashable:
        # A run whose process was killed stops running without a change of its files.
        states = tuple((entry.key, entry.stamp, _is_running(entry.run)) for entry in listing.entries)
        return states, listing.problems


def _told_apart(roots: Sequence[Path]) -> list[str]:
    """Each folder's name, with as many of the folders around it as tell it from the others."""

    def end(root: Path) -> str:
        others = [other.parts for other in roots if other != root]
        counts = range(1, len(root.parts) + 1)
        count = next(count for count in counts if all(o[-count:] != root.parts[-count:] for o in others))
        return Path(*root.parts[-count:]).as_posix()

    return [end(root) for root in roots]


def _is_running(run: Run) -> bool:
    try:
        return run.status == "running"
    except Exception:  # files of any content may be there; whoever shows the status says so
        return False


def left_out(run: Run) -> str:
    """For a run that cannot be shown beside others that can."""
    return f"{run.name} cannot be shown: what it recorded is not what it should be. The terminal of gradlens says more."


def _asked(question: object, entry: Entry, arguments: tuple[Hashable, ...], named: Mapping[str, Hashable]) -> Hashable:
    """What an answer is kept under."""
    return question, entry.key, arguments, tuple(sorted(named.items()))
