"""Reading what may be anything: regular files only, opened once, links not followed, sizes bounded."""

from __future__ import annotations

import io
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradlens.store.errors import RunError

MAX_JSON = 4 << 20
MAX_HEALTH = 256 << 10
_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)

Stamp = tuple[int, int, int, int]


@contextmanager
def opened(path: Path) -> Iterator[tuple[io.FileIO, Stamp]]:
    """Open a regular file for reading, unbuffered; gives also a stamp that changes when the file does.

    Raises:
        FileNotFoundError: if it is gone.
        RunError: if it cannot be opened, or is a link, a pipe, a device or a folder.
    """
    try:
        handle = os.open(path, _FLAGS)  # a pipe that nobody writes would block without O_NONBLOCK
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"{path} cannot be read: {reason}.") from error
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise RunError(f"{path} is not a regular file; it is ignored.")
    with io.FileIO(handle) as file:
        yield file, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def read(file: io.FileIO, offset: int, length: int) -> bytes:
    """Bytes of an open file, fewer where it ends."""
    file.seek(offset)
    parts = []
    while length > 0 and (part := file.read(min(length, 1 << 26))):
        parts.append(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_json(path: Path, most: int = MAX_JSON) -> dict[str, Any]:
    """A small JSON object, of so many bytes at most.

    Raises:
        FileNotFoundError: if there is no such file.
        RunError: if it holds anything else.
    """
    with opened(path) as (file, stamp):
        if stamp[2] > most:
            raise RunError(f"{path} is larger than {most / (1 << 20):g} MiB; a gradlens file of this name is small.")
        try:
            data = read(file, 0, most)
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        entries = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    if not isinstance(entries, dict):
        raise RunError(f"{path}: expected a JSON object, got {type(entries).__name__}.")
    return entries


def number(value: object) -> float | None:
    """A number of a JSON object as a float, None if it is none, or not finite."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def text(value: object, otherwise: str = "") -> str:
    """A text of a JSON object, or another if it is none; fit to be written anywhere."""
    return (value if isinstance(value, str) else otherwise).encode(errors="replace").decode()


def listing(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, hidden files left out, by name; twice over, until nothing moves meanwhile.

    A listing made while files are replaced may miss the old and the new.

    Raises:
        OSError: if the folder cannot be listed.
    """
    entries: list[os.DirEntry[str]] = []
    for _ in range(16):
        with os.scandir(folder) as found:
            again = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
        if [entry.name for entry in again] == [entry.name for entry in entries] and entries:
            break
        if not again and not entries:
            break
        entries = again
    return again


def size(folder: Path) -> int:
    """Bytes of the files right inside a folder, 0 where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sum(
                entry.stat(follow_symlinks=False).st_size for entry in found if entry.is_file(follow_symlinks=False)
            )
    except OSError:
        return 0
