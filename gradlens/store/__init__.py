"""The run folder on disk: the only room that touches it."""

from gradlens.store.disk import Disk
from gradlens.store.errors import RunError
from gradlens.store.finding import Runs, open_run, open_runs
from gradlens.store.run import Run
from gradlens.store.sealing import compact_run, written_to
from gradlens.store.state import SessionInfo
from gradlens.store.writer import PATIENCE, RunWriter

__all__ = [
    "PATIENCE",
    "Disk",
    "Run",
    "RunError",
    "RunWriter",
    "Runs",
    "SessionInfo",
    "compact_run",
    "open_run",
    "open_runs",
    "written_to",
]
