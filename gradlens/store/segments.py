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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradlens.store import files, pages
from gradlens.store.disk import Disk
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK, STEPS, SegmentName
from gradlens.store.pyramid import SUMMARY, Summaries, summarise
from gradlens.store.tables import fits

MAX_ROWS: Final = 1 << 21
"""Rows in a segment; gradlens writes no larger, and reads no larger."""

_MAX_TAIL = 32 << 20
_MAX_VALUES = 1 << 24  # in one column chunk
_FIRST_LOOK = 1 << 16
_FLUSH = 4 << 20
_MARK = b"GLIX"
_CHUNK = np.dtype([("offset", "<u8"), ("length", "<u8"), ("crc", "<u4"), ("pad", "<u4")])


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
    try:
        try:
            crc = _write(_Sink(disk, handle), temporary, tables, pyramids, thin=thin)
            disk.sync(handle)
        finally:
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
        "version": 1,
        "rows": count,
        "first_step": int(step.min()) if len(step) else None,
        "last_step": int(step.max()) if len(step) else None,
        "dense": bool(len(step) and (np.diff(step) == 1).all()),
        "thin": thin,
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
        elif pa.types.is_string(leaf) or leaf == pa.uint8():
            texts.append(path)
    return {
        "compression": "zstd",
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


@dataclass(frozen=True, slots=True)
class _Tail:
    """The end of a segment, checked against its name."""

    metadata: pq.FileMetaData
    names: tuple[str, ...]
    schema: pa.Schema
    head: Mapping[str, Any]
    chunks: NDArray[np.void] | None
    checked: set[int] = field(default_factory=set)
    damage: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Segment:
    """An intact segment. Its columns and pyramids are checked as they are read.

    Attributes:
        path: of the file.
        name: what its name says.
        size: bytes.
    """

    path: Path
    name: SegmentName
    size: int
    _tail: _Tail

    @classmethod
    def open(cls, path: Path, name: SegmentName, table: str) -> Segment:
        """Check the end of a file against its name, and its columns against those of a table.

        Raises:
            RunError: if they do not match, or it is no segment.
            FileNotFoundError: if it is gone.
        """
        with files.opened(path) as (_, stamp):
            pass
        try:
            return cls(path, name, stamp[2], _tail(path, name, table, stamp))
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise RunError(f"{path} cannot be read: {error.strerror or error}. Its rows are left out.") from error

    @property
    def rows(self) -> int:
        """How many rows it holds."""
        rows: int = self._tail.metadata.num_rows
        return rows

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its columns."""
        return self._tail.names

    @property
    def schema(self) -> pa.Schema:
        """Its Arrow schema."""
        return self._tail.schema

    @property
    def thin(self) -> bool:
        """Whether its detail was dropped and only the summaries are left."""
        return self._tail.head.get("thin") is True

    @property
    def first_step(self) -> int | None:
        """The smallest step in it."""
        known = self._tail.head.get("first_step")
        if known is not None or "step" not in self.columns:
            return known if isinstance(known, int) else None
        steps = self.steps()
        return int(steps.min()) if len(steps) else None

    def steps(self) -> NDArray[np.int64]:
        """(rows,) the steps, ascending as they were written."""
        head = self._tail.head
        if head.get("dense") is True and self._tail.chunks is not None and isinstance(head.get("first_step"), int):
            return np.arange(head["first_step"], head["first_step"] + self.rows)
        steps: NDArray[np.int64] = self.read(["step"])["step"].to_numpy()
        return steps

    def read(self, columns: Sequence[str], groups: Callable[[Any], bool] | None = None) -> pa.Table:
        """Those of the named columns that it has.

        Args:
            columns: which to read.
            groups: which row groups, by their metadata; all if None.

        Raises:
            RunError: if a column's bytes do not match the index, or are no Parquet.
            FileNotFoundError: if the file is gone.
        """
        tail = self._tail
        places = [place for place, name in enumerate(tail.names) if name in columns]
        chosen = [
            group
            for group in range(tail.metadata.num_row_groups)
            if groups is None or groups(tail.metadata.row_group(group))
        ]
        try:
            with files.opened(self.path) as (file, _):
                for group in chosen:
                    for place in places:
                        self._check(file, group, place)
                parquet = pq.ParquetFile(file, metadata=tail.metadata, pre_buffer=True)
                return parquet.read_row_groups(chosen, [tail.names[place] for place in places], use_threads=False)
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException, ValueError, MemoryError) as error:
            if isinstance(error, RunError):
                raise
            raise self._broken(f"cannot be read as a gradlens segment: {error}") from error

    def pyramid(self, column: str) -> Summaries:
        """Summaries of a column, computed if the segment brings none; empty for a column of text, or a missing one.

        Raises:
            RunError: as :meth:`read`.
            FileNotFoundError: if the file is gone.
        """
        place = self._tail.head.get("pyramids", {}).get(column)
        if place is None:
            return self._summarised(column)
        try:
            offset, count, crc = place
            with files.opened(self.path) as (file, _):
                data = files.read(file, offset, count * SUMMARY.itemsize)
        except (TypeError, ValueError, OverflowError, OSError) as error:
            if isinstance(error, (RunError, FileNotFoundError)):
                raise
            raise self._broken(f"cannot be read as a gradlens segment: {error}") from error
        if len(data) != count * SUMMARY.itemsize or zlib.crc32(data) != crc:
            raise self._broken(f"is damaged: the summaries of {column!r} do not match their checksum")
        return np.frombuffer(data, SUMMARY)

    def _summarised(self, column: str) -> Summaries:
        if column not in self.columns or self.schema.field(column).type == pa.string():
            return np.empty(0, SUMMARY)
        return summarise(*self.values(column))

    def values(self, column: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(n,) steps and (n,) values of a column, nulls left out.

        Raises:
            RunError: as :meth:`read`.
            FileNotFoundError: if the file is gone.
        """
        steps = self.steps()
        array = self.read([column])[column]
        present = array.is_valid().to_numpy() if array.null_count else None
        values = array.cast(pa.float64()).to_numpy()
        if len(steps) != len(values):
            raise self._broken("cannot be read as a gradlens segment: its index does not fit its rows")
        return (steps, values) if present is None else (steps[present], values[present])

    def check(self) -> None:
        """Read everything once.

        Raises:
            RunError: if a part of it is damaged.
            FileNotFoundError: if the file is gone.
        """
        with files.opened(self.path) as (file, _):
            if files.read(file, 0, 4) != b"PAR1":
                raise self._broken("is damaged: it does not begin as a Parquet file does")
            for group in range(self._tail.metadata.num_row_groups):
                for place in range(len(self._tail.names)):
                    self._check(file, group, place)
        for column in self._tail.head.get("pyramids", {}):
            self.pyramid(column)

    @property
    def damage(self) -> tuple[str, ...]:
        """What reading it has found broken so far."""
        return tuple(self._tail.damage)

    def _check(self, file: io.FileIO, group: int, place: int) -> None:
        """Whether a column chunk is what the index says, and will not unfold to more than its rows."""
        tail = self._tail
        which = group * len(tail.names) + place
        if which in tail.checked:
            return
        offset, length = _place(tail.metadata.row_group(group).column(place))
        data = files.read(file, offset, length) if offset >= 0 and length >= 0 else b""
        if tail.chunks is not None and zlib.crc32(data) != tail.chunks[which]["crc"]:
            raise self._broken(f"is damaged: the bytes of {tail.names[place]!r} do not match their checksum")
        rows = tail.metadata.row_group(group).num_rows
        try:
            values, size = pages.unfolded(data)
        except (ValueError, IndexError) as error:
            raise self._broken(f"cannot be read as a gradlens segment: {error}") from error
        nested = pa.types.is_list(tail.schema.types[place])
        if values > (rows * (BLOCK + 1) if nested else rows) or values > _MAX_VALUES or size > 16 * values + (32 << 20):
            raise self._broken(f"claims {values:,} values in {size:,} bytes, more than its rows can hold")
        tail.checked.add(which)

    def _broken(self, what: str) -> RunError:
        sentence = f"{self.path} {what}. These of its values are left out."
        self._tail.damage[sentence] = None
        return RunError(sentence)


@lru_cache(maxsize=1024)
def _tail(path: Path, name: SegmentName, table: str, stamp: files.Stamp) -> _Tail:
    """The end of a file whose stamp has not changed since."""
    with files.opened(path) as (file, now):
        if now != stamp:
            raise RunError(f"{path} changes while it is read. Its rows are left out.")
        size = now[2]
        end = files.read(file, max(0, size - _FIRST_LOOK), _FIRST_LOOK)
        if len(end) < 12 or end[-4:] != b"PAR1":
            raise _mismatch(path)
        footer = int.from_bytes(end[-8:-4], "little") + 8
        if footer > min(size, _MAX_TAIL):
            raise _mismatch(path)
        if footer + 8 > len(end):
            end = files.read(file, max(0, size - footer - _FIRST_LOOK), footer + _FIRST_LOOK)
        if end[-footer - 4 : -footer] == _MARK:
            length = int.from_bytes(end[-footer - 8 : -footer - 4], "little")
            whole = footer + 8 + length
            if whole > min(size, _MAX_TAIL):
                raise _mismatch(path)
            if whole > len(end):
                end = files.read(file, size - whole, whole)
            tail = end[-whole:]
            if zlib.crc32(tail) != name.crc:
                raise _mismatch(path)
            index: bytes | None = tail[:length]
        else:
            index = None
            if _crc(file, size) != name.crc:
                raise _mismatch(path)
        return _parse(path, name, table, end[-footer:], index)


def _parse(path: Path, name: SegmentName, table: str, footer: bytes, index: bytes | None) -> _Tail:
    try:
        parquet = pq.ParquetFile(pa.BufferReader(b"PAR1" + footer))
        metadata, schema = parquet.metadata, parquet.schema_arrow
        head, chunks = _index(index) if index is not None else ({}, None)
    except (pa.ArrowException, ValueError, TypeError, KeyError, struct.error, OSError, RecursionError) as error:
        raise RunError(f"{path} cannot be read as a gradlens segment: {error}") from error
    names = tuple(schema.names)
    if len(names) != metadata.num_columns or len(set(names)) < len(names) or not fits(schema, table):
        raise RunError(f"{path} holds no records of its kind, whatever its name says; it is ignored.")
    if chunks is not None and len(chunks) != metadata.num_row_groups * len(names):
        raise RunError(f"{path} cannot be read as a gradlens segment: its index does not fit its columns.")
    rows = metadata.num_rows
    if rows > MAX_ROWS or (table == STEPS and rows > name.last - name.first + 1):
        raise RunError(f"{path} claims {rows:,} rows, more than a segment of its name holds; it is ignored.")
    return _Tail(metadata, names, schema, head, chunks)


def _index(data: bytes) -> tuple[dict[str, Any], NDArray[np.void]]:
    length, count = struct.unpack_from("<II", data)
    head = json.loads(data[8 : 8 + length])
    if not isinstance(head, dict) or not isinstance(head.get("pyramids"), dict):
        raise TypeError("its index is no object")
    chunks = np.frombuffer(data, _CHUNK, offset=8 + length)
    if len(chunks) != count:
        raise ValueError("its index is cut short")
    return head, chunks


def _crc(file: io.FileIO, size: int) -> int:
    crc = at = 0
    while at < size and (part := files.read(file, at, 1 << 22)):
        crc = zlib.crc32(part, crc)
        at += len(part)
    return crc


def _mismatch(path: Path) -> RunError:
    return RunError(f"{path} is damaged or cut short: its bytes do not match its name. Its rows are left out.")
