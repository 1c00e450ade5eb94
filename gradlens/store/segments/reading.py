"""Reading a segment: nothing is decoded before its bytes, and what they unfold to, were looked at."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradlens.store import files, pages
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK, SegmentName
from gradlens.store.pyramid import SUMMARY, Summaries, summarise
from gradlens.store.segments.ends import MAX_FILE, Footer, Head, answer, crc_of, footer_of, head_of
from gradlens.store.tables import PARAMETERS, STEP_KEYS, TABLES

_MAX_VALUES = 1 << 24  # in one column chunk
_MAX_TEXT = 1 << 28  # bytes of text, once each row has its own


class TooMuchError(RunError):
    """More numbers are asked for than memory should hold."""


@dataclass(frozen=True, slots=True)
class Segment:
    """An intact segment. Its columns and pyramids are checked as they are read.

    Attributes:
        path: of the file.
        name: what its name says.
        table: the folder's name.
    """

    path: Path
    name: SegmentName
    table: str
    _stamp: files.Stamp
    _head: Head

    @classmethod
    def open(cls, path: Path, name: SegmentName, table: str) -> Segment:
        """Check the end of a file against its name.

        Raises:
            RunError: if they do not match, or it is no segment.
            FileNotFoundError: if it is gone.
        """
        with files.opened(path) as (_, stamp):
            pass
        return cls(path, name, table, stamp, answer(head_of, path, name, table, stamp))

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._stamp[2]

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        return self._head.rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns."""
        return self._head.names

    @property
    def _footer(self) -> Footer:
        try:
            return answer(footer_of, self.path, self.name, self.table, self._stamp)
        except RunError as error:
            self._head.damage[str(error)] = None
            raise

    @property
    def thin(self) -> bool:
        """Whether its detail was dropped and only the summaries are left."""
        return self._head.entries.get("thin") is True

    @property
    def first_step(self) -> int | None:
        """The smallest step in it."""
        if self._head.entries:
            known: int | None = self._head.entries["first_step"]
            return known
        steps = self.steps() if "step" in self.columns else np.empty(0, np.int64)
        return int(steps.min()) if len(steps) else None

    @property
    def ends(self) -> tuple[int, int] | None:
        """The smallest and the largest step in it, where its index says them."""
        entries = self._head.entries
        known = entries.get("first_step"), entries.get("last_step")
        return None if None in known else (entries["first_step"], entries["last_step"])

    @property
    def dense(self) -> range | None:
        """Its steps, if they are consecutive."""
        entries = self._head.entries
        return range(entries["first_step"], entries["first_step"] + self.rows) if entries.get("dense") else None

    def steps(self) -> NDArray[np.int64]:
        """(rows,) the steps, ascending as they were written."""
        if self.dense is not None:
            return np.arange(self.dense.start, self.dense.stop)
        steps: NDArray[np.int64] = self.read(["step"])["step"].to_numpy()
        return steps

    def read(self, columns: Sequence[str], groups: Callable[[pages.Group], bool] | None = None) -> pa.Table:
        """Those of the named columns that it has.

        Args:
            columns: which to read.
            groups: which row groups, by what the footer says of them; all if None.

        Raises:
            RunError: if a column's bytes do not match the index, or are no Parquet.
            FileNotFoundError: if the file is gone.
        """
        footer, wanted = self._footer, set(columns)
        places = [place for place, name in enumerate(self.columns) if name in wanted]
        names = [self.columns[place] for place in places]
        with self._reading(), files.opened(self.path) as (file, _):
            chosen = [number for number, group in enumerate(footer.groups) if groups is None or groups(group)]
            values = sum(self._check(file, group, place) for group in chosen for place in places)
            if values > TABLES[self.table].most_values:
                sentence = f"{self.path} has {values:,} of the numbers asked for, too many to read at once."
                self._head.damage[sentence] = None
                raise TooMuchError(sentence)
            texts = [name for name in names if footer.schema.field(name).type == pa.string()]
            parquet = pq.ParquetFile(
                file,
                metadata=footer.metadata,
                pre_buffer=False,  # else Arrow's threads call Python, which aborts a process that is ending
                read_dictionary=texts,
                page_checksum_verification=True,
            )
            return self._sound(parquet.read_row_groups(chosen, names, use_threads=False), texts)

    def pyramid(self, column: str) -> Summaries:
        """Summaries of a column, computed if the segment brings none; empty for a column of text, or a missing one.

        Raises:
            RunError: as :meth:`read`.
            FileNotFoundError: if the file is gone.
        """
        if column not in self._brought:
            return self._summarised(column)
        with self._reading(), files.opened(self.path) as (file, _):
            return self._read_pyramid(file, column)

    def pyramids(self) -> dict[str, Summaries]:
        """Summaries of every column that has any, keys aside, as :meth:`pyramid` gives them; the file is opened once.

        Raises:
            RunError: as :meth:`read`.
            FileNotFoundError: if the file is gone.
        """
        with self._reading(), files.opened(self.path) as (file, _):
            found = {column: self._read_pyramid(file, column) for column in self._brought}
        others = (column for column in self.columns if column not in found and column not in STEP_KEYS)
        found |= {column: self._summarised(column) for column in others}
        return {column: entries for column, entries in found.items() if len(entries)}

    @property
    def _brought(self) -> Mapping[str, tuple[int, int, int]]:
        """Place, number and checksum of the summaries that it brings."""
        brought: Mapping[str, tuple[int, int, int]] = self._head.entries.get("pyramids", {})
        return brought

    def _read_pyramid(self, file: io.FileIO, column: str) -> Summaries:
        offset, count, crc = self._brought[column]
        data = files.read(file, offset, count * SUMMARY.itemsize)
        if zlib.crc32(data) != crc:
            raise self._broken(f"is damaged: the summaries of {column!r} do not match their checksum")
        return np.frombuffer(data, SUMMARY)

    def _summarised(self, column: str) -> Summaries:
        if column not in self.columns or self._footer.schema.field(column).type == pa.string():
            return np.empty(0, SUMMARY)
        steps, values = self.values(column)
        return summarise(np.asarray(steps), values)

    def values(
        self, column: str, between: tuple[int, int] | None = None
    ) -> tuple[NDArray[np.int64] | range, NDArray[np.float64]]:
        """(n,) steps, a range where they are consecutive, and (n,) values of a column, nulls left out.

        Args:
            column: which.
            between: first and last step wanted; row groups without any of them are not read, and values beside them
                may be given too. All if None.

        Raises:
            RunError: as :meth:`read`.
            FileNotFoundError: if the file is gone.
        """
        first, chosen = self._groups_between(between)
        array = self.read([column], None if chosen is None else lambda _group: next(chosen))[column]
        values = array.cast(pa.float64(), safe=False).to_numpy()
        dense = self.dense if self.dense is None or chosen is None else range(first, first + len(values))
        if not array.null_count:
            return self.steps() if dense is None else dense, values
        present = array.is_valid().to_numpy()
        return (self.steps() if dense is None else np.arange(dense.start, dense.stop))[present], values[present]

    def _groups_between(self, between: tuple[int, int] | None) -> tuple[int, Iterator[bool] | None]:
        """The first step of the row groups that have some of these steps, and of each group whether it does.

        None in place of the groups where all are to be read: steps that are not consecutive do not say where they lie.
        """
        if between is None or self.dense is None:
            return 0, None
        ends = np.cumsum([group.num_rows for group in self._footer.groups]) + self.dense.start
        starts = np.concatenate([[self.dense.start], ends[:-1]]) if len(ends) else ends
        chosen = (starts <= between[1]) & (ends > between[0])
        return int(starts[chosen].min()) if chosen.any() else self.dense.start, iter(chosen.tolist())

    def check(self) -> None:
        """Read everything once.

        Raises:
            RunError: if a part of it is damaged.
            FileNotFoundError: if the file is gone.
        """
        with self._reading(), files.opened(self.path) as (file, _):
            if files.read(file, 0, 4) != b"PAR1":
                raise self._broken("is damaged: it does not begin as a Parquet file does")
            for group in range(len(self._footer.groups)):
                for place in range(len(self.columns)):
                    self._check(file, group, place)
            for column in self._brought:
                self._read_pyramid(file, column)

    @property
    def damage(self) -> tuple[str, ...]:
        """What reading it has found broken so far."""
        return tuple(self._head.damage)

    def _check(self, file: io.FileIO, group: int, place: int) -> int:
        """How many values a column chunk holds: if it is what the index says, and will not unfold to more than that."""
        footer, index = self._footer, self._head.chunks
        which = group * len(self.columns) + place
        rows, chunk = footer.groups[group].num_rows, footer.groups[group].chunks[place]
        if which in footer.checked:
            return chunk.values
        each = BLOCK + 1 if pa.types.is_list(footer.schema.field(place).type) else 1
        room = 16 * chunk.values + (32 << 20)
        if not 0 <= chunk.values <= min(each * rows, _MAX_VALUES) or not 0 <= chunk.length <= room:
            raise self._broken(f"claims {chunk.values:,} values in {rows:,} rows")
        data = files.read(file, chunk.offset, chunk.length) if chunk.offset >= 4 else b""
        known = index[which] if len(index) else None
        if known is not None and (known["offset"], known["length"]) != chunk[:2]:
            raise self._broken("cannot be read as a gradlens segment: its index does not fit its columns")
        if len(data) != chunk.length or (known is not None and zlib.crc32(data) != known["crc"]):
            raise self._broken(f"is damaged: the bytes of {self.columns[place]!r} do not match their checksum")
        values, size = pages.unfolded(data)
        if values != chunk.values or size > room:
            raise self._broken(f"unfolds to {values:,} values in {size:,} bytes, more than its rows can hold")
        footer.checked.add(which)
        return values

    def _sound(self, table: pa.Table, texts: Sequence[str]) -> pa.Table:
        """A table as read, its texts unfolded; no key of its rows may be missing or impossible."""
        for name in texts:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, name, _unfolded_text(table[name]))
        for name in TABLES[self.table].keys.intersection(table.column_names):
            column = table[name]
            flat = pc.list_flatten(column) if pa.types.is_list(column.type) else column
            if column.null_count or flat.null_count:
                raise self._broken(f"cannot be read as a gradlens segment: {name!r} is missing in some rows")
        wrong = TABLES[self.table].impossible(table)
        if wrong is not None:
            raise self._broken(f"cannot be read as a gradlens segment: {wrong}")
        return table

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What goes wrong in reading is told in a sentence, but for a file that is gone."""
        try:
            yield
        except (RunError, FileNotFoundError):
            raise
        except (OSError, pa.ArrowException, ValueError, TypeError, OverflowError, MemoryError) as error:
            raise self._broken(f"cannot be read as a gradlens segment: {error}") from error

    def _broken(self, what: str) -> RunError:
        sentence = f"{self.path} {what}. These of its values are left out."
        self._head.damage[sentence] = None
        return RunError(sentence)


def names_in(path: Path) -> tuple[str, ...]:
    """Names of parameters in the model's order, from the file that a session keeps them in.

    Its name carries no checksum; that of its pages is checked.

    Raises:
        RunError: if it cannot be read.
        FileNotFoundError: if there is none.
    """
    try:
        with files.opened(path) as (file, stamp):
            crc = crc_of(file, stamp[2]) if stamp[2] <= MAX_FILE else 0
        table = Segment.open(path, SegmentName(0, 0, 0, crc), PARAMETERS).read(["id", "name"])
    except RunError as error:
        raise RunError(f"{error} Parameters go without their names.") from error
    if not np.array_equal(table["id"], np.arange(len(table))):
        raise RunError(f"{path} has parameters that are not in order; they go without their names.")
    return tuple(table["name"].to_pylist())


def _unfolded_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of text whose rows share their texts, as one in which each row has its own.

    Raises:
        ValueError: if that would take too much memory, or the texts are none.
    """
    column.validate(full=True)
    lengths = (pc.binary_length(chunk.dictionary).take(chunk.indices) for chunk in column.chunks)
    size = sum(pc.sum(each).as_py() or 0 for each in lengths)
    if size > _MAX_TEXT:
        raise ValueError(f"its texts unfold to {size:,} bytes")
    return column.cast(pa.string())
