"""Names inside a run folder.

::

    <root>/<run_id>/
        run.json                        name, config, clip rule, environment, schema version
        session-<session>.json          the same of a resumed session, from which step, and when
        parameters-<session>.parquet    id, name, shape, dtype, group
        active-<session>-<number>.log   rows not yet sealed
        steps/seg-<session>-<first>-<last>-<crc32>.parquet      one column per scalar, one row per step
        tensors/seg-<session>-<first>-<last>-<crc32>.parquet    one row per parameter, kind and 256 steps
        micro_batches/seg-<session>-<first>-<last>-<crc32>.parquet    one row per micro-batch of a step
        health-<session>.json           rows written and dropped, last error, heartbeat, how it closed

Segments are immutable, and their name carries the CRC-32 of their index: no manifest can disagree with them.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

RUN_FILE: Final = "run.json"
STEPS: Final = "steps"
TENSORS: Final = "tensors"
MICRO_BATCHES: Final = "micro_batches"
TABLES: Final = (STEPS, TENSORS, MICRO_BATCHES)
"""Folders of segments, in the order in which a log is sealed into them."""
SINCE: Final = {STEPS: 1, TENSORS: 1, MICRO_BATCHES: 3}
"""The schema version from which on a run has the folder."""
OPTIONAL: Final = frozenset({MICRO_BATCHES})
"""Tables that a run may have no rows in. git and archives drop an empty folder, so that a missing one is no damage."""
BLOCK: Final = 256
"""Steps in one row of the tensor table and in one entry of the pyramid."""

_SEGMENT = re.compile(r"seg-(\d{1,9})-(\d{1,18})-(\d{1,18})-([0-9a-f]{8})\.parquet")
_LOG = re.compile(r"active-(\d{1,9})-(\d{1,18})\.log")
_SESSION = re.compile(r"(?:session|health|parameters|active)-(\d{1,9})(?:-\d{1,18})?\.(?:json|parquet|log)")


@dataclass(frozen=True, slots=True, order=True)
class SegmentName:
    """What the name of a segment says: rows ``first`` to ``last`` of a session, and the CRC-32 of its index."""

    session: int
    first: int
    last: int
    crc: int

    def __str__(self) -> str:
        return f"seg-{self.session}-{self.first}-{self.last}-{self.crc:08x}.parquet"

    @classmethod
    def parse(cls, name: str) -> SegmentName | None:
        """Read a file's name; None if it is not a segment's.

        >>> SegmentName.parse("seg-0-0-99-00c0ffee.parquet")
        SegmentName(session=0, first=0, last=99, crc=12648430)
        >>> SegmentName.parse("part-0.parquet") is None
        True
        """
        match = _SEGMENT.fullmatch(name)
        if match is None or int(match[2]) > int(match[3]):
            return None
        return cls(int(match[1]), int(match[2]), int(match[3]), int(match[4], 16))

    def covers(self, other: SegmentName) -> bool:
        """Whether every row of another segment is in the range of this one."""
        return self.session == other.session and self.first <= other.first and other.last <= self.last


@dataclass(frozen=True, slots=True, order=True)
class LogName:
    """What the name of an active log says: the session, and how many logs the session had before."""

    session: int
    number: int

    def __str__(self) -> str:
        return f"active-{self.session}-{self.number}.log"

    @classmethod
    def parse(cls, name: str) -> LogName | None:
        """Read a file's name; None if it is not a log's.

        >>> LogName.parse("active-1-3.log")
        LogName(session=1, number=3)
        """
        match = _LOG.fullmatch(name)
        return cls(int(match[1]), int(match[2])) if match else None


def session_of(name: str) -> int | None:
    """The session that a file of the run folder belongs to, None if it is not of a session.

    >>> session_of("health-3.json"), session_of("run.json")
    (3, None)
    """
    match = _SESSION.fullmatch(name)
    return int(match[1]) if match else None


def new_run_id() -> str:
    """A run id that no other process makes: the clock for people, 32 random bits for certainty."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def session_file(run: Path, session: int) -> Path:
    """Where a resumed session says what it is; creating it claims the session."""
    return run / f"session-{session}.json"


def parameters_file(run: Path, session: int) -> Path:
    """Where a session keeps the names of its parameters."""
    return run / f"parameters-{session}.parquet"


def health_file(run: Path, session: int) -> Path:
    """Where a session keeps its heartbeat and losses."""
    return run / f"health-{session}.json"
