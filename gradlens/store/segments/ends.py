"""What a segment says of itself at its end: its index of checksums, and Parquet's footer.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradlens.store import files, pages
from gradlens.store.errors import RunError
from gradlens.store.layout import SegmentName
from gradlens.store.pyramid import SUMMARY
from gradlens.store.tables import MAX_ROWS, MAX_STEP, TABLES

CHUNK: Final = np.dtype([("offset", "<u8"), ("length", "<u8"), ("crc", "<u4"), ("pad", "<u4")])
"""What the index says of a column chunk."""
MAX_FILE: Final = 1 << 30
VERSION: Final = 1
MARK: Final = b"GLIX"
_MAX_TAIL = 32 << 20
_MAX_HEAD = 4 << 20
_MAX_FOOTER = 16 << 20
_MAX_LIST = 1 << 16  # columns, or row groups
_FIRST_LOOK = 1 << 16
_NO_INDEX = "its index is none that this version of gradlens can read"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Head:
    """What a segment says of itself: its index, or its footer where it has none.

    Reading a footer takes longer the more columns there are; most questions do without.
    """

    rows: int
    names: tuple[str, ...]
    entries: Mapping[str, Any]
    chunks: NDArray[np.void]
    damage: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Footer:
    """What Parquet says of a segment.

    Attributes:
        checked: chunks that were found to be what the index says.
    """

    metadata: pq.FileMetaData  # to be given to Arrow only: asking it of a column may end the process
    schema: pa.Schema
    groups: Sequence[pages.Group]
    checked: set[int] = field(default_factory=set)


def packed(head: Mapping[str, Any], chunks: NDArray[np.void]) -> bytes:
    """An index as it stands before the footer."""
    encoded = json.dumps({"version": VERSION, **head}).encode()
    index = struct.pack("<II", len(encoded), len(chunks)) + encoded + chunks.tobytes()
    return index + struct.pack("<I", len(index)) + MARK


def answer(
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
def head_of(path: Path, name: SegmentName, table: str, stamp: files.Stamp) -> Head | str:
    """What a file whose stamp has not changed since says of itself, or what is wrong with it."""

    def parse(_: bytes, index: bytes | None) -> Head:
        if index is None:
            footer = answer(footer_of, path, name, table, stamp)
            return Head(footer.metadata.num_rows, tuple(footer.schema.names), {}, np.empty(0, CHUNK))
        return _index(index, stamp[2])

    found = _parsed(path, name, stamp, parse)
    if isinstance(found, Head) and found.rows > min(MAX_ROWS, TABLES[table].most_a_step * (name.last - name.first + 1)):
        return f"{path} claims {found.rows:,} rows, more than a segment of its name holds; it is ignored."
    return found


@lru_cache(maxsize=1024)
def footer_of(path: Path, name: SegmentName, table: str, stamp: files.Stamp) -> Footer | str:
    """What Parquet says of a file whose stamp has not changed since, or what is wrong with it."""

    def parse(data: bytes, index: bytes | None) -> Footer:
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
    if size > MAX_FILE:
        raise RunError(f"{path} is larger than {MAX_FILE >> 30} GiB, than any segment. Its rows are left out.")
    end = files.read(file, max(0, size - _FIRST_LOOK), _FIRST_LOOK)
    if len(end) < 12 or end[-4:] != b"PAR1":
        raise _mismatch(path)
    footer = int.from_bytes(end[-8:-4], "little") + 8
    if footer > min(size, _MAX_FOOTER):
        raise _mismatch(path)
    if footer + 8 > len(end):
        end = files.read(file, max(0, size - footer - _FIRST_LOOK), footer + _FIRST_LOOK)
    if end[-footer - 4 : -footer] != MARK:
        if crc_of(file, size) != name.crc:
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


def _parse_footer(path: Path, table: str, size: int, data: bytes, head: Head | None) -> Footer:
    groups = pages.groups_in(data)
    try:
        parquet = pq.ParquetFile(pa.BufferReader(b"PAR1" + data), thrift_container_size_limit=_MAX_LIST)
    except OSError as error:  # says nothing of the disk: the bytes are in memory
        raise ValueError(error) from error
    metadata, schema = parquet.metadata, parquet.schema_arrow
    names = tuple(schema.names)
    if len(names) != metadata.num_columns or len(set(names)) < len(names) or not TABLES[table].fits(schema):
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
    return Footer(metadata, schema, groups)


def _index(data: bytes, size: int) -> Head:
    """What an index says, if it is one of a file of so many bytes."""
    length, count = struct.unpack_from("<II", data)
    if length > _MAX_HEAD:
        raise ValueError("its index is larger than any that gradlens writes")
    head = json.loads(data[8 : 8 + length])
    chunks = np.frombuffer(data, CHUNK, offset=8 + length) if count else np.empty(0, CHUNK)
    first, last, rows, names = head["first_step"], head["last_step"], head["rows"], head["columns"]
    ends = [] if first is None and last is None else [first, last]
    good = head["version"] == VERSION and type(rows) is int and rows >= 0 and len(chunks) == count
    good &= type(names) is list and all(type(name) is str for name in names)
    good &= all(type(step) is int and 0 <= step < MAX_STEP for step in ends) and ends == sorted(ends)
    good &= not head["dense"] or (len(ends) == 2 and last - first + 1 == rows)
    for offset, entries, crc in head["pyramids"].values():
        good &= type(offset) is type(entries) is type(crc) is int
        good &= 0 <= entries <= rows and 4 <= offset <= size - entries * SUMMARY.itemsize
    if not good:
        raise ValueError(_NO_INDEX)
    return Head(rows, tuple(names), head, chunks)


def crc_of(file: io.FileIO, size: int) -> int:
    """The CRC-32 of a whole file."""
    crc = at = 0
    while at < size and (part := files.read(file, at, 1 << 22)):
        crc = zlib.crc32(part, crc)
        at += len(part)
    return crc


def _mismatch(path: Path) -> RunError:
    return RunError(f"{path} is damaged or cut short: its bytes do not match its name. Its rows are left out.")
