"""Names inside a run folder.

::

    <root>/<run_id>/
        run.json                        name, config, clip rule, environment, schema version
        parameters-<session>.parquet    id, name, shape, dtype, group
        steps/seg-<session>-<first>-<last>-<crc32>.parquet      one column per scalar, one row per step
        tensors/seg-<session>-<first>-<last>-<crc32>.parquet    one row per parameter, kind and 256 steps
        health-<session>.json           rows written and dropped, last error, heartbeat, how it closed

Segments are immutable, and their name carries their CRC-32: no manifest can disagree with them.
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
BLOCK: Final = 256
"""Steps in one row of the tensor table."""

_SEGMENT = re.compile(r"seg-(\d{1,9})-(\d{1,18})-(\d{1,18})-([0-9a-f]{8})\.parquet")


@dataclass(frozen=True, slots=True)
class SegmentName:
    """What the name of a segment says: rows ``first`` to ``last`` of a session, and the CRC-32 of its bytes."""

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
        return cls(int(match[1]), int(match[2]), int(match[3]), int(match[4], 16)) if match else None


def new_run_id() -> str:
    """A run id that no other process makes: the clock for people, 32 random bits for certainty."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"


def parameters_file(run: Path, session: int) -> Path:
    """Where a session keeps the names of its parameters."""
    return run / f"parameters-{session}.parquet"


def health_file(run: Path, session: int) -> Path:
    """Where a session keeps its heartbeat and losses."""
    return run / f"health-{session}.json"
