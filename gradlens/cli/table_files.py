"""A table as CSV or Parquet, written slice by slice: the file is there whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gradlens.store import Disk

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would take for a formula."""

_PIECE = 4 << 20
_GROUP_ROWS = 1 << 18


class TableFile(Protocol):
    """Something that takes a table, a slice at a time."""

    def write(self, table: pa.Table) -> None:
        """Add rows."""

    def finish(self) -> None:
        """Add what ends the file."""


@contextmanager
def table_file(path: Path, form: str, schema: pa.Schema, *, force: bool) -> Iterator[TableFile]:
    """Write a table to a file, which is given its name once all of it is on disk.

    Args:
        path: where to; its folder is made.
        form: ``"csv"`` or ``"parquet"``.
        schema: of the table.
        force: replace a file that is there.

    Yields:
        What takes the rows.

    Raises:
        OSError: if it is there and is not to be replaced, or cannot be written; nothing is left behind then.
    """
    check_free(path, force=force)
    disk = Disk()
    disk.make_folder(path.parent)
    temporary = disk.temporary(path)
    stream = _Stream(disk, disk.create(temporary))
    try:
        try:
            table: TableFile = _Csv(stream, schema) if form == "csv" else _Parquet(stream, schema)
            yield table
            table.finish()
            stream.flush()
            disk.sync(stream.handle)
        finally:
            stream.end()
        check_free(path, force=force)
        disk.rename(temporary, path)
    except BaseException:
        disk.remove(temporary)
        raise
    disk.sync_folder(path.parent)


def check_free(path: Path, *, force: bool) -> None:
    """See whether a file may be written.

    Raises:
        OSError: if it may not.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected a file to write to, as in --out {path / 'table.csv'}")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists and is left as it is; name another --out, or replace it with --force.")


def check_ending(path: Path, form: str) -> None:
    """Refuse a name that says another format than the file will have.

    Raises:
        ValueError: if it does.
    """
    other = {"csv": ".parquet", "parquet": ".csv"}[form]
    if path.suffix.lower() == other:
        raise ValueError(f"{path} would hold {form}; name it {path.with_suffix('.' + form)}, or export {other[1:]}.")


def inert(text: str) -> str:
    """A text that a spreadsheet takes for a text.

    >>> inert("=1+1"), inert("loss")
    ("'=1+1", 'loss')
    """
    return "'" + text if text.startswith(FORMULA) else text


class _Stream:
    """A file that is written in pieces, as Parquet's writer wants it: which may write its end even after a failure."""

    closed = False

    def __init__(self, disk: Disk, handle: int) -> None:
        self.handle = handle
        self._disk = disk
        self._waiting = bytearray()
        self._size = 0
        self._over = False

    def write(self, data: bytes) -> int:
        if not self._over:
            self._waiting += data
            self._size += len(data)
            if len(self._waiting) >= _PIECE:
                self.flush()
        return len(data)

    def flush(self) -> None:
        if self._waiting and not self._over:
            data, self._waiting = bytes(self._waiting), bytearray()
            self._disk.append(self.handle, data)

    def end(self) -> None:
        self._over = True
        self._disk.close(self.handle)

    def tell(self) -> int:
        return self._size

    def close(self) -> None:
        """The file is closed by who opened it."""


class _Csv:
    """Texts in quotes, those like formulas made inert; numbers as they read back exactly; null as an empty cell."""

    def __init__(self, stream: _Stream, schema: pa.Schema) -> None:
        self._stream = stream
        self._options = pyarrow.csv.WriteOptions(include_header=False)
        stream.write((",".join(_quoted(inert(name)) for name in schema.names) + "\n").encode())

    def write(self, table: pa.Table) -> None:
        out = pa.BufferOutputStream()
        columns = [_exact(column) for column in table.columns]
        plain = pa.Table.from_arrays(columns, names=[str(place) for place in range(len(columns))])
        pyarrow.csv.write_csv(plain, out, self._options)
        self._stream.write(out.getvalue().to_pybytes())

    def finish(self) -> None:
        """A CSV ends with its last row."""


class _Parquet:
    """Row groups of a quarter of a million rows."""

    def __init__(self, stream: _Stream, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(stream, schema, compression="zstd", write_page_checksum=True)
        self._waiting: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        if sum(each.num_rows for each in self._waiting) >= _GROUP_ROWS:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            table, self._waiting = pa.concat_tables(self._waiting), []
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))


def _exact(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        risky = pc.match_substring_regex(column, "^[=+\\-@\t\r]")
        return pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)
    # The shortest text of a float32 is another number when it is read as a float64.
    return column.cast(pa.float64()) if pa.types.is_float32(column.type) else column


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in '",\r\n') else text
