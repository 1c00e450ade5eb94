"""Series of a snapshot: each session's up to where a later one takes over, the newest row of each step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradlens.store import layout, pyramid
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK
from gradlens.store.log_tables import steps_table
from gradlens.store.pyramid import Summaries
from gradlens.store.segments import Segment
from gradlens.store.snapshot import Snapshot
from gradlens.store.tables import STEP_KEYS, column_order

Series = tuple[NDArray[np.int64], NDArray[np.float64]]
Stretch = tuple[NDArray[np.int64] | range, NDArray[np.float64]]
_READERS = 4


def columns(found: Snapshot) -> tuple[str, ...]:
    """Names of the recorded series, in the order of the step table."""
    present = {name for segment in found.tables[layout.STEPS] for name in segment.columns}
    for session in found.sessions:
        present |= {name for group in found.fresh(session, layout.STEPS) for name in group.layout.columns}
    return tuple(column_order(present | set(STEP_KEYS))) if present else ()


def dense(found: Snapshot) -> range | None:
    """The steps of a run that has each of some consecutive steps once; None if it does not, or its files do not say."""
    parts: list[range] = []
    for session in found.sessions:
        own = [segment.dense for segment in found.segments(session, layout.STEPS)]
        fresh = [group.steps for group in found.fresh(session, layout.STEPS)]
        if fresh:  # rows of unlike columns lie in groups of their own
            steps = np.sort(np.concatenate(fresh))
            consecutive = bool((np.diff(steps) == 1).all())
            own.append(range(int(steps[0]), int(steps[-1]) + 1) if consecutive else None)
        limit = found.limit(session)
        for part in own:
            if part is None:
                return None
            if part.start < limit:
                parts.append(range(part.start, int(min(part.stop, limit))))
    if not parts or any(one.stop != other.start for one, other in pairwise(parts)):
        return None
    return range(parts[0].start, parts[-1].stop)


def series(found: Snapshot, name: str, between: tuple[int, int] | None = None) -> Series:
    """One series, or its part between two steps: see :meth:`gradlens.store.Run.series`."""
    steps: list[NDArray[np.int64] | range] = []
    values: list[NDArray[np.float64]] = []
    for session in found.sessions:
        limit = found.limit(session)
        for step, value in _stretches(found, session, name, between):
            below = None if limit == float("inf") else np.asarray(step) < limit
            steps.append(step if below is None else np.asarray(step)[below])
            values.append(value if below is None else value[below])
    step, value = _joined(steps, values)
    if between is None:
        return step, value
    begin, end = np.searchsorted(step, (between[0], between[1] + 1))
    return step[begin:end], value[begin:end]


def _joined(steps: list[NDArray[np.int64] | range], values: list[NDArray[np.float64]]) -> Series:
    """Stretches in one, each step once."""
    if not steps:
        return np.empty(0, np.int64), np.empty(0)
    value = values[0] if len(values) == 1 else np.concatenate(values)
    ranges = [part for part in steps if isinstance(part, range)]
    if len(ranges) == len(steps) and all(one.stop == other.start for one, other in pairwise(ranges)):
        return np.arange(ranges[0].start, ranges[-1].stop), value
    step = np.concatenate([np.arange(part.start, part.stop) if isinstance(part, range) else part for part in steps])
    if (step[1:] > step[:-1]).all():
        return step, value
    order = np.argsort(step, kind="stable")  # of a step written twice, the later row
    newest = order[np.append(np.diff(step[order]) != 0, True)]
    return step[newest], value[newest]


def _stretches(found: Snapshot, session: int, name: str, between: tuple[int, int] | None) -> list[Stretch]:
    """A session's values in the order of its rows; segments that turn out to be broken are left out."""
    segments = [segment for segment in found.segments(session, layout.STEPS) if name in segment.columns]
    segments = [segment for segment in segments if _reaches(segment, between)]
    if len(segments) > 1:  # Arrow decodes a column in one thread, and lets go of the interpreter meanwhile
        with ThreadPoolExecutor(min(len(segments), _READERS)) as pool:
            read = list(pool.map(lambda segment: _values(segment, name, between), segments))
    else:
        read = [_values(segment, name, between) for segment in segments]
    parts = [part for part in read if part is not None]
    fresh = found.fresh(session, layout.STEPS)
    if fresh and (name in STEP_KEYS or any(name in group.layout.columns for group in fresh)):
        table = steps_table(fresh, session, ["step", name]).filter(pc.is_valid(pc.field(name)))
        parts.append((table["step"].to_numpy(), table[name].cast(pa.float64(), safe=False).to_numpy()))
    return parts


def _reaches(segment: Segment, between: tuple[int, int] | None) -> bool:
    """Whether a segment may have some of these steps."""
    ends = segment.ends
    return between is None or ends is None or (ends[0] <= between[1] and ends[1] >= between[0])


def _values(segment: Segment, name: str, between: tuple[int, int] | None) -> Stretch | None:
    try:
        return segment.values(name, between)
    except RunError:
        return None


def summaries(found: Snapshot, name: str) -> Summaries:
    """One series in blocks of 256 steps: see :meth:`gradlens.store.Run.pyramid`."""
    parts: list[Summaries] = []
    for session in found.sessions:
        limit = found.limit(session)
        fresh = found.fresh(session, layout.STEPS)
        for segment in found.segments(session, layout.STEPS):
            try:
                parts.append(_summaries_below(segment, name, limit))
            except RunError:
                continue
        if fresh and (name in STEP_KEYS or any(name in group.layout.columns for group in fresh)):
            table = steps_table(fresh, session, ["step", name]).filter(pc.is_valid(pc.field(name)))
            step, value = table["step"].to_numpy(), table[name].cast(pa.float64(), safe=False).to_numpy()
            below = step < limit
            parts.append(pyramid.summarise(step[below], value[below]))
    if len(parts) == 1:
        return parts[0]
    entries = np.concatenate([np.empty(0, pyramid.SUMMARY), *parts])
    blocks = entries["block"]
    if (blocks[1:] < blocks[:-1]).any():
        entries = entries[np.argsort(blocks, kind="stable")]
    return pyramid.merge([entries])


def _summaries_below(segment: Segment, name: str, limit: float) -> Summaries:
    entries = segment.pyramid(name)
    if limit == float("inf"):
        return entries
    whole = entries[(entries["block"] + 1) * BLOCK <= limit]
    if len(whole) == len(entries) or not (entries["block"] * BLOCK < limit).any():
        return whole
    stretch, value = segment.values(name)
    step = np.asarray(stretch)
    cut = (step // BLOCK == int(limit) // BLOCK) & (step < limit)
    return np.concatenate([whole, pyramid.summarise(step[cut], value[cut])])
