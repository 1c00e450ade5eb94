"""Seeded damage to each kind of file, and whether a reader was deceived by it."""

from __future__ import annotations

import json
import random
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from asking import Answers, Truth, ask, forget, wrong
from hostile import DEEPER, HOSTILE_JSON, Parts, fitting, intact, logged, sample_truth, truth

from gradlens.store import Run, open_runs, pages
from gradlens.store.frames import frame
from gradlens.store.layout import SegmentName

Region = tuple[int, int]
Mutator = Callable[[bytes, random.Random, list[Region], bytes], bytes]

# ---- damage ----------------------------------------------------------------------------------------------------------


def _flip(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        changed[_place(rng, regions)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    place, size = _place(rng, regions), rng.choice((1, 2, 8, 64, 512, 4096))
    size = min(size, len(data) - place)
    new = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size), other[place : place + size]))
    return data[:place] + new + data[place + len(new) :]


def _truncate(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    return data[: _place(rng, regions)]


def _insert(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    place, size = _place(rng, regions), rng.choice((1, 2, 8, 100, 4096))
    return data[:place] + rng.choice((bytes(size), rng.randbytes(size), data[place : place + size])) + data[place:]


def _remove(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    place = _place(rng, regions)
    return data[:place] + data[place + rng.choice((1, 2, 8, 100, 4096)) :]


def _splice(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    place = _place(rng, regions)
    return data[:place] + other[rng.choice((place, rng.randrange(len(other)))) :]


def _move(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    """Two stretches change places."""
    (a, b), size = sorted((_place(rng, regions), _place(rng, regions))), rng.choice((1, 8, 64, 256))
    size = min(size, b - a)
    return data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]


def _append(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    return data + rng.choice((bytes(rng.randrange(1, 9000)), rng.randbytes(50), data[-100:], other, data))


ANY: tuple[Mutator, ...] = (_flip, _flip, _flip, _overwrite, _truncate, _insert, _remove, _splice, _move, _append)


def _place(rng: random.Random, regions: list[Region]) -> int:
    """A place in any of the regions, the small as likely as the large."""
    begin, length = rng.choice(regions)
    return begin + rng.randrange(length)


def _reframe(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    """Frames of a log dropped, moved, doubled, or replaced by another log's."""
    frames, foreign = list(_frames(data)), list(_frames(other))
    a, b = rng.randrange(len(frames)), rng.randrange(len(frames))
    how = rng.randrange(5)
    if how == 0:
        del frames[a : a + rng.choice((1, 1, 5))]
    elif how == 1:
        frames[a], frames[b] = frames[b], frames[a]
    elif how == 2:
        frames.insert(a, frames[b])
    elif how == 3:
        frames[a] = foreign[min(a, len(foreign) - 1)]
    else:
        frames[a:] = foreign[a:]
    return data[:32] + b"".join(frames)


def _frames(data: bytes) -> Iterator[bytes]:
    at = 32
    while at < len(data):
        size = 8 + int.from_bytes(data[at : at + 4], "little")
        yield data[at : at + size]
        at += size


def _entry(data: bytes, rng: random.Random, regions: list[Region], other: bytes) -> bytes:
    """An entry of a JSON object replaced, dropped or added."""
    entries = {key: json.dumps(value) for key, value in json.loads(data).items()}
    for _ in range(rng.choice((1, 1, 2, 4))):
        key = rng.choice([*entries, "schema_version", "clip", "environment", "more"])
        entries[key] = rng.choice([*HOSTILE_JSON.values(), DEEPER, "[]", "{}", '""', "0", "2", "false"])
        if rng.random() < 0.2:
            del entries[key]
    return ("{" + ", ".join(f'"{key}": {value}' for key, value in entries.items()) + "}").encode()


# ---- the same with the checksums made to fit -------------------------------------------------------------------------


def reseal(data: bytes) -> bytes:
    """A segment or a log whose checksums are right again, whatever its pages, pyramids or frames are."""
    try:
        return _resealed_log(data) if data[:8] == b"GRADLENS" else _resealed_segment(data)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, OverflowError, IndexError):
        return data  # there is nothing any more that could be right


def _resealed_segment(data: bytes) -> bytes:
    parts = Parts.of(data)
    for chunk, (offset, length) in zip(parts.chunks, parts.chunks[["offset", "length"]].tolist(), strict=True):
        chunk["crc"] = zlib.crc32(parts.body[offset : offset + length])
    for name, (offset, count, _) in parts.head["pyramids"].items():
        parts.head["pyramids"][name] = [offset, count, zlib.crc32(parts.body[offset : offset + 48 * count])]
    return parts.bytes()


def _resealed_log(data: bytes) -> bytes:
    return data[:32] + b"".join(frame(each[8:], 0, 0, index) for index, each in enumerate(_frames(data)))


# ---- the files -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        run: which of the pristine runs has it.
        file: its place there, a pattern.
        mutators: what is done to it.
        regions: its parts, each of which is to be hit.
        tables: what is asked most.
    """

    run: str
    file: str
    mutators: tuple[Mutator, ...]
    regions: Callable[[bytes], list[Region]]
    tables: tuple[str, ...] = ("steps", "tensors", "micro_batches")


def _everywhere(data: bytes) -> list[Region]:
    return [(0, len(data))]


def _log_regions(data: bytes) -> list[Region]:
    found, at = [(0, 8), (8, 8), (16, 16)], 32
    for each in _frames(data):
        found += [(at, 4), (at + 4, 4), (at + 8, len(each) - 8)]
        at += len(each)
    return found


def _parquet_regions(data: bytes) -> list[Region]:
    """Each column chunk's first header, the rest of it, and everything behind them by its parts."""
    found = [(0, 4)]
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for group in pages.groups_in(data[footer:]):
        for chunk in group.chunks:
            _, end = pages._parsed(data, chunk.offset, pages._PAGE)
            found += [(chunk.offset, end - chunk.offset), (end, chunk.offset + chunk.length - end)]
    found += [(footer, len(data) - 8 - footer), (len(data) - 8, 8)] * 3
    if data[footer - 4 : footer] == b"GLIX":
        parts = Parts.of(data)
        found += [(offset, 48 * count) for offset, count, _ in parts.head["pyramids"].values()]
        index, head = len(parts.body), len(parts.body) + 8
        entries = head + int.from_bytes(data[index : index + 4], "little")
        found += [(index, 8), (head, entries - head), (entries, footer - 8 - entries), (footer - 8, 8)] * 3
    return [(begin, length) for begin, length in found if length > 0]


FORMATS: dict[str, Format] = {
    "run.json": Format("sealed", "run.json", (*ANY, *[_entry] * 10), _everywhere, ()),
    "health": Format("sealed", "health-0.json", (*ANY, *[_entry] * 10), _everywhere, ()),
    "session": Format("resumed", "session-1.json", (*ANY, *[_entry] * 10), _everywhere, ()),
    "parameters": Format("sealed", "parameters-0.parquet", ANY, _parquet_regions, ("tensors",)),
    "log": Format("live", "active-0-0.log", (*ANY, _reframe, _reframe, _reframe), _log_regions),
    "steps": Format("sealed", "steps/seg-0-0-*.parquet", ANY, _parquet_regions, ("steps",)),
    "tensors": Format("sealed", "tensors/seg-0-0-*.parquet", ANY, _parquet_regions, ("tensors",)),
    "micro-batches": Format("sealed", "micro_batches/seg-0-0-*.parquet", ANY, _parquet_regions, ("micro_batches",)),
    "steps of version 1": Format("old", "steps/seg-0-0-*.parquet", ANY, _parquet_regions, ("steps",)),
    "tensors of version 1": Format("old", "tensors/seg-0-0-*.parquet", ANY, _parquet_regions, ("tensors",)),
}
ADVERSARIES = {
    "random": "only the bytes are changed",
    "renamed": "the checksum in the name is made to fit, the others are not",
    "resealed": "all checksums are made to fit, so that numbers may be what somebody made of them",
    "deceiving": "the same, but taken for wrong numbers",
}


@cache
def _prepared(name: str, pristine: str) -> tuple[bytes, list[Region], bytes, str]:
    """Bytes, regions, bytes of another file of the kind, and place of a format's file."""
    kind = FORMATS[name]
    (path,) = (Path(pristine) / kind.run).glob(kind.file)
    data = path.read_bytes()
    others = [each for each in sorted(path.parent.iterdir()) if each != path and each.suffix == path.suffix]
    other = others[0].read_bytes() if others and others[0].is_file() else data[::-1]
    return data, kind.regions(data), other, str(path.relative_to(Path(pristine) / kind.run))


def mutation(case: tuple[str, str, int], pristine: str, folder: str) -> dict[str, Any]:
    """Damage a file once, ask its run, and put the file back."""
    name, adversary, seed = case
    rng = random.Random(f"{name} {adversary} {seed}")
    kind = FORMATS[name]
    data, regions, other, place = _prepared(name, pristine)
    root = Path(folder)
    for run, source in (("good", "sealed"), (kind.run, kind.run)):
        if not (root / run).exists():
            shutil.copytree(Path(pristine) / source, root / run)
    changed = data
    while changed == data:
        changed = rng.choice(kind.mutators)(data, rng, regions, other)
    changed = reseal(changed) if adversary in ("resealed", "deceiving") else changed
    path = root / kind.run / place
    path.unlink(missing_ok=True)  # it is missing if the process was killed in the case before
    bad = path if adversary == "random" or name == "log" else path.with_name(_fitting_name(path.name, changed))
    bad.write_bytes(changed)
    begin = time.process_time()
    try:
        short = name == "log" and len(changed) < len(data)  # as if the rest were still to be written
        deceived = adversary in ("random", "deceiving")
        return _judged(root, kind, rng, deceived=deceived, may_be_under_way=short, begin=begin)
    finally:
        bad.unlink()
        path.write_bytes(data)


def _fitting_name(name: str, data: bytes) -> str:
    known = SegmentName.parse(name)
    assert known is not None
    try:
        crc = fitting(data)
    except (IndexError, ValueError):
        crc = zlib.crc32(data)
    return str(SegmentName(known.session, known.first, known.last, crc))


def _judged(
    root: Path, kind: Format, rng: random.Random, *, deceived: bool, may_be_under_way: bool, begin: float
) -> dict[str, Any]:
    """What was wrong: numbers, if any may be, and losses that nobody named."""
    forget()
    runs = open_runs(root)
    found = {run.path.name: run for run in runs}
    answers = _some(found[kind.run], kind, rng) if kind.run in found else Answers(problems=runs.problems)
    taken = time.process_time() - begin
    if kind.run == "resumed":  # a block that two sessions share has a row from each; test_pyramid looks at those
        answers.blocks = {}
    right = known_truth(kind.run, *(logged(answers) if kind.run == "live" else ()))
    result: dict[str, Any] = {"asking": taken, "read": bool(answers.size)}
    if deceived:
        result["wrong"] = wrong(answers, right)
        lost = _incomplete(answers, kind, known_truth(kind.run))
        result["unnamed"] = lost and not (answers.problems or may_be_under_way)
    result["untouched"] = "good" in found and (rng.random() > 0.02 or intact(found["good"]))
    return result


def _some(run: Run, kind: Format, rng: random.Random) -> Answers:
    """Some of the answers that a damaged file may be part of; everything, now and then."""
    if rng.random() < 0.01:
        return ask(run)
    found = Answers()
    if not kind.tables:
        assert run.status in ("finished", "stopped", "running")
        assert isinstance(repr(run), str)
        assert all(session.rows >= 0 for session in run.sessions)
        found.series, found.problems = run.several("loss", "clipped"), run.problems
        return found
    if "steps" in kind.tables:
        names = run.columns
        found.series = run.several(*names)
        for name in rng.sample(sorted(found.series), min(2, len(found.series))):
            found.pyramids[name] = run.pyramid(name)
        if names and rng.random() < 0.5:
            try:
                found.frames = [run.steps()]
            except ValueError as error:
                assert "no readable rows" in str(error), error  # noqa: PT017
    if "tensors" in kind.tables:
        found.tensors["grad_norm"] = run.tensors("grad_norm")
        if rng.random() < 0.5:
            found.blocks["grad_norm"] = run.tensor_blocks("grad_norm")
        found.parameters = run.parameters
    if "micro_batches" in kind.tables:
        found.micro_batches = [run.micro_batches(superseded=rng.random() < 0.5)]
    if rng.random() < 0.1 or _incomplete(found, kind, known_truth(kind.run)):
        found.problems = run.verify()
    return found


def _incomplete(found: Answers, kind: Format, right: Truth) -> bool:
    """Whether numbers or names are missing."""
    lengths = {name: len(values) for name, (_, values) in found.series.items()}
    expected = {name: len(values) for name, (_, values) in right.series.items()}
    return (
        ("steps" in kind.tables and lengths != expected)
        or any(len(frame) < len(right.tensors[kind]) for kind, frame in found.tensors.items() if frame is not None)
        or (bool(found.tensors) and not found.parameters)
        or any(len(frame) < len(right.micro_batches) for frame in found.micro_batches)
    )


@cache
def known_truth(run: str, *counts: int) -> Truth:
    """What a pristine run holds."""
    return sample_truth() if run == "old" else truth(*counts, resumed=run == "resumed")
