"""Every change that gradlens makes on disk goes through here, one call a system call, so that tests can break any."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_F_GETPATH = 50  # macOS


class Disk:
    """The operations that recording needs. Each raises OSError as the system gives it, and each may be a crash's last.

    Handles are file descriptors.
    """

    def __init__(self) -> None:
        self._mark = secrets.token_hex(4)

    def temporary(self, path: Path) -> Path:
        """Where a file is written before it gets its name: beside it, hidden, so that plain readers skip it."""
        return path.with_name(f".{path.name}.{self._mark}.tmp")

    def owns(self, temporary: Path) -> bool:
        """Whether a temporary is this disk's, and not what another process left."""
        return temporary.name.endswith(f".{self._mark}.tmp")

    def make_folder(self, path: Path) -> None:
        """Create a folder and its parents; one that is there already is fine."""
        path.mkdir(parents=True, exist_ok=True)

    def create(self, path: Path) -> int:
        """Create a file that must not exist, to append to.

        Raises:
            FileExistsError: if it does: somebody else has claimed the name.
        """
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        return os.open(path, flags, 0o666)

    def append(self, handle: int, data: bytes) -> None:
        """Append in one write.

        Raises:
            OSError: also if the system took a part only, which is then in the file.
        """
        taken = os.write(handle, data)
        if taken != len(data):
            raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} ({taken} of {len(data)} bytes written)")

    def truncate(self, handle: int, size: int) -> None:
        """Cut a file back."""
        os.ftruncate(handle, size)

    def sync(self, handle: int) -> None:
        """Bring a file's bytes to the medium."""
        os.fsync(handle)

    def close(self, handle: int) -> None:
        """Let go of a file."""
        os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its name, replacing what had it: the commit of everything written whole."""
        old.replace(new)

    def sync_folder(self, folder: Path) -> None:
        """Bring a folder's names to the medium; without it a rename may be lost in a power cut."""
        if os.name == "nt":  # Windows opens no folders
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder; one that is gone already is fine."""
        try:
            path.rmdir()
        except FileNotFoundError:
            return

    def write(self, path: Path, data: bytes) -> None:
        """Put a whole file in place: a reader sees the old content or the new, never a part."""
        temporary = self.temporary(path)
        self.remove(temporary)
        handle = self.create(temporary)
        try:
            try:
                self.append(handle, data)
                self.sync(handle)
            finally:
                self.close(handle)
            self.rename(temporary, path)
        except Exception:
            self.remove(temporary)
            raise
        self.sync_folder(path.parent)


def lock(handle: int) -> bool:
    """Hold a file until its handle is closed or the process dies; False if another process holds it.

    Where the system has no such locks, nobody holds anything.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def whereabouts(handle: int, path: Path) -> Path | None:
    """Where an open file is now: ``path`` if it is still there, its new path if it was renamed, None if it is gone."""
    held = os.fstat(handle)
    for candidate in (path, _name_of(handle)):
        try:
            there = candidate.lstat()
        except (OSError, ValueError):
            continue
        if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
            return candidate
    return None


def _name_of(handle: int) -> Path:
    """What the system calls an open file; where it does not tell, a path that is none."""
    try:
        if sys.platform == "darwin" and fcntl is not None:
            return Path(os.fsdecode(fcntl.fcntl(handle, _F_GETPATH, bytes(1024)).rstrip(b"\0")))
        return Path(f"/proc/self/fd/{handle}").readlink()
    except OSError:
        return Path("/proc/none")
