"""Every write of gradlens goes through here, so that tests can break any of them."""

from __future__ import annotations

import os
from pathlib import Path


class Disk:
    """The few operations that writing a run needs, each atomic as far as a reader can tell."""

    def make_folder(self, path: Path) -> None:
        """Create a folder and its parents; one that is there already is fine."""
        path.mkdir(parents=True, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        """Put a whole file in place: a reader sees the old content or the new, never a part.

        The bytes go to a temporary beside it whose name begins with a dot, which plain readers skip; then fsync,
        rename, and fsync of the folder, without which the rename itself may be lost in a power cut.

        Raises:
            OSError: as the system gives it; the temporary is gone then.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._sync_folder(path.parent)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        path.unlink(missing_ok=True)

    def _sync_folder(self, folder: Path) -> None:
        if os.name == "nt":  # Windows opens no folders
            return
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
