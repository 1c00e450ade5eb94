"""Sealed segments: Parquet files with an index of checksums, and a pyramid, tucked in before their footer.

::

    "PAR1" | column chunks | pyramids | index | u32 length | "GLIX" | Parquet footer | u32 length | "PAR1"

Parquet readers find the footer from the end and the chunks by their offsets, and never look between. The index holds
the CRC-32 of each column chunk and each pyramid; the CRC-32 in the file's name is of everything from the index to
the end. So one read of the end of a file vouches for it, and one series of a large file is checked without
reading the rest.
Segments of schema version 1 have no index; the CRC in their name is of the whole file.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradlens.store import files, pages
from gradlens.store.disk import Disk
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK, STEPS, TENSORS, SegmentName
from gradlens.store.pyramid import SUMMARY, Summaries, summarise
from gradlens.store.tables import PARAMETER_SCHEMA, TENSOR_SCHEMA, fits

MAX_ROWS: Final = 1 << 21
"""Rows in a segment; gradlens writes no larger, and reads no larger."""

_MAX_FILE = 1 << 30
_MAX_TAIL = 32 << 20
_MAX_HEAD = 4 << 20
_MAX_FOOTER = 16 << 20
_MAX_LIST = 1 << 16  # columns, or row groups
_MAX_VALUES = 1 << 24  # in one column chunk
_MAX_TEXT = 1 << 28  # bytes of text, once each row has its own
_MAX_STEP = 1 << 62
_FIRST_LOOK = 1 << 16
_FLUSH = 4 << 20
_MARK = b"GLIX"
_VERSION = 1
_NO_INDEX = "its index is none that this version of gradlens can read"
_CHUNK = np.dtype([("offset", "<u8"), ("length", "<u8"), ("crc", "<u4"), ("pad", "<u4")])
_PARAMETERS = "parameters"
_MAX_READ = {STEPS: 1 << 29, TENSORS: 1 << 27, _PARAMETERS: 1 << 24}  # values read at once
_NEVER_NULL = {
    STEPS: frozenset(("step", "session", "seq")),
    TENSORS: frozenset(TENSOR_SCHEMA.names),
    _PARAMETERS: frozenset(PARAMETER_SCHEMA.names),
}


# ---- writing ---------------------------------------------------------------------------------------------------------


def write(
    disk: Disk,
    folder: Path,
    rows: tuple[int, int, int],
    tables: Iterable[pa.Table],
    pyramids: Mapping[str, Summaries],
    *,
    thin: bool = False,
) -> SegmentName:
    """Write a segment; its rename is the commit.

    Args:
        disk: where writes go.
        folder: ``steps/`` or ``tensors/`` of a run.
        rows: session, first and last row.
        tables: at least one, all of one schema; each becomes a row group, so that memory holds one at a time.
        pyramids: column -> summaries.
        thin: whether the detail was dropped and only the summaries are left.

    Raises:
        OSError: as the system gives it; nothing is left behind then.
    """
    session, first, last = rows
    temporary = disk.temporary(folder / f"seg-{session}-{first}-{last}")
    disk.remove(temporary)
    handle = disk.create(temporary)
    sink = _Sink(disk, handle)
    try:
        try:
            crc = _write(sink, temporary, tables, pyramids, thin=thin)
            disk.sync(handle)
        finally:
            sink.hold = True  # a Parquet writer that was left open writes on when it is collected
            disk.close(handle)
        name = SegmentName(session, first, last, crc)
        disk.rename(temporary, folder / str(name))
    except Exception:
        disk.remove(temporary)
        raise
    disk.sync_folder(folder)
    return name


class _Sink:
    """What the Parquet writer writes to: pieces go to disk when they are large, and the end is held back."""

    closed = False

    def __init__(self, disk: Disk, handle: int) -> None:
        self._disk = disk
        self._handle = handle
        self._waiting = bytearray()
        self.size = 0
        self.hold = False

    def write(self, data: bytes) -> int:
        self._waiting += data
        self.size += len(data)
        if len(self._waiting) >= _FLUSH and not self.hold:
            self.flush()
        return len(data)

    def flush(self) -> None:
        if self._waiting and not self.hold:
            data, self._waiting = bytes(self._waiting), bytearray()
            self._disk.append(self._handle, data)

    def take(self, length: int) -> bytes:
        """The last bytes, which have not gone to disk."""
        kept = bytes(self._waiting[-length:])
        del self._waiting[-length:]
        self.size -= length
        return kept

    def tell(self) -> int:
        return self.size

    def close(self) -> None:
        """The file is closed by who opened it."""


def _write(
    sink: _Sink, path: Path, tables: Iterable[pa.Table], pyramids: Mapping[str, Summaries], *, thin: bool
) -> int:
    writer = None
    steps: list[NDArray[np.int64]] = []
    count = 0
    for table in tables:
        if writer is None:
            writer = pq.ParquetWriter(sink, table.schema, **_options(table.schema))
        writer.write_table(table, row_group_size=max(1, table.num_rows))
        count += table.num_rows
        if "step" in table.schema.names:
            steps.append(table["step"].to_numpy())
        names = table.schema.names
    if writer is None:
        raise ValueError("a segment needs a table")
    sink.flush()
    sink.hold = True
    writer.close()
    (length,) = struct.unpack("<I", bytes(sink._waiting[-8:-4]))
    footer = sink.take(length + 8)
    sink.hold = False
    metadata = pq.ParquetFile(pa.BufferReader(b"PAR1" + footer)).metadata
    body = sink.size
    places = {}
    for name, entries in pyramids.items():
        data = entries.tobytes()
        places[name] = [sink.size, len(entries), zlib.crc32(data)]
        sink.write(data)
    sink.flush()
    step = np.concatenate(steps) if steps else np.empty(0, np.int64)
    head = {
        "version": _VERSION,
        "rows": count,
        "first_step": int(step.min()) if len(step) else None,
        "last_step": int(step.max()) if len(step) else None,
        "dense": bool(len(step) and (np.diff(step) == 1).all()),
        "thin": thin,
        "columns": names,
        "pyramids": places,
    }
    encoded = json.dumps(head).encode()
    chunks = _checksums(path, metadata, body)
    index = struct.pack("<II", len(encoded), len(chunks)) + encoded + chunks.tobytes()
    end = index + struct.pack("<I", len(index)) + _MARK + footer
    sink.write(end)
    sink.flush()
    return zlib.crc32(end)


def _checksums(path: Path, metadata: pq.FileMetaData, body: int) -> NDArray[np.void]:
    """Place and CRC of each column chunk, row group by row group, from the bytes on disk."""
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    places = [_place(group.column(index)) for group in groups for index in range(metadata.num_columns)]
    found = np.zeros(len(places), _CHUNK)
    with path.open("rb", buffering=0) as file:
        for index, (offset, length) in enumerate(places):
            if offset + length > body:
                raise ValueError("a column chunk ends behind the body")
            found[index] = offset, length, zlib.crc32(files.read(file, offset, length)), 0
    return found


def _place(column: Any) -> tuple[int, int]:
    """Offset and length of a column chunk."""
    start = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < start:
        start = column.dictionary_page_offset
    return start, column.total_compressed_size


def _options(schema: pa.Schema) -> dict[str, Any]:
    """zstd, byte-stream split for floats, differences for whole numbers, dictionaries for text, page checksums."""
    encodings, texts = {}, []
    for column in schema:
        nested = pa.types.is_list(column.type)
        leaf = column.type.value_type if nested else column.type
        path = f"{column.name}.list.element" if nested else column.name
        if pa.types.is_floating(leaf):
            encodings[path] = "BYTE_STREAM_SPLIT"
        elif leaf in (pa.int32(), pa.int64()):
            encodings[path] = "DELTA_BINARY_PACKED"
        elif pa.types.is_string(leaf):
            texts.append(path)
    return {
        "compression": "zstd",
        "compression_level": 3,  # half a percent smaller than level 1, and no slower
        "use_dictionary": texts,
        "column_encoding": encodings,
        "write_page_checksum": True,
        "write_statistics": ["kind", "parameter", "block"],
    }


def parquet_bytes(table: pa.Table) -> bytes:
    """A small table as a Parquet file of its own."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **_options(table.schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


# ---- reading ---------------------------------------------------------------------------------------------------------


class TooMuchError(RunError):
    """More numbers are asked for than memory should hold."""


@dataclass(frozen=True, slots=True)
class _Head:
    """What a segment says of itself: its index, or its footer where it has none.

    Reading a footer takes longer the more columns there are; most questions do without.
    """

    rows: int
    names: tuple[str, ...]
    entries: Mapping[str, Any]
    chunks: NDArray[np.void]
    damage: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Footer:
    """What Parquet says of a segment.

    Attributes:
        checked: chunks that were found to be what the index says.
    """

    metadata: pq.FileMetaData  # to be given to Arrow only: asking it of a column may end the process
    schema: pa.Schema
    groups: Sequence[pages.Group]
    checked: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Segment:
    """An intact segment. Its columns and pyramids are checked as they are read.

    Attributes:
        path: of the file.
        name: what its name says.
        table: ``steps`` or ``tensors``.
    """

    path: Path
    name: SegmentName
    table: str
    _stamp: files.Stamp
    _head: _Head

    @classmethod
    def open(cls, path: Path, name: SegmentName, table: str) -> Segment:
        """Check the end of a file against its name.

        Raises:
            RunError: if they do not match, or it is no segment.
            FileNotFoundError: if it is gone.
        """
        with files.opened(path) as (_, stamp):
            pass
        return cls(path, name, table, stamp, _answer(_head, path, name, table, stamp))

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
    def _footer(self) -> _Footer:
        try:
            return _answer(_footer, self.path, self.name, self.table, self._stamp)
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
        footer, names = self._footer, [name for name in self.columns if name in columns]
        places = [self.columns.index(name) for name in names]
        with self._reading(), files.opened(self.path) as (file, _):
            chosen = [number for number, group in enumerate(footer.groups) if groups is None or groups(group)]
            values = sum(self._check(file, group, place) for group in chosen for place in places)
            if values > _MAX_READ[self.table]:
                sentence = f"{self.path} has {values:,} of the numbers asked for, too many to read at once."
                self._head.damage[sentence] = None
                raise TooMuchError(sentence)
            texts = [name for name in names if footer.schema.field(name).type == pa.string()]
            parquet = pq.ParquetFile(
                file,
                metadata=footer.metadata,
                pre_buffer=True,
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
        place = self._head.entries.get("pyramids", {}).get(column)
        if place is None:
            return self._summarised(column)
        offset, count, crc = place
        with self._reading(), files.opened(self.path) as (file, _):
            data = files.read(file, offset, count * SUMMARY.itemsize)
        if zlib.crc32(data) != crc:
            raise self._broken(f"is damaged: the summaries of {column!r} do not match their checksum")
        return np.frombuffer(data, SUMMARY)

    def _summarised(self, column: str) -> Summaries:
        if column not in self.columns or self._footer.schema.field(column).type == pa.string():
            return np.empty(0, SUMMARY)
        steps, values = self.values(column)
        return summarise(np.asarray(steps), values)

    def values(self, column: str) -> tuple[NDArray[np.int64] | range, NDArray[np.float64]]:
        """(n,) steps, a range where they are consecutive, and (n,) values of a column, nulls left out.

        Raises:
            RunError: as :meth:`read`.
            FileNotFoundError: if the file is gone.
        """
        array = self.read([column])[column]
        values = array.cast(pa.float64(), safe=False).to_numpy()
        if not array.null_count:
            return self.steps() if self.dense is None else self.dense, values
        present = array.is_valid().to_numpy()
        return self.steps()[present], values[present]

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
        for column in self._head.entries.get("pyramids", {}):
            self.pyramid(column)

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
        for name in _NEVER_NULL[self.table].intersection(table.column_names):
            column = table[name]
            flat = pc.list_flatten(column) if pa.types.is_list(column.type) else column
            if column.null_count or flat.null_count:
                raise self._broken(f"cannot be read as a gradlens segment: {name!r} is missing in some rows")
        if "step" in table.column_names and self.table == STEPS and len(table):
            steps = pc.min_max(table["step"]).as_py()
            if not 0 <= steps["min"] <= steps["max"] < _MAX_STEP:
                raise self._broken("cannot be read as a gradlens segment: it has steps that no run has")
        if {"offsets", "values"} <= set(table.column_names) and self.table == TENSORS:
            lengths = (pc.list_value_length(table[name]) for name in ("offsets", "values"))
            if not pc.all(pc.equal(*lengths)).as_py() and len(table):
                raise self._broken("cannot be read as a gradlens segment: some of its values have no step")
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
            crc = _crc(file, stamp[2]) if stamp[2] <= _MAX_FILE else 0
        table = Segment.open(path, SegmentName(0, 0, 0, crc), _PARAMETERS).read(["id", "name"])
    except RunError as error:
        raise RunError(f"{error} Parameters go without their names.") from error
    if not np.array_equal(table["id"], np.arange(len(table))):
        raise RunError(f"{path} has parameters that are not in order; they go without their names.")
    return tuple(table["name"].to_pylist())


Answer = TypeVar("Answer")


def _answer(
    question: Callable[[Path, SegmentName, str, files.Stamp], Answer | str],
    path: Path,
    name: SegmentName,
    table: str,
    stamp: files.Stamp,
) -> Answer:
    """What a kept answer says, or what it says is wrong.

    Raises:
        RunError: in the latter case.
        FileNotFoundError: if the file is gone.
    """
    try:
        found = question(path, name, table, stamp)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise RunError(f"{path} cannot be read: {error.strerror or error}. Its rows are left out.") from error
    if isinstance(found, str):
        raise RunError(found)
    return found


@lru_cache(maxsize=4096)
def _head(path: Path, name: SegmentName, table: str, stamp: files.Stamp) -> _Head | str:
    """What a file whose stamp has not changed since says of itself, or what is wrong with it."""

    def parse(_: bytes, index: bytes | None) -> _Head:
        if index is None:
            footer = _answer(_footer, path, name, table, stamp)
            return _Head(footer.metadata.num_rows, tuple(footer.schema.names), {}, np.empty(0, _CHUNK))
        return _index(index, stamp[2])

    found = _parsed(path, name, stamp, parse)
    if isinstance(found, _Head) and (
        found.rows > MAX_ROWS or (table == STEPS and found.rows > name.last - name.first + 1)
    ):
        return f"{path} claims {found.rows:,} rows, more than a segment of its name holds; it is ignored."
    return found


@lru_cache(maxsize=1024)
def _footer(path: Path, name: SegmentName, table: str, stamp: files.Stamp) -> _Footer | str:
    """What Parquet says of a file whose stamp has not changed since, or what is wrong with it."""

    def parse(data: bytes, index: bytes | None) -> _Footer:
        return _parse_footer(path, table, stamp[2], data, None if index is None else _index(index, stamp[2]))

    return _parsed(path, name, stamp, parse)


def _parsed(
    path: Path, name: SegmentName, stamp: files.Stamp, parse: Callable[[bytes, bytes | None], Answer]
) -> Answer | str:
    """What ``parse`` makes of a file's footer and index, or what is wrong with it."""
    with files.opened(path) as (file, now):
        if now != stamp:
            raise RunError(f"{path} changes while it is read. Its rows are left out.")
        try:
            return parse(*_ends(path, name, file, now[2]))
        except RunError as error:
            return str(error)
        except (LookupError, TypeError, AttributeError, struct.error):
            return f"{path} cannot be read as a gradlens segment: {_NO_INDEX}. Its rows are left out."
        except (pa.ArrowException, ValueError, RecursionError) as error:
            return f"{path} cannot be read as a gradlens segment: {error}. Its rows are left out."


def _ends(path: Path, name: SegmentName, file: io.FileIO, size: int) -> tuple[bytes, bytes | None]:
    """Footer and index of a file, None where it is of schema version 1; if they match its name."""
    if size > _MAX_FILE:
        raise RunError(f"{path} is larger than {_MAX_FILE >> 30} GiB, than any segment. Its rows are left out.")
    end = files.read(file, max(0, size - _FIRST_LOOK), _FIRST_LOOK)
    if len(end) < 12 or end[-4:] != b"PAR1":
        raise _mismatch(path)
    footer = int.from_bytes(end[-8:-4], "little") + 8
    if footer > min(size, _MAX_FOOTER):
        raise _mismatch(path)
    if footer + 8 > len(end):
        end = files.read(file, max(0, size - footer - _FIRST_LOOK), footer + _FIRST_LOOK)
    if end[-footer - 4 : -footer] != _MARK:
        if _crc(file, size) != name.crc:
            raise _mismatch(path)
        return end[-footer:], None
    length = int.from_bytes(end[-footer - 8 : -footer - 4], "little")
    whole = footer + 8 + length
    if whole > min(size, _MAX_TAIL):
        raise _mismatch(path)
    if whole > len(end):
        end = files.read(file, size - whole, whole)
    tail = end[-whole:]
    if zlib.crc32(tail) != name.crc:
        raise _mismatch(path)
    return tail[-footer:], tail[:length]


def _parse_footer(path: Path, table: str, size: int, data: bytes, head: _Head | None) -> _Footer:
    groups = pages.groups_in(data)
    try:
        parquet = pq.ParquetFile(pa.BufferReader(b"PAR1" + data), thrift_container_size_limit=_MAX_LIST)
    except OSError as error:  # says nothing of the disk: the bytes are in memory
        raise ValueError(error) from error
    metadata, schema = parquet.metadata, parquet.schema_arrow
    names = tuple(schema.names)
    fitting = schema.equals(PARAMETER_SCHEMA) if table == _PARAMETERS else fits(schema, table)
    if len(names) != metadata.num_columns or len(set(names)) < len(names) or not fitting:
        raise RunError(f"{path} holds no records of its kind, whatever its name says; it is ignored.")
    rows = [group.num_rows for group in groups]
    lengths = [chunk.length for group in groups for chunk in group.chunks]
    whole = all(len(group.chunks) == len(names) for group in groups) and len(groups) == metadata.num_row_groups
    if not whole or min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        raise ValueError("its footer does not fit the file")
    if min(lengths, default=0) < 0 or sum(lengths) > size:
        raise ValueError("its columns do not fit the file")
    if head is not None and (names, metadata.num_rows, len(lengths)) != (head.names, head.rows, len(head.chunks)):
        raise ValueError("its index does not fit its columns")
    return _Footer(metadata, schema, groups)


def _index(data: bytes, size: int) -> _Head:
    """What an index says, if it is one of a file of so many bytes."""
    length, count = struct.unpack_from("<II", data)
    if length > _MAX_HEAD:
        raise ValueError("its index is larger than any that gradlens writes")
    head = json.loads(data[8 : 8 + length])
    chunks = np.frombuffer(data, _CHUNK, offset=8 + length) if count else np.empty(0, _CHUNK)
    first, last, rows, names = head["first_step"], head["last_step"], head["rows"], head["columns"]
    ends = [] if first is None and last is None else [first, last]
    good = head["version"] == _VERSION and type(rows) is int and rows >= 0 and len(chunks) == count
    good &= type(names) is list and all(type(name) is str for name in names)
    good &= all(type(step) is int and 0 <= step < _MAX_STEP for step in ends) and ends == sorted(ends)
    good &= not head["dense"] or (len(ends) == 2 and last - first + 1 == rows)
    for offset, entries, crc in head["pyramids"].values():
        good &= type(offset) is type(entries) is type(crc) is int
        good &= 0 <= entries <= rows and 4 <= offset <= size - entries * SUMMARY.itemsize
    if not good:
        raise ValueError(_NO_INDEX)
    return _Head(rows, tuple(names), head, chunks)


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


def _crc(file: io.FileIO, size: int) -> int:
    crc = at = 0
    while at < size and (part := files.read(file, at, 1 << 22)):
        crc = zlib.crc32(part, crc)
        at += len(part)
    return crc


def _mismatch(path: Path) -> RunError:
    return RunError(f"{path} is damaged or cut short: its bytes do not match its name. Its rows are left out.")
