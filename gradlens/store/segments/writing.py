"""Writing a segment: row groups, then pyramids, index and footer, and the rename that commits it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradlens.store import files
from gradlens.store.disk import Disk
from gradlens.store.layout import SegmentName
from gradlens.store.pyramid import Summaries
from gradlens.store.segments.ends import CHUNK, packed

_FLUSH = 4 << 20


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
        folder: of a table.
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
        "rows": count,
        "first_step": int(step.min()) if len(step) else None,
        "last_step": int(step.max()) if len(step) else None,
        "dense": bool(len(step) and (np.diff(step) == 1).all()),
        "thin": thin,
        "columns": names,
        "pyramids": places,
    }
    end = packed(head, _checksums(path, metadata, body)) + footer
    sink.write(end)
    sink.flush()
    return zlib.crc32(end)


def _checksums(path: Path, metadata: pq.FileMetaData, body: int) -> NDArray[np.void]:
    """Place and CRC of each column chunk, row group by row group, from the bytes on disk."""
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    places = [_place(group.column(index)) for group in groups for index in range(metadata.num_columns)]
    found = np.zeros(len(places), CHUNK)
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
    with pq.ParquetWriter(sink, table.schema, **_options(table.schema)) as writer:
        if table.num_rows:  # a row group of no rows has pages that are nowhere
            writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data
