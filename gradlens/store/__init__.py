"""The run folder on disk: the only room that touches it."""

from gradlens.store.disk import Disk
from gradlens.store.errors import RunError
from gradlens.store.reader import Run, Runs, open_run, open_runs
from gradlens.store.writer import RunWriter

__all__ = ["Disk", "Run", "RunError", "RunWriter", "Runs", "open_run", "open_runs"]
