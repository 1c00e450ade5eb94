"""Reading sealed segments: each is checked against the CRC in its name before a number of it is used."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradlens.store.errors import RunError
from gradlens.store.layout import SegmentName

_PATIENCE = 5


@dataclass(frozen=True, slots=True)
class Found:
    """The segments of a folder.

    Attributes:
        good: those whose bytes match their names, in the order of session and row.
        problems: a sentence for each other file.
    """

    good: tuple[Path, ...]
    problems: tuple[str, ...]


def find(folder: Path) -> Found:
    """Look through ``steps/`` or ``tensors/`` of a run; hidden files are writes under way."""
    good: list[tuple[SegmentName, Path]] = []
    problems: list[str] = []
    try:
        entries = sorted(
            (entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda e: e.name
        )
    except OSError as error:
        return Found((), (f"{folder} cannot be listed: {error.strerror}.",))
    for entry in entries:
        path = Path(entry.path)
        name = SegmentName.parse(entry.name)
        if name is None or not entry.is_file(follow_symlinks=False):
            problems.append(f"{path} is not a gradlens segment; it is ignored.")
            continue
        try:
            stat = entry.stat(follow_symlinks=False)
            intact = _crc(path, stat.st_size, stat.st_mtime_ns) == name.crc
        except FileNotFoundError:  # compacted away since the listing
            continue
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}. Its rows are left out.")
            continue
        if intact:
            good.append((name, path))
        else:
            problems.append(f"{path} is damaged or cut short: its bytes do not match its name. Its rows are left out.")
    good.sort(key=lambda item: (item[0].session, item[0].first, -item[0].last))
    return Found(tuple(path for _, path in good), tuple(problems))


def load(folder: Path, columns: Sequence[str], needed: Sequence[str] = ()) -> list[pa.Table]:
    """The named columns of every intact segment in a folder, in order.

    A run that is just closing replaces its segments by one: a segment that vanished since the folder was listed means
    that the folder must be listed again.

    Args:
        folder: ``steps/`` or ``tensors/`` of a run.
        columns: which columns to read, those among them that a segment has.
        needed: columns without which a file is none of gradlens' segments, and is passed over.
    """
    for _ in range(_PATIENCE):
        try:
            return [read(path, columns) for path in find(folder).good if set(needed) <= set(names(path))]
        except FileNotFoundError:
            continue
    return []


def columns(folder: Path, needed: Sequence[str]) -> set[str]:
    """Names of the columns in the segments that :func:`load` would read."""
    for _ in range(_PATIENCE):
        try:
            found = [set(names(path)) for path in find(folder).good]
            return set().union(*(each for each in found if set(needed) <= each))
        except FileNotFoundError:
            continue
    return set()


def read(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Those of the named columns that the file has, or all, page checksums verified.

    Raises:
        RunError: if it is not the Parquet file that its name says.
        FileNotFoundError: if it is gone.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        has = file.schema_arrow.names
        return file.read([name for name in has if columns is None or name in columns])
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        raise RunError(f"{path} cannot be read as a gradlens segment: {error}") from error


def size(folder: Path) -> int:
    """Bytes of the files right inside a folder, 0 where it cannot be listed."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))
    except OSError:
        return 0


def names(path: Path) -> tuple[str, ...]:
    """The column names of a file, none if it is not Parquet.

    Raises:
        FileNotFoundError: if it is gone.
    """
    try:
        return tuple(pq.read_schema(path).names)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, ValueError):
        return ()


@lru_cache(maxsize=4096)
def _crc(path: Path, size: int, mtime_ns: int) -> int:  # noqa: ARG001 - size and mtime key the cache
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            crc = zlib.crc32(chunk, crc)
    return crc
