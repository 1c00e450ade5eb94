"""A table of a run in the order of its steps, a slice at a time: what an export reads, however long the run.

Memory holds the parts of the run that have rows of the step reached: a row group of each session's step records or
micro-batches, a segment of each session's per-tensor blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, Final

import pyarrow as pa

from gradlens.store import snapshot
from gradlens.store.errors import RunError
from gradlens.store.run import Run
from gradlens.store.segments import Segment
from gradlens.store.snapshot import Snapshot

SLICE_ROWS: Final = 1 << 16
_PATIENCE = 20


@dataclass
class Slices:
    """Rows of one run, to be gone through once.

    Attributes:
        schema: of every slice.
        rows: how many there are, or a little more.
        damage: a sentence for each part that could not be read; complete once the last slice was given.
    """

    schema: pa.Schema
    rows: int
    damage: tuple[str, ...]
    _source: Source

    def __iter__(self) -> Iterator[pa.Table]:
        done: int | None = None
        patience = _PATIENCE
        while True:
            try:
                found = snapshot.take(self._source.run.path)
                for high, tables in self._source.stretches(found, done):
                    yield from tables
                    done, patience = high, _PATIENCE
            except FileNotFoundError:  # sealed or merged meanwhile: look again, and go on from the step reached
                patience -= 1
                if not patience:
                    raise RunError(f"{self._source.run.path} changes faster than it can be read; try again.") from None
                time.sleep(0.002 * (_PATIENCE - patience))
                continue
            broken = (sentence for segment in found.all_segments for sentence in segment.damage)
            self.damage = tuple(dict.fromkeys((*found.problems, *broken)))
            return


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are read at once.

    Attributes:
        session: whose rows they are.
        first: the smallest place among them, a step or a block of steps.
        last: the largest.
        rows: how many, or a little more.
        read: gives them, None where they are damaged; raises FileNotFoundError once their file is gone.
    """

    session: int
    first: int
    last: int
    rows: int
    read: Callable[[], pa.Table | None]


Held = tuple[Part, pa.Table]


@dataclass(frozen=True)
class Source:
    """A table of a run: the parts it lies in, and what its rows are between two places."""

    run: Run
    parts: Callable[[Snapshot], list[Part]]
    between: Callable[[Snapshot, Sequence[Held], int, int], Iterator[pa.Table]]

    def slices(self, schema: pa.Schema) -> Slices:
        """Its rows, to be gone through once."""
        rows = self.run._ask(lambda found: sum(part.rows for part in self.parts(found)))
        return Slices(schema, rows, (), self)

    def stretches(self, found: Snapshot, begin: int | None) -> Iterator[tuple[int, Iterator[pa.Table]]]:
        """Where each stretch between the ends of parts ends, and its rows; from ``begin`` on.

        Raises:
            FileNotFoundError: if a file is gone; not while a stretch's rows are given.
        """
        parts = self.parts(found)
        waiting = sorted(range(len(parts)), key=lambda index: -parts[index].first)
        ends = sorted({part.first for part in parts} | {part.last + 1 for part in parts})
        if begin is not None:
            ends = sorted({begin, *(end for end in ends if end > begin)})
        here: dict[int, Held] = {}
        for low, high in pairwise(ends):
            here = {index: held for index, held in here.items() if held[0].last >= low}
            while waiting and parts[waiting[-1]].first <= low:
                index = waiting.pop()
                table = parts[index].read() if parts[index].last >= low else None
                if table is not None:
                    here[index] = parts[index], table
            if here:
                yield high, self.between(found, [here[index] for index in sorted(here)], low, high)


def cut(table: pa.Table) -> Iterator[pa.Table]:
    """A table in slices."""
    for begin in range(0, table.num_rows, SLICE_ROWS):
        yield table.slice(begin, SLICE_ROWS)


def group_rows(segment: Segment) -> list[int]:
    """Rows of each row group.

    Raises:
        RunError: if the segment cannot be read.
    """
    rows: list[int] = []

    def note(group: Any) -> bool:
        rows.append(group.num_rows)
        return False

    segment.read((), note)
    return rows


def only(number: int) -> Callable[[Any], bool]:
    """What chooses one row group."""
    places = count()
    return lambda _group: next(places) == number
