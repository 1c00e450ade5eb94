"""Makers of bad folders."""

from __future__ import annotations

import itertools
import json
import math
import os
import shutil
import socket
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from asking import Answers, Truth, ask, forget, wrong

from gradlens.store import Disk, Run, frames, open_runs, pages, segments, session
from gradlens.store.layout import SegmentName
from gradlens.store.pyramid import SUMMARY
from gradlens.store.segments import ends
from gradlens.store.tables import MICRO_BATCH_SCHEMA, TENSOR_SCHEMA

PARAMETERS = [("a.weight", (2, 3), "float32", 0), ("b", (), "float32", 1), ("c", (4,), "float32", 0)]
FIRST, MIDDLE, LAST = 200, 270, 330  # two parts; a block of 256 steps begins in the first
AGAIN = 310  # from where a resumed run goes on
SAMPLE = Path(__file__).parents[2] / "sample_runs/autoclip_digits/runs/20261120-220513-6db90807"


# ---- good runs, and what they hold -----------------------------------------------------------------------------------


def row(step: int) -> dict[str, Any]:
    """The scalars of a step, with every type, nulls, NaN and infinities among them."""
    loss = math.nan if step == 210 else math.inf if step == 300 else 1 / step
    entries = {"step": step, "loss": loss, "clipped": step % 3 == 0, "samples": 7 * step, "grad_norm": math.sqrt(step)}
    if step % 2:
        entries |= {"smoothness": step**2.5, "smoothness_method": "same_batch" if step % 5 else "none: zero step"}
    return entries | ({"late": math.sin(step)} if step >= MIDDLE else {})


def tensors(step: int) -> dict[str, np.ndarray]:
    """The tensors of a step."""
    found = {"grad_norm": np.array([step, 1 / step, math.nan if step % 7 == 0 else -step], np.float32)}
    return found | ({"update_norm": np.array([1, 2, step], np.float32)} if step % 4 == 0 else {})


def micro_batches(step: int) -> dict[str, Any]:
    """The micro-batches of a step, of another number in each, in three of four steps."""
    count = step % 4
    columns = {"loss": [1 / (step + place) for place in range(count)], "samples": [step + 1] * count}
    columns |= {"grad_norm": [math.nan if step % 5 == 0 else step / 8] * count} if step % 2 else {}
    return columns | {"domain": [None, "web", f"book {step}"][:count]} if count else {}


def row_again(step: int) -> dict[str, Any]:
    """The scalars of a step in the second session."""
    return row(step) | {"loss": -1 / step}


def steps_of(part: int) -> range:
    """The steps of the first or the second file."""
    return (range(FIRST, MIDDLE), range(MIDDLE, LAST))[part]


def record(root: Path, name: str, *, sealed: bool = True) -> Path:
    """A run in two segments of each table, or in two logs."""
    turn = session.start(Disk(), root, name, {"config": {"lr": 0.1}}, PARAMETERS, run_id=name)
    for part in (0, 1):
        for step in steps_of(part):
            turn.append(step - FIRST, row(step), tensors(step), micro_batches(step))
        turn.rotate()
        if sealed:
            turn.seal()
    closed = "finished" if sealed else None
    turn.beat({"rows": LAST - FIRST, "dropped": 0, "last_error": None, "closed": closed})
    turn.close()
    return turn.path


def resume(run: Path) -> None:
    """A second session, which takes the last steps anew."""
    turn = session.resume(Disk(), run, {}, PARAMETERS)
    for step in range(AGAIN, LAST):
        turn.append(step - AGAIN, row_again(step), tensors(step), micro_batches(step))
    turn.rotate()
    turn.seal()
    turn.beat({"rows": LAST - AGAIN, "dropped": 0, "last_error": None, "closed": "finished"})
    turn.close()


@cache
def truth(*counts: int, resumed: bool = False) -> Truth:
    """What :func:`record` writes: in segments, or in two logs of which so many rows are left."""
    parts = [list(steps_of(part)) for part in (0, 1)]
    if counts:
        parts = [[step for part, count in zip(parts, counts, strict=True) for step in part[:count]]]
    rows = [[row(step) | {"session": 0, "seq": step - FIRST} for step in part] for part in parts]
    if resumed:
        rows = [[entry for entry in part if entry["step"] < AGAIN] for part in rows]
        rows.append([row_again(step) | {"session": 1, "seq": step - AGAIN} for step in range(AGAIN, LAST)])
    values: dict[str, list[tuple[int, str, float]]] = {}
    blocks: dict[str, list[tuple[Any, ...]]] = {}
    for part in parts:
        for block, kind in itertools.product(sorted({step // 256 for step in part}), ("grad_norm", "update_norm")):
            mine = [step for step in part if step // 256 == block and kind in tensors(step)]
            for place, (name, *_) in enumerate(PARAMETERS if mine else ()):
                numbers = [float(tensors(step)[kind][place]) for step in mine]
                values.setdefault(kind, []).extend(zip(mine, [name] * len(mine), numbers, strict=True))
                finite = [value for value in numbers if math.isfinite(value)] or [math.nan]
                mean = float(np.float32(math.fsum(finite) / len(finite)))
                blocks.setdefault(kind, []).append((256 * block, name, min(finite), max(finite), mean, finite[-1]))
    steps = [step for part in parts for step in part]
    return Truth(rows, values, blocks, [name for name, *_ in PARAMETERS], itertools.chain(*map(measured, steps)))


def measured(step: int) -> list[tuple[Any, ...]]:
    """Step, index, loss, gradient norm, samples and domain of its micro-batches, as float32 has them."""
    given = micro_batches(step)
    count = len(given.get("loss", ()))
    norms = given.get("grad_norm", [None] * count)
    rows = zip(given.get("loss", ()), norms, given.get("samples", ()), given.get("domain", ()), strict=True)
    return [
        (step, place, float(np.float32(loss)), norm, samples, domain)
        for place, (loss, norm, samples, domain) in enumerate(rows)
    ]


def sample_truth() -> Truth:
    """What a run of schema version 1 holds, by plain Parquet."""
    steps = pq.read_table(SAMPLE / "steps").to_pylist()
    parameters = pq.read_table(SAMPLE / "parameters-0.parquet")["name"].to_pylist()
    values: dict[str, list[tuple[int, str, float]]] = {}
    blocks: dict[str, list[tuple[Any, ...]]] = {}
    for entry in pq.read_table(SAMPLE / "tensors").to_pylist():
        start, name = 256 * entry["block"], parameters[entry["parameter"]]
        pairs = zip(entry["offsets"], entry["values"], strict=True)
        values.setdefault(entry["kind"], []).extend((start + offset, name, value) for offset, value in pairs)
        four = (entry[each] for each in ("min", "max", "mean", "last"))
        blocks.setdefault(entry["kind"], []).append((start, name, *four))
    return Truth([steps], values, blocks, parameters)


# ---- Parquet by hand -------------------------------------------------------------------------------------------------


class I64(int):
    """A whole number of 64 bits on disk; others take 32."""


def thrift(value: Any) -> bytes:
    """Thrift's compact protocol of int, I64, bool (in a struct), bytes, list and dict (a struct by field number)."""
    if isinstance(value, dict):
        parts, before = [], 0
        for number, entry in value.items():
            kind = (1 if entry else 2) if isinstance(entry, bool) else _kind(entry)
            short = 0 < number - before < 16
            parts.append(bytes([(number - before) << 4 | kind]) if short else bytes([kind]) + _varint(number << 1))
            parts.append(b"" if isinstance(entry, bool) else thrift(entry))
            before = number
        return b"".join(parts) + b"\0"
    if isinstance(value, list):
        return list_header(len(value), _kind(value[0]) if value else 12) + b"".join(map(thrift, value))
    if isinstance(value, bytes):
        return _varint(len(value)) + value
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def list_header(size: int, kind: int) -> bytes:
    """The first bytes of a list."""
    return bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + _varint(size)


def _kind(value: Any) -> int:
    by_type = {dict: 12, list: 9, bytes: 8, I64: 6, int: 5}
    return by_type[type(value)]


def _varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


INT32, INT64, FLOAT, DOUBLE, TEXT = 1, 2, 4, 5, 6
PLAIN, RLE, DELTA, RLE_DICTIONARY, BYTE_STREAM_SPLIT = 0, 3, 5, 8, 9


@dataclass
class Column:
    """A required flat column of a Parquet file made by hand."""

    name: bytes
    type: int
    pages: bytes
    values: int
    dictionary: int = 0  # length of the dictionary page, the first of the pages
    codec: int = 0
    size: int | None = None  # that the footer claims
    offset: int | None = None
    nested: bool = False
    more: dict[int, Any] = field(default_factory=dict)  # entries of the footer


def page(data: bytes, values: int, encoding: int = PLAIN, unfolded: int | None = None) -> bytes:
    """A data page."""
    own = {1: values, 2: encoding, 3: RLE, 4: RLE}
    return thrift({1: 0, 2: len(data) if unfolded is None else unfolded, 3: len(data), 5: own}) + data


def dictionary(data: bytes, values: int, unfolded: int | None = None) -> bytes:
    """A dictionary page."""
    size = len(data) if unfolded is None else unfolded
    return thrift({1: 2, 2: size, 3: len(data), 7: {1: values, 2: PLAIN}}) + data


def whole(name: bytes, values: Iterable[int]) -> Column:
    """A column of whole numbers."""
    numbers = np.fromiter(values, "<i8")
    return Column(name, INT64, page(numbers.tobytes(), len(numbers)), len(numbers))


def keys(rows: int) -> list[Column]:
    """The columns without which no file is a segment of step records."""
    return [whole(b"step", range(rows)), whole(b"session", [0] * rows), whole(b"seq", range(rows))]


def constant(name: bytes, rows: int, kind: int = DOUBLE) -> Column:
    """A column of the one number 0, small however long, by a dictionary."""
    first = dictionary(bytes(4 if kind in (INT32, FLOAT) else 8), 1)
    repeated = bytes([1]) + _varint(rows << 1) + b"\0"
    return Column(name, kind, first + page(repeated, rows, RLE_DICTIONARY), rows, len(first))


def _runs(*runs: tuple[int, int]) -> bytes:
    """Levels as runs of equal ones."""
    return b"".join(_varint(count << 1) + bytes([level]) for count, level in runs if count)


def lists(name: bytes, rows: int, values: int, kind: int) -> Column:
    """A column of lists of the one number 0: all in the first, the others are empty."""
    repeats = _runs((1, 0), (values - 1, 1), (rows - 1, 0))
    defined = _runs((values, 3), (rows - 1, 1))
    first = dictionary(bytes(4), 1)
    data = b"".join(struct.pack("<I", len(levels)) + levels for levels in (repeats, defined))
    data += bytes([1]) + _varint(values << 1) + b"\0"
    levels = values + rows - 1
    return Column(name, kind, first + page(data, levels, RLE_DICTIONARY), levels, len(first), nested=True)


def parquet(
    columns: Sequence[Column], rows: int, groups: int = 1, group_rows: int | None = None, *, shared: bool = False
) -> bytes:
    """A Parquet file of equal row groups; they may even share their pages."""
    body, described = [b"PAR1"], []
    at = 4
    for group in range(groups):
        chunks = []
        for column in columns:
            offset = at if column.offset is None else column.offset
            size = len(column.pages) if column.size is None else column.size
            path = [column.name, b"list", b"element"] if column.nested else [column.name]
            about = {1: column.type, 2: [PLAIN, RLE, RLE_DICTIONARY], 3: path, 4: column.codec}
            about |= {5: I64(column.values), 6: I64(size), 7: I64(size), 9: I64(offset + column.dictionary)}
            about |= ({11: I64(offset)} if column.dictionary else {}) | column.more
            chunks.append({2: I64(offset), 3: about})
            if not (shared and group):
                body.append(column.pages)
                at += len(column.pages)
        described.append({1: chunks, 2: I64(at), 3: I64(rows // groups if group_rows is None else group_rows)})
        if shared:
            described *= groups
            break
    schema = [{4: b"schema", 5: len(columns)}, *(element for column in columns for element in _elements(column))]
    return b"".join(body) + footer({1: 2, 2: schema, 3: I64(rows), 4: described, 6: b"by hand"})


def _elements(column: Column) -> list[dict[int, Any]]:
    """What the schema says of a column."""
    if not column.nested:
        return [{1: column.type, 3: 0, 4: column.name} | ({6: 0, 10: {1: {}}} if column.type == TEXT else {})]
    leaf = {1: column.type, 3: 1, 4: b"element"} | ({6: 11} if column.type == INT32 else {})
    return [{3: 1, 4: column.name, 5: 1, 6: 3}, {3: 2, 4: b"list", 5: 1}, leaf]


def footer(entries: dict[int, Any] | bytes) -> bytes:
    """The end of a Parquet file."""
    data = entries if isinstance(entries, bytes) else thrift(entries)
    return data + struct.pack("<I", len(data)) + b"PAR1"


# ---- segments of any content, with the right checksums ---------------------------------------------------------------


@dataclass
class Parts:
    """The parts of a segment."""

    body: bytes
    head: Any
    chunks: np.ndarray
    footer: bytes

    @classmethod
    def of(cls, data: bytes) -> Parts:
        """Take a segment apart."""
        end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        length = int.from_bytes(data[end - 8 : end - 4], "little")
        index = data[end - 8 - length : end - 8]
        size = int.from_bytes(index[:4], "little")
        chunks = np.frombuffer(index[8 + size :], ends.CHUNK).copy()
        return cls(data[: end - 8 - length], json.loads(index[8 : 8 + size]), chunks, data[end:])

    @classmethod
    def around(cls, data: bytes, **head: Any) -> Parts:
        """A plain Parquet file as the parts of a segment."""
        end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        metadata = pq.read_metadata(pa.BufferReader(data))
        places = [chunk[:2] for group in pages.groups_in(data[end:]) for chunk in group.chunks]
        chunks = np.zeros(len(places), ends.CHUNK)
        for place, (offset, length) in enumerate(places):
            inside = offset >= 0 <= length
            chunks[place] = (*((offset, length) if inside else (0, 0)), zlib.crc32(data[offset : offset + length]), 0)
        names = metadata.schema.to_arrow_schema().names
        first = {
            "version": 1,
            "rows": metadata.num_rows,
            "first_step": 0,
            "last_step": 0,
            "columns": names,
            "dense": False,
        }
        return cls(data[:end], first | {"thin": False, "pyramids": {}} | head, chunks, data[end:])

    def bytes(self, head: bytes | None = None) -> bytes:
        """The segment."""
        encoded = json.dumps(self.head).encode() if head is None else head
        index = struct.pack("<II", len(encoded), len(self.chunks)) + encoded + self.chunks.tobytes()
        return self.body + index + struct.pack("<I", len(index)) + b"GLIX" + self.footer


def fitting(data: bytes) -> int:
    """The CRC-32 that the name of a segment of these bytes must carry."""
    footer = int.from_bytes(data[-8:-4], "little") + 8
    if data[-footer - 4 : -footer] != b"GLIX":
        return zlib.crc32(data)
    return zlib.crc32(data[-footer - 8 - int.from_bytes(data[-footer - 8 : -footer - 4], "little") :])


def put(run: Path, table: str, data: bytes, rows: tuple[int, int, int] = (0, 1000, 3_000_000)) -> None:
    """Add a segment under the name that its bytes ask for."""
    (run / table / str(SegmentName(*rows, fitting(data)))).write_bytes(data)


def put_table(run: Path, table: str, content: pa.Table, **head: Any) -> None:
    """Add a segment of any table."""
    sink = pa.BufferOutputStream()
    pq.write_table(content, sink, store_schema=False)
    put(run, table, Parts.around(sink.getvalue().to_pybytes(), **head).bytes())


# ---- bad folders: each maker is given a root with a run ``good`` and one of two segments or two logs, ``bad`` --------

CASES: dict[str, Callable[[Path], None]] = {}
SILENT: set[str] = set()
"""Cases in which nothing is wrong that a reader could name."""
CRAFTED: set[str] = set()
"""Cases whose checksums were made to fit: their numbers are what somebody wrote."""
ON_LOGS: set[str] = set()
"""Cases that damage a run of two logs; the others damage one of two segments a table."""

Maker = Callable[[Path], None]


def case(name: str, *kinds: set[str]) -> Callable[[Maker], Maker]:
    """Register a maker."""

    def register(make: Maker) -> Maker:
        assert name not in CASES, name
        CASES[name] = make
        for kind in kinds:
            kind.add(name)
        return make

    return register


def replace(path: Path, content: bytes | str) -> None:
    """Another content, in a file of its own."""
    path.unlink(missing_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)


def sparse(path: Path, size: int, end: bytes = b"") -> None:
    """A file as large as it takes no room for."""
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        file.seek(size - len(end))
        file.write(end)


def first(run: Path, table: str) -> Path:
    """A run's first segment of a table."""
    return min((run / table).iterdir(), key=lambda path: int(path.name.split("-")[2]))


DEEP, DEEPER = "[" * 200 + "]" * 200, "[" * 960 + "]" * 960

# In place of every kind of file, something that is no file.


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def _device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    except OSError:  # only root makes devices, and not everywhere
        path.symlink_to("/dev/zero")


NO_FILES: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: None,
    "a pipe": _pipe,
    "a socket": _socket,
    "a device": _device,
    "a folder": lambda path: path.mkdir(),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to the good run's": lambda path: path.symlink_to(
        Path("../good") / path.name if path.parent.name == "bad" else Path("../../good") / path.parent.name / path.name
    ),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(5000)),
    "a terabyte of nothing": lambda path: sparse(path, 1 << 40),
    "unreadable": lambda path: (path.write_bytes(b"{}"), path.chmod(0)),
}
FILES: dict[str, Callable[[Path], Path]] = {
    "run.json": lambda run: run / "run.json",
    "health-0.json": lambda run: run / "health-0.json",
    "session-1.json": lambda run: run / "session-1.json",
    "parameters-0.parquet": lambda run: run / "parameters-0.parquet",
    "a log": lambda run: run / "active-0-0.log",
    "a steps segment": lambda run: first(run, "steps"),
    "a tensors segment": lambda run: first(run, "tensors"),
    "a micro-batch segment": lambda run: first(run, "micro_batches"),
    "steps": lambda run: run / "steps",
    "tensors": lambda run: run / "tensors",
    "micro_batches": lambda run: run / "micro_batches",
}


def _in_place_of(which: Callable[[Path], Path], make: Callable[[Path], None]) -> Maker:
    def make_bad(root: Path) -> None:
        path = which(root / "bad")
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path)

    return make_bad


for _what, _which in FILES.items():
    for _how in NO_FILES if _what in ("run.json", "a log", "a steps segment", "steps") else tuple(NO_FILES)[1::3]:
        _make = NO_FILES[_how]
        _table = _what in ("steps", "tensors", "micro_batches")
        _quiet = _what == "session-1.json" or (_table and _how == "a folder") or (not _table and _how == "missing")
        _quiet |= (_what, _how) in (("a log", "empty"), ("health-0.json", "unreadable"))  # which root can read
        _quiet |= (_what, _how) == ("micro_batches", "missing")  # as a clone has it of a run without micro-batches
        _kinds = [*([SILENT] if _quiet else []), *([ON_LOGS] if _what == "a log" else [])]
        case(f"{_what}: {_how}", *_kinds)(_in_place_of(_which, _make))

# JSON of any shape.

HOSTILE_JSON = {
    "deep": DEEP,
    "deeper": DEEPER,
    "NaN": "NaN",
    "infinite": "Infinity",
    "too large for a float": "1e999",
    "400 digits": "1" + "0" * 400,
    "minus 400 digits": "-1" + "0" * 400,
    "null": "null",
    "true": "true",
    "minus one": "-1",
    "a fraction": "1.5",
    "a text": '"x"',
    "a lone surrogate": '"\\ud800"',
    "control characters": '"a\\u0000b\\u001b[31m\\nc"',
    "a long text": '"' + "x" * 3_000_000 + '"',
    "a list": "[1, null, {}]",
    "an object": '{"class": [], "kind": 3, "defaults": 4}',
}
_GOOD_JSON = {
    "run.json": ("run_id", "name", "created", "config", "clip", "environment"),
    "health-0.json": ("session", "heartbeat", "rows", "acknowledged", "dropped", "last_error", "closed"),
}
_WHOLE_JSON = {
    "not JSON": "{",
    "a list": "[1]",
    "a text": '"text"',
    "a number": "17",
    "null": "null",
    "nothing in it": "{}",
    "100,000 deep": "[" * 100_000,
    "a number of 5,000 digits": '{"schema_version": 1' + "0" * 5000 + "}",
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "UTF-16": '{"schema_version": 2}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"schema_version": 2}',
    "5 MiB of blanks": b" " * (5 << 20),
    "4 MiB of lists": '{"config": [' + "[]," * 1_390_000 + "[]]}",
    "a key twice": '{"schema_version": 2, "schema_version": [], "dropped": 1, "dropped": {}}',
    "a newer version": '{"schema_version": 99}',
}


def _with_json(name: str, content: str | bytes) -> Maker:
    return lambda root: replace(root / "bad" / name, content)


def _with_entries(name: str, keys: Sequence[str], value: str) -> Maker:
    def make(root: Path) -> None:
        entries = {key: json.dumps(entry) for key, entry in json.loads((root / "bad" / name).read_text()).items()}
        text = ", ".join(f'"{key}": {entry}' for key, entry in (entries | dict.fromkeys(keys, value)).items())
        replace(root / "bad" / name, "{" + text + "}")

    return make


for _name, _keys in _GOOD_JSON.items():
    for _what, _content in _WHOLE_JSON.items():
        case(f"{_name}: {_what}", SILENT)(_with_json(_name, _content))
    for _what, _content in HOSTILE_JSON.items():
        case(f"{_name}: every entry is {_what}", SILENT)(_with_entries(_name, _keys, _content))
for _what, _content in HOSTILE_JSON.items():
    case(f"run.json: the version is {_what}", SILENT)(_with_entries("run.json", ("schema_version",), _content))

# Files of parameters.


def _arrow(**columns: Any) -> bytes:
    data: bytes = segments.parquet_bytes(pa.table(columns))
    return data


def _texts(text: bytes, rows: int) -> Column:
    """A column of one text, small however long, by a dictionary compressed as a whole."""
    plain = struct.pack("<I", len(text)) + text
    packed = pa.compress(plain, "zstd", asbytes=True)
    first = thrift({1: 2, 2: len(plain), 3: len(packed), 7: {1: 1, 2: PLAIN}}) + packed
    places = bytes([1]) + _varint(rows << 1) + b"\0"
    packed = pa.compress(places, "zstd", asbytes=True)
    own = {1: rows, 2: RLE_DICTIONARY, 3: RLE, 4: RLE}
    pages = first + thrift({1: 0, 2: len(places), 3: len(packed), 5: own}) + packed
    return Column(b"name", TEXT, pages, rows, len(first), codec=6)


PARAMETER_FILES: dict[str, Callable[[], bytes]] = {
    "no column of names": lambda: _arrow(id=[0, 1, 2]),
    "names that are numbers": lambda: _arrow(name=[1, 2, 3]),
    "names that are null": lambda: _arrow(name=pa.array([None, "b", None])),
    "names that are lists": lambda: _arrow(name=[["a"], ["b"], []]),
    "names that are bytes": lambda: _arrow(name=[b"\xff", b"\xfe", b""]),
    "names that are not UTF-8": lambda: parquet([Column(b"name", TEXT, page(b"\2\0\0\0\xff\xfe", 1), 1)], 1),
    "no rows": lambda: _arrow(name=pa.array([], pa.string())),
    "2^60 rows": lambda: parquet([_texts(b"a", 5)], 1 << 60, group_rows=1 << 60),
    "minus one rows": lambda: parquet([_texts(b"a", 5)], -1, group_rows=-1),
    "a text of 30 MB a thousand times": lambda: parquet([_texts(bytes(30_000_000), 1000)], 1000),
    "two milliard names": lambda: parquet([_texts(b"a", 2_000_000_000)], 2_000_000_000),
    "a page that unfolds to 4 GB": lambda: parquet([_bomb(b"name", 4_000)], 5),
    "a thousand row groups of a million names": lambda: parquet(
        [_texts(b"a", 1_000_000)], 1_000_000_000, 1000, shared=True
    ),
    "a footer that claims a million columns": lambda: b"PAR1" + footer(million_columns()),
    "a histogram that does not fit its column": lambda: parquet(
        [replace_(_texts(b"a", 5), more={16: {2: [I64(1)] * 9, 3: [I64(1)] * 9}})], 5
    ),
}


def _bomb(name: bytes, megabytes: int) -> Column:
    """A column whose pages unfold to megabytes of zeros."""
    packed = pa.compress(bytes(1_000_000), "zstd", asbytes=True)
    pages = page(packed, 1, unfolded=1_000_000) * megabytes
    return Column(name, TEXT if name == b"name" else DOUBLE, pages, megabytes, codec=6)


def million_columns() -> bytes:
    """A footer of a few bytes whose reader makes room for a million column chunks."""
    return b"\x15\x04\x19\x1c\x48\x01s\x15\x00\x00\x16\x02\x19\x1c\x19" + list_header(1_000_000, 12) + bytes(40)


for _what, _content in PARAMETER_FILES.items():
    case(f"parameters: {_what}", SILENT)(lambda root, c=_content: replace(root / "bad/parameters-0.parquet", c()))

# Names.


@case("names in a run folder")
def _(root: Path) -> None:
    for table in ("steps", "tensors", "micro_batches"):
        data = first(root / "bad", table).read_bytes()
        for name in (
            "part-0.parquet",
            "seg-0-9-3-00000000.parquet",
            "seg-0-0-9-00000000.parquet\n",
            "seg-x\ny.parquet",
        ):
            (root / "bad" / table / name).write_bytes(data)
        for raw in (b"seg-0-0-9-\xff\xfe.parquet", b"\x1b[31m", "seg-٠-٠-٩-00000000.parquet".encode()):
            (root / "bad" / table / os.fsdecode(raw)).write_bytes(data)
    for name in (
        "active-0-99999999999999999999.log",
        "health-9999999999.json",
        "active--1-0.log",
        "session-1.json.tmp",
    ):
        (root / "bad" / name).write_bytes(b"x")


@case("300 files that are no segments")
def _(root: Path) -> None:
    for index in range(300):
        (root / f"bad/steps/seg-0-{index}-{index}-00000000.parquet").write_bytes(b"PAR1")


@case("a hundred sessions that say nothing", SILENT)
def _(root: Path) -> None:
    for index in range(1, 100):
        (root / f"bad/health-{index * 9_999_999}.json").write_bytes(b"{}")


@case("a segment under two ranges of rows", SILENT)
def _(root: Path) -> None:
    path = first(root / "bad", "steps")
    shutil.copy(path, path.with_name(path.name.replace("-0-69-", "-5-80-")))


@case("a segment twice, linked", SILENT)
def _(root: Path) -> None:
    path = first(root / "bad", "steps")
    path.with_name(path.name.replace("seg-0-", "seg-00-")).hardlink_to(path)


@case("two segments, each under the other's name")
def _(root: Path) -> None:
    for table in ("steps", "tensors", "micro_batches"):
        a, b = (root / "bad" / table).iterdir()
        a.rename(a.with_name("x"))
        b.rename(a)
        a.with_name("x").rename(b)


@case("steps and tensors changed places")
def _(root: Path) -> None:
    (root / "bad/steps").rename(root / "bad/x")
    (root / "bad/tensors").rename(root / "bad/steps")
    (root / "bad/x").rename(root / "bad/tensors")


# Segments that somebody made, their checksums right.


def _segment(columns: Callable[[], Sequence[Column]], rows: int, table: str = "steps", **options: Any) -> Maker:
    return lambda root: put(root / "bad", table, Parts.around(parquet(columns(), rows, **options)).bytes())


LONG = 2_000_000
BY_HAND: dict[str, Maker] = {
    "2^60 rows": _segment(lambda: keys(5), 1 << 60),
    "minus five rows": _segment(lambda: keys(5), -5),
    "a row group of 2^40 rows": _segment(lambda: keys(5), 5, group_rows=1 << 40),
    "a row group of minus one rows": _segment(lambda: keys(5), 5, group_rows=-1),
    "fewer rows than values": _segment(lambda: keys(5), 3),
    "more rows than values": _segment(lambda: keys(5), 500),
    "no rows": _segment(lambda: keys(0), 0),
    "no columns": _segment(list, 0),
    "no row groups": _segment(lambda: keys(5), 0, groups=0),
    "5,000 row groups that share their pages": _segment(lambda: keys(400), 400 * 5000, groups=5000, shared=True),
    "a chunk before the file": _segment(lambda: [*keys(5), replace_(constant(b"loss", 5), offset=-100)], 5),
    "a chunk behind the file": _segment(lambda: [*keys(5), replace_(constant(b"loss", 5), offset=1 << 40)], 5),
    "a chunk of 2^62 bytes": _segment(lambda: [*keys(5), replace_(constant(b"loss", 5), size=1 << 62)], 5),
    "a chunk of minus one bytes": _segment(lambda: [*keys(5), replace_(constant(b"loss", 5), size=-1)], 5),
    "a page that unfolds to 2 GiB": _segment(
        lambda: [*keys(5), Column(b"loss", DOUBLE, page(bytes(40), 5, unfolded=2**31 - 1), 5, codec=6)], 5
    ),
    "pages that unfold to 4 GB": _segment(lambda: [*keys(4000), _bomb(b"loss", 4000)], 4000),
    "a million pages without values": _segment(
        lambda: [*keys(5), Column(b"loss", DOUBLE, page(b"", 0) * 1_000_000 + page(bytes(40), 5), 5)], 5
    ),
    "a million pages of a value": _segment(
        lambda: [*_long_keys(), Column(b"loss", DOUBLE, page(bytes(8), 1) * 1_000_000, 1_000_000)], 1_000_000
    ),
    "a text of 30 MB in every row": _segment(
        lambda: [*_long_keys(), replace_(_texts(bytes(30_000_000), LONG), name=b"clip_source")], LONG
    ),
    "a text of 4 KB in every row": _segment(
        lambda: [*_long_keys(), replace_(_texts(bytes(4_000), LONG), name=b"clip_source")], LONG
    ),
    "a text that is not UTF-8": _segment(lambda: [*keys(5), replace_(_texts(b"\xff\xfe", 5), name=b"clip_source")], 5),
    "a dictionary that claims 2^31 - 1 entries": _segment(
        lambda: [*keys(5), replace_(constant(b"loss", 5), pages=_dictionary_of(2**31 - 1))], 5
    ),
    "a dictionary that claims minus one entries": _segment(
        lambda: [*keys(5), replace_(constant(b"loss", 5), pages=_dictionary_of(-1))], 5
    ),
    "two million rows of 20 columns": _segment(
        lambda: [*_long_keys(), *(constant(b"c%d" % i, LONG) for i in range(17))], LONG
    ),
    "two million rows of 300 columns": _segment(
        lambda: [*_long_keys(), *(constant(b"c%d" % i, LONG) for i in range(297))], LONG
    ),
    "2,000 columns": _segment(lambda: [*keys(5), *(constant(b"c%d" % i, 5) for i in range(2000))], 5),
    "a column twice": _segment(lambda: [*keys(5), constant(b"loss", 5), constant(b"loss", 5)], 5),
    "a column without a name": _segment(lambda: [*keys(5), constant(b"", 5)], 5),
    "a column whose name is not UTF-8": lambda root: _renamed(root, b"zz", b"\xff\xfe"),
    "columns whose names are odd": _segment(
        lambda: [*keys(5), *(constant(name, 5) for name in (b"a.b", b"a", b"a.b.c", b"\n", b"\0", b"x" * 100_000))], 5
    ),
    "steps that are not whole": _segment(lambda: [constant(b"step", 5), *keys(5)[1:]], 5),
    "steps that do not ascend": _segment(lambda: [whole(b"step", [5, 3, 3, 9, 0]), *keys(5)[1:]], 5),
    "steps below zero and at the end of the numbers": _segment(
        lambda: [whole(b"step", [-(2**63), -1, 0, 2**62, 2**63 - 1]), *keys(5)[1:], constant(b"loss", 5)], 5
    ),
    "sessions and places that never were": _segment(
        lambda: [whole(b"step", range(5)), whole(b"session", [-1, 9, 2**62, 0, 1]), whole(b"seq", [9, -9, 0, 0, 0])], 5
    ),
    "no step": _segment(lambda: keys(5)[1:], 5),
    "a codec that nobody has": _segment(lambda: [*keys(5), replace_(constant(b"loss", 5), codec=99)], 5),
    "a codec that does not fit": _segment(lambda: [*keys(5), replace_(constant(b"loss", 5), codec=6)], 5),
    "an encoding that nobody has": _segment(
        lambda: [*keys(5), Column(b"loss", DOUBLE, page(bytes(40), 5, encoding=99), 5)], 5
    ),
    "differences without an end": _segment(
        lambda: [*keys(5), Column(b"samples", INT64, page(b"\xff" * 40, 5, encoding=DELTA), 5)], 5
    ),
    "split streams that do not fit": _segment(
        lambda: [*keys(5), Column(b"loss", DOUBLE, page(bytes(39), 5, encoding=BYTE_STREAM_SPLIT), 5)], 5
    ),
    "places beyond the dictionary": _segment(
        lambda: [*keys(5), replace_(constant(b"loss", 5), pages=_dictionary_of(1, b"\x20\x0a\xff\xff\xff\xff"))], 5
    ),
    "bounds too short for their type": _segment(
        lambda: [replace_(column, more={12: {1: b"\1", 2: b"", 5: b"\1", 6: b"\1"}}) for column in keys(5)], 5
    ),
    "a histogram that does not fit its column": _segment(
        lambda: [replace_(column, more={16: {2: [I64(1)] * 9, 3: [I64(1)] * 9}}) for column in keys(5)], 5
    ),
    "noise in place of pages": _segment(
        lambda: [*keys(5), Column(b"loss", DOUBLE, np.random.default_rng(1).bytes(500), 5)], 5
    ),
}
_REPEATED = b"\x01\x0a\x00"


def _renamed(root: Path, old: bytes, new: bytes) -> None:
    """A segment in whose footer a column's name was changed."""
    parts = Parts.around(parquet([*keys(5), constant(old, 5)], 5))
    parts.footer = parts.footer.replace(old, new)
    put(root / "bad", "steps", parts.bytes())


def _dictionary_of(entries: int, places: bytes = _REPEATED) -> bytes:
    return dictionary(bytes(8), entries) + page(places, 5, RLE_DICTIONARY)


def _long_keys() -> list[Column]:
    """Keys of two million rows in a small file."""
    sink = pa.BufferOutputStream()
    schema = pa.schema([pa.field("step", pa.int64(), nullable=False)])
    numbers = pa.table({"step": np.arange(LONG)}, schema=schema)
    encoding = {"step": "DELTA_BINARY_PACKED"}
    pq.write_table(numbers, sink, use_dictionary=False, column_encoding=encoding, compression="zstd")
    data = sink.getvalue().to_pybytes()
    chunk = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(0)
    pages = data[chunk.data_page_offset : chunk.data_page_offset + chunk.total_compressed_size]
    steps = Column(b"step", INT64, pages, LONG, codec=6)
    return [steps, constant_whole(b"session", LONG), replace_(steps, name=b"seq")]


def constant_whole(name: bytes, rows: int) -> Column:
    """A column of the one whole number 0."""
    return replace_(constant(name, rows), type=INT64)


for _what, _make in BY_HAND.items():
    case(f"a steps segment by hand: {_what}", CRAFTED, SILENT)(_make)


def _steps(**columns: Any) -> pa.Table:
    numbers = {name: pa.array([0, 1, 2, 3], pa.int64()) for name in ("step", "session", "seq")}
    return pa.table(numbers | columns)


STEP_TABLES: dict[str, Callable[[], pa.Table]] = {
    "null steps": lambda: _steps(step=pa.array([0, None, 2, None], pa.int64())),
    "only null steps": lambda: _steps(step=pa.nulls(4, pa.int64())),
    "null sessions and places": lambda: _steps(session=pa.nulls(4, pa.int64()), seq=pa.nulls(4, pa.int64())),
    "text for a loss": lambda: _steps(loss=["a", "b", "c", "d"]),
    "times for a loss": lambda: _steps(loss=pa.array([1, 2, 3, 4], pa.timestamp("us"))),
    "decimals for a loss": lambda: _steps(loss=pa.array([1, 2, 3, 4]).cast(pa.decimal128(30, 2))),
    "narrow floats for a loss": lambda: _steps(loss=pa.array([1, 2, 3, 4], pa.float32())),
    "lists for a loss": lambda: _steps(loss=[[1.0], [], None, [2.0]]),
    "structs for a loss": lambda: _steps(loss=[{"a": 1.0}] * 4),
    "whole numbers for a name of the user": lambda: _steps(mine=[1, 2, 3, 4]),
    "texts that no category has": lambda: _steps(clip_source=["<script>", "", "x" * 100, None]),
    "numbers at their ends": lambda: _steps(loss=[1.8e308, -1.8e308, 5e-324, -0.0], time=[np.inf, -np.inf, np.nan, 0]),
}
for _what, _table in STEP_TABLES.items():
    case(f"a steps segment of a table: {_what}", CRAFTED, SILENT)(
        lambda root, table=_table: put_table(root / "bad", "steps", table())
    )


def _one(**entries: Any) -> pa.Table:
    """One row of the table of tensors."""
    row = {"parameter": 0, "kind": "grad_norm", "block": 9, "session": 0, "min": 1.0, "max": 1.0, "mean": 1.0}
    row |= {"last": 1.0, "count": 1, "nonfinite": 0, "offsets": [0], "values": [1.0]} | entries
    return pa.Table.from_pylist([row], TENSOR_SCHEMA)


def _with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, name, column)


def _required(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([each.with_nullable(False) for each in table.schema]))


TENSOR_TABLES: dict[str, Callable[[], pa.Table]] = {
    "more values than offsets": lambda: _one(values=[1.0, 2.0]),
    "more offsets than values": lambda: _one(offsets=[1, 2]),
    "no values": lambda: _one(values=[], offsets=[]),
    "no lists": lambda: _one(values=None, offsets=None),
    "no values within lists": lambda: _one(values=[None], offsets=[None]),
    **{f"null for {name}": lambda name=name: _one(**{name: None}) for name in TENSOR_SCHEMA.names},
    "a parameter below zero": lambda: _one(parameter=-1),
    "a parameter at the end of the numbers": lambda: _one(parameter=2**31 - 1),
    "blocks at the ends of the numbers": lambda: pa.concat_tables([_one(block=2**63 - 1), _one(block=-(2**63))]),
    "counts below zero": lambda: _one(count=-(2**31), nonfinite=-(2**31)),
    "a kind that nobody has": lambda: _one(kind="momentum"),
    "a hundred thousand values": lambda: _one(values=[1.0] * 100_000, offsets=[0] * 100_000),
    "the same row twice": lambda: pa.concat_tables([_one(), _one()]),
    "columns that may not be null": lambda: _required(_one()),
    "a column more": lambda: _one().append_column("more", pa.array([1])),
    "a column less": lambda: _one().drop_columns(["values"]),
    "only a count, but no number of others": lambda: _one().drop_columns(["nonfinite"]),
    "columns in another order": lambda: _one().select(TENSOR_SCHEMA.names[::-1]),
    "bytes for a kind": lambda: _with_column(_one(), "kind", pa.array([b"\xff"])),
    "no rows": lambda: TENSOR_SCHEMA.empty_table(),
}
for _what, _table in TENSOR_TABLES.items():
    case(f"a tensors segment of a table: {_what}", CRAFTED, SILENT)(
        lambda root, table=_table: put_table(root / "bad", "tensors", table())
    )


def _micro_batch(**entries: Any) -> pa.Table:
    """One row of the table of micro-batches."""
    row = {"step": 9, "micro_batch": 0, "session": 0, "seq": 9, "loss": 1.0, "samples": 4, "domain": "web"} | entries
    return pa.Table.from_pylist([row], MICRO_BATCH_SCHEMA)


MICRO_BATCH_TABLES: dict[str, Callable[[], pa.Table]] = {
    **{f"null for {name}": lambda name=name: _micro_batch(**{name: None}) for name in MICRO_BATCH_SCHEMA.names},
    "a step below zero": lambda: _micro_batch(step=-1),
    "a step at the end of the numbers": lambda: _micro_batch(step=2**63 - 1),
    "an index below zero": lambda: _micro_batch(micro_batch=-1),
    "an index at the end of the numbers": lambda: _micro_batch(micro_batch=2**31 - 1),
    "places below zero": lambda: _micro_batch(session=-1, seq=-(2**63)),
    "places at the end of the numbers": lambda: _micro_batch(session=2**63 - 1, seq=2**63 - 1),
    "numbers at their ends": lambda: _micro_batch(loss=3.4e38, cosine=math.nan, scale=-math.inf, samples=-(2**63)),
    "a domain of a megabyte": lambda: _micro_batch(domain="x" * 1_000_000),
    "a domain that is markup": lambda: _micro_batch(domain="<script>alert(1)</script>\0\x1b[31m"),
    "the same row twice": lambda: pa.concat_tables([_micro_batch(), _micro_batch()]),
    "rows in no order": lambda: pa.concat_tables([_micro_batch(step=s, micro_batch=s % 3) for s in (7, 3, 3, 9, 0)]),
    "columns that may not be null": lambda: _required(
        _micro_batch(**dict.fromkeys(("grad_norm", "scale", "cosine", "clip_coef"), 1.0))
    ),
    "a column more": lambda: _micro_batch().append_column("more", pa.array([1])),
    "a column less": lambda: _micro_batch().drop_columns(["samples"]),
    "columns in another order": lambda: _micro_batch().select(MICRO_BATCH_SCHEMA.names[::-1]),
    "bytes for a domain": lambda: _with_column(_micro_batch(), "domain", pa.array([b"\xff"])),
    "a domain that is not UTF-8": lambda: _with_column(_micro_batch(), "domain", pa.array([b"\xff"]).view(pa.string())),
    "lists for a loss": lambda: _with_column(_micro_batch(), "loss", pa.array([[1.0]], pa.list_(pa.float32()))),
    "wide numbers for a loss": lambda: _with_column(_micro_batch(), "loss", pa.array([1.0])),
    "the rows of step records": lambda: _steps(loss=[1.0, 2.0, 3.0, 4.0]),
    "no rows": lambda: MICRO_BATCH_SCHEMA.empty_table(),
}
for _what, _table in MICRO_BATCH_TABLES.items():
    case(f"a micro-batch segment of a table: {_what}", CRAFTED, SILENT)(
        lambda root, table=_table: put_table(root / "bad", "micro_batches", table(), first_step=9, last_step=9)
    )


def _many_micro_batches(rows: int, text: bytes, groups: int = 1) -> Maker:
    """Micro-batches that take no room on disk, all with one text."""

    def make(root: Path) -> None:
        kinds = {pa.int32(): INT32, pa.int64(): INT64, pa.float32(): FLOAT}
        flat = [constant(each.name.encode(), rows, kinds[each.type]) for each in MICRO_BATCH_SCHEMA.remove(10)]
        columns = [*flat, replace_(_texts(text, rows), name=b"domain")]
        data = parquet(columns, groups * rows, groups, group_rows=rows, shared=True)
        put(root / "bad", "micro_batches", Parts.around(data).bytes())

    return make


_ROWS = 1_000_000
case("a micro-batch segment of a million rows that take no room", CRAFTED, SILENT)(_many_micro_batches(_ROWS, b"web"))
case("a micro-batch segment of a thousand million rows", CRAFTED, SILENT)(_many_micro_batches(_ROWS, b"web", 1000))
case("a micro-batch segment of a text of 4 KB in every row", CRAFTED, SILENT)(_many_micro_batches(_ROWS, bytes(4_000)))


def _zeros(rows: int, values: int, groups: int) -> Maker:
    """Row groups of many values that take no room on disk."""

    def make(root: Path) -> None:
        kinds = {pa.int32(): INT32, pa.int64(): INT64, pa.float32(): FLOAT}
        flat = [constant(each.name.encode(), rows, kinds[each.type]) for each in TENSOR_SCHEMA if each.type in kinds]
        columns = [*flat, replace_(_texts(b"grad_norm", rows), name=b"kind")]
        columns += [lists(b"offsets", rows, values, INT32), lists(b"values", rows, values, FLOAT)]
        put(root / "bad", "tensors", Parts.around(parquet(columns, groups * rows, groups)).bytes())

    return make


case("a tensors segment of two million values that take no room", CRAFTED, SILENT)(_zeros(8_000, 2_000_000, 1))
case("a tensors segment whose pages unfold to gigabytes", CRAFTED, SILENT)(_zeros(16_384, 4_100_000, 68))


# The index of a segment.


def _head(**entries: Any) -> Callable[[Parts], bytes]:
    def make(parts: Parts) -> bytes:
        parts.head |= entries
        return parts.bytes()

    return make


def _pyramid(make: Callable[[np.ndarray], np.ndarray]) -> Callable[[Parts], bytes]:
    """Another pyramid for the loss."""

    def changed(parts: Parts) -> bytes:
        offset, count, _ = parts.head["pyramids"]["loss"]
        entries = make(np.frombuffer(parts.body[offset : offset + 48 * count], SUMMARY).copy())
        parts.head["pyramids"]["loss"] = [len(parts.body), len(entries), zlib.crc32(entries.tobytes())]
        parts.body += entries.tobytes()
        return parts.bytes()

    return changed


def _filled(byte: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda entries: np.frombuffer(bytes([byte]) * entries.nbytes, SUMMARY)


PLACES = [
    None, 7, "abc", {"a": 1, "b": 2, "c": 3}, [], [1, 2], [1, 2, 3, 4], ["a", 1, 2], [4, "b", 2], [4, 1, "c"],
    [1.5, 1, 0], [4, 1.5, 0], [math.nan, math.nan, math.nan], [-4, 1, 0], [4, -1, 0], [4, 0, 0], [2**70, 1, 0],
    [4, 2**70, 0], [4, 2**40, 0], [4, [1], 0], [4, True, 0], [4, 1e300, 0], [2**62, 0, 0],
]  # fmt: skip
HEADS: dict[str, Callable[[Parts], bytes]] = {
    "no JSON": lambda parts: parts.bytes(b"{"),
    "nothing": lambda parts: parts.bytes(b""),
    "a list": lambda parts: parts.bytes(b"[]"),
    "an object with nothing in it": lambda parts: parts.bytes(b"{}"),
    "deep": lambda parts: parts.bytes(b'{"pyramids": {}, "x": ' + DEEP.encode() + b"}"),
    "too deep": lambda parts: parts.bytes(b"[" * 100_000),
    "30 MB": lambda parts: parts.bytes(b'{"pyramids": {}, "x": "' + b"x" * 30_000_000 + b'"}'),
    "40 MB": lambda parts: parts.bytes(b'{"pyramids": {}, "x": "' + b"x" * 40_000_000 + b'"}'),
    "30 MB of lists": lambda parts: parts.bytes(b'{"pyramids": {}, "x": [' + b"[]," * 10_000_000 + b"[]]}"),
    "a newer version": _head(version=99),
    "another number of rows": _head(rows=5),
    "dense, from a text on": _head(dense=True, first_step="x"),
    "dense, from nowhere on": _head(dense=True, first_step=None),
    "dense, from below zero on": _head(dense=True, first_step=-5),
    "dense, from NaN on": _head(dense=True, first_step=math.nan),
    "dense, from true on": _head(dense=True, first_step=True),
    "dense, up to the end of the numbers": _head(dense=True, first_step=2**63 - 5),
    "dense, from beyond the numbers on": _head(dense=True, first_step=2**70),
    "from beyond everything on": _head(first_step=10**400, last_step=-1),
    "thin, or not": _head(thin="yes"),
    "pyramids that are a list": _head(pyramids=[1, 2]),
    "pyramids of nothing": _head(pyramids={"nothing": [0, 0, 0], "": [4, 1, 2]}),
    **{f"a pyramid at {place!r:.30}": _head(pyramids={"loss": place}) for place in PLACES},
    "pyramids of zeros": _pyramid(_filled(0)),
    "pyramids of ones": _pyramid(_filled(255)),
    "pyramids at the ends of the numbers": _pyramid(_filled(127)),
    "pyramids backwards": _pyramid(lambda entries: entries[::-1].copy()),
    "pyramids twice": _pyramid(lambda entries: np.concatenate([entries, entries])),
    "pyramids of no entries": _pyramid(lambda entries: entries[:0]),
    "pyramids of a million entries": _pyramid(lambda entries: np.repeat(entries, 500_000)),
}
for _what, _make in HEADS.items():

    def _with_head(root: Path, make: Callable[[Parts], bytes] = _make) -> None:
        path = first(root / "bad", "steps")
        data = make(Parts.of(path.read_bytes()))
        path.unlink()
        put(root / "bad", "steps", data, (0, 0, 69))

    case(f"an index by hand: {_what}", CRAFTED, SILENT)(_with_head)

# Footers.

FOOTERS: dict[str, Callable[[], bytes]] = {
    "of nothing": lambda: footer(b""),
    "of zeros": lambda: footer(bytes(100)),
    "of ones": lambda: footer(b"\xff" * 100),
    "of noise": lambda: footer(np.random.default_rng(3).bytes(400)),
    "that claims a million columns": lambda: footer(million_columns()),
    "that claims a million columns of a schema": lambda: footer(b"\x15\x04\x19" + list_header(10**6, 12) + bytes(50)),
    "that claims 2^31 - 1 columns": lambda: footer(b"\x15\x04\x19" + list_header(2**31 - 1, 12) + bytes(50)),
    "of 1,000,000 column chunks": lambda: footer(_many_chunks(1_000_000)),
    "of 10,000,000 column chunks": lambda: footer(_many_chunks(10_000_000)),
    "of a million notes": lambda: footer(
        b"\x15\x04\x19\x1c\x48\x01s\x15\x00\x00\x16\x00\x19\x0c\x19"
        + list_header(10**6, 12)
        + b"\x18\0\0" * 10**6
        + b"\0"
    ),
    "100,000 structs deep": lambda: footer(b"\xfc" * 100_000),
    "100,000 lists deep": lambda: footer(b"\xf9" + b"\x19" * 100_000),
    "whose root has minus one children": lambda: footer({1: 2, 2: [{4: b"s", 5: -1}], 3: I64(0), 4: [], 6: b"x"}),
    "whose root has a million children": lambda: footer({1: 2, 2: [{4: b"s", 5: 10**6}], 3: I64(0), 4: [], 6: b"x"}),
    "of columns in columns, 5,000 deep": lambda: footer(
        {1: 2, 2: [{4: b"s", 5: 1}] * 5000 + [{1: 2, 4: b"x", 3: 0}], 3: I64(0), 4: [], 6: b"x"}
    ),
    "that is encrypted": lambda: struct.pack("<I", 0) + b"PARE",
    "longer than the file": lambda: struct.pack("<I", 2**31) + b"PAR1",
}


def _many_chunks(number: int) -> bytes:
    """Column chunks of three bytes each, in row groups of a hundred thousand."""
    size = min(number, 100_000)
    group = b"\x19" + list_header(size, 12) + b"\x26\0\0" * size + b"\x16\0\x16\0\0"
    head = b"\x15\x04\x19\x1c\x48\x01s\x15\x00\x00\x16\x00\x19"
    return head + list_header(number // size, 12) + group * (number // size) + b"\0"


for _what, _content in FOOTERS.items():
    for _table in ("steps", "tensors", "micro_batches"):

        def _with_footer(root: Path, table: str = _table, content: Callable[[], bytes] = _content) -> None:
            path = first(root / "bad", table)
            parts = Parts.of(path.read_bytes())
            parts.footer = content()
            path.unlink()
            put(root / "bad", table, parts.bytes())

        case(f"a footer of {_table} {_what}", CRAFTED)(_with_footer)


# Logs.


def log(payloads: Iterable[bytes], number: int = 0) -> bytes:
    """A log of any payloads, its checksums right."""
    content = [frames.frame(payload, 0, number, index) for index, payload in enumerate(payloads)]
    return frames.header(0, number) + b"".join(content)


def _layout(text: str | bytes) -> bytes:
    return bytes(4) + (text.encode() if isinstance(text, str) else text)


def _names(columns: Sequence[str], tensors: Any = (), categories: Any = None) -> bytes:
    return _layout(json.dumps({"columns": columns, "tensors": tensors, "categories": categories or {}}))


def _row(layout: int, seq: int, *numbers: float, values: bytes = b"") -> bytes:
    return struct.pack(f"<IIq{len(numbers)}d", layout, 0, seq, *numbers) + values


def _measured(columns: Any) -> bytes:
    return _layout(json.dumps({"columns": ["step"], "tensors": [], "categories": {}, "micro_batches": columns}))


def _domains(texts: Any) -> bytes:
    return _layout(json.dumps({"domains": texts}))


def _row_of(layout: int, seq: int, count: int, *numbers: float) -> bytes:
    """A row that claims so many micro-batches."""
    return struct.pack(f"<IIq{len(numbers)}d", layout, count, seq, *numbers)


LAYOUTS: dict[str, bytes] = {
    "nothing": _layout(""),
    "no JSON": _layout("{"),
    "a list": _layout("[]"),
    "no keys": _layout("{}"),
    "too deep": _layout("[" * 100_000),
    "columns that are a text": _names("step"),  # type: ignore[arg-type]
    "columns that are numbers": _names([1, 2]),  # type: ignore[list-item]
    "columns that are lists": _names([["step"]]),  # type: ignore[list-item]
    "columns without a step": _names(["loss"]),
    "a column twice": _names(["step", "loss", "loss"]),
    "tensors that are a text": _names(["step"], "ab"),
    "tensors without a number": _names(["step"], [["grad_norm"]]),
    "minus one tensors": _names(["step"], [["grad_norm", -1]]),
    "2^40 tensors": _names(["step"], [["grad_norm", 2**40]]),
    "10^400 tensors": _names(["step"], [["grad_norm", 10**400]]),
    "half a tensor": _names(["step"], [["grad_norm", 0.5]]),
    "true tensors": _names(["step"], [["grad_norm", True]]),
    "tensors of no kind": _names(["step"], [[None, 1]]),
    "categories that are a list": _names(["step"], categories=[1]),
    "categories that are numbers": _names(["step"], categories={"clip_source": 5}),
    "texts that are numbers": _names(["step"], categories={"clip_source": [5]}),
    "a lone surrogate": _layout('{"columns": ["step", "\\ud800"], "tensors": [], "categories": {}}'),
    "not UTF-8": _layout(b'{"columns": ["step", "\xff"], "tensors": [], "categories": {}}'),
    "5 MB": _names(["step", *(f"column {i}" for i in range(300_000))]),
    "micro-batches that are a number": _layout(
        '{"columns": ["step"], "tensors": [], "categories": {}, "micro_batches": 3}'
    ),
    "micro-batches of numbers": _measured([1, 2]),
    "a column of micro-batches twice": _measured(["loss", "loss"]),
    "5,000 columns of micro-batches": _measured([str(i) for i in range(5_000)]),
    "domains that are a text": _domains("web"),
    "domains that are numbers": _domains([1, 2]),
    "domains that are lists": _domains([["web"]]),
    "domains of nothing": _domains(None),
    "a domain of a megabyte": _domains(["x" * 1_000_000]),
    "5,000 domains": _domains([str(i) for i in range(5_000)]),
    "a domain that is a lone surrogate": _layout('{"domains": ["\\ud800"]}'),
}
for _what, _payload in LAYOUTS.items():
    case(f"a log whose layout is: {_what}", ON_LOGS)(
        lambda root, payload=_payload: replace(root / "bad/active-0-0.log", log([payload, _row(1, 0, 0.0)]))
    )

_MICRO = _measured(["loss", "domain"])
_STEP, _BOTH = _names(["step"]), _names(["step", "loss"], [["grad_norm", 2]], {"clip_source": ["a"]})
LOGS: dict[str, Callable[[], bytes]] = {
    "a header": lambda: log([]),
    "half a header": lambda: log([])[:20],
    "another format": lambda: b"NOTALOG!" + log([])[8:],
    "a newer version": lambda: log([])[:8] + b"\3\0\0\0" + log([])[12:],
    "another session": lambda: frames.header(1, 0),
    "another log": lambda: log([_STEP, _row(1, 0, 0.0)], number=1),
    "a frame of 4 GiB": lambda: log([_STEP]) + struct.pack("<II", 2**32 - 1, 0) + bytes(100),
    "a frame of 65 MiB": lambda: log([_STEP]) + struct.pack("<II", 65 << 20, 0) + bytes(100),
    "a frame of 60 MiB that is not there": lambda: log([_STEP]) + struct.pack("<II", 60 << 20, 0) + bytes(100),
    "a frame of nothing": lambda: log([_STEP]) + struct.pack("<II", 0, 0) + bytes(100),
    "a frame of three bytes": lambda: log([_STEP, b"\0\0\0"]),
    "a row before its layout": lambda: log([_row(1, 0, 0.0), _STEP]),
    "a row of a layout to come": lambda: log([_STEP, _row(2, 0, 0.0), _BOTH]),
    "a row of layout 2^32 - 1": lambda: log([_STEP, _row(2**32 - 1, 0, 0.0)]),
    "a row too short": lambda: log([_BOTH, _row(1, 0, 0.0)]),
    "a row too long": lambda: log([_STEP, _row(1, 0, 0.0, 1.0)]),
    "a row of micro-batches that its layout has not": lambda: log([_STEP, _row_of(1, 0, 1, 0.0)]),
    "a row of fewer micro-batches than it says": lambda: log([_MICRO, _row_of(1, 0, 3, 0.0, 1.0, 2.0)]),
    "a row of more micro-batches than it says": lambda: log([_MICRO, _row_of(1, 0, 1, 0.0, 1.0, 2.0, 3.0)]),
    "a row of 2^32 - 1 micro-batches": lambda: log([_MICRO, _row_of(1, 0, 2**32 - 1, 0.0)]),
}
ODD_LOGS: dict[str, Callable[[], bytes]] = {
    "steps that are none": lambda: log(
        [_STEP, *(_row(1, i, s) for i, s in enumerate((math.nan, math.inf, -1.0, 1e300, 2.0**62, 0.5)))]
    ),
    "no row that counts": lambda: log([_STEP, _row(1, -5, 1.0), _row(1, 0, math.nan)]),
    "the same place twice": lambda: log([_STEP, _row(1, 3, 1.0), _row(1, 3, 2.0), _row(1, 3, 1.0)]),
    "places backwards": lambda: log([_STEP, *(_row(1, 9 - i, float(i)) for i in range(9))]),
    "the last place of all": lambda: log([_STEP, _row(1, 2**63 - 1, 7.0)]),
    "steps near the end of the numbers": lambda: log([_STEP, _row(1, 0, 2.0**61), _row(1, 1, 2.0**62 - 2**10)]),
    "two widths of a kind": lambda: log(
        [
            _names(["step"], [["grad_norm", 2]]),
            _names(["step"], [["grad_norm", 3]]),
            _row(1, 0, 0.0, values=bytes(8)),
            _row(2, 1, 1.0, values=bytes(12)),
        ]
    ),
    "a kind twice in a row": lambda: log(
        [_names(["step"], [["grad_norm", 1], ["grad_norm", 1]]), _row(1, 0, 0.0, values=bytes(8))]
    ),
    "tensors of no values": lambda: log([_names(["step"], [["grad_norm", 0]]), _row(1, 0, 0.0)]),
    "a kind that nobody has": lambda: log([_names(["step"], [["x", 1]]), _row(1, 0, 0.0, values=bytes(4))]),
    "categories out of range": lambda: log(
        [
            _names(["step", "clip_source"], categories={"clip_source": ["a"]}),
            *(_row(1, i, float(i), value) for i, value in enumerate((0.0, 1.0, -1.0, math.nan, 1e300, 0.5))),
        ]
    ),
    "categories without texts": lambda: log([_names(["step", "clip_source"]), _row(1, 0, 0.0, 0.0)]),
    "keys among the columns": lambda: log([_names(["step", "session", "seq"]), _row(1, 0, 0.0, 5.0, 7.0)]),
    "columns whose names are odd": lambda: log([_names(["step", "", "\0", "a.b", "\n"]), _row(1, 0, *[0.0] * 5)]),
    "2,000 columns": lambda: log([_names(["step", *map(str, range(1_999))]), _row(1, 0, *[0.0] * 2_000)]),
    "another column in each of 150 rows": lambda: log(
        payload for i in range(150) for payload in (_names(["step", f"c{i}"]), _row(i + 1, i, float(i), 1.0))
    ),
    "1 MB of tensors in a row": lambda: log(
        [_names(["step"], [["grad_norm", 250_000]]), _row(1, 0, 0.0, values=bytes(1_000_000))]
    ),
    "20,000 layouts": lambda: log([_STEP] * 20_000),
    "4 MB of names": lambda: log([_names(["step", *(f"{i:x}" for i in range(400_000))])]),
    "micro-batches of no domain": lambda: log(
        [_MICRO, *(_row_of(1, i, 1, i, 1.0, d) for i, d in enumerate((0, -1, 7, math.nan, 1e300)))]
    ),
    "domains out of range": lambda: log(
        [_MICRO, _domains(["a"]), *(_row_of(1, i, 1, i, 1.0, d) for i, d in enumerate((0, 1, -1, math.nan, 1e300)))]
    ),
    "domains that come twice": lambda: log([_MICRO, _domains(["a", "a"]), _row_of(1, 0, 2, 0.0, 1.0, 0, 1.0, 1)]),
    "a step of no micro-batches": lambda: log([_MICRO, _row_of(1, 0, 0, 0.0)]),
    "keys and strange names among what micro-batches have": lambda: log(
        [_measured(["step", "seq", "\0", "loss"]), _row_of(1, 0, 1, 0.0, 9.0, 9.0, 9.0, 1.0)]
    ),
    "micro-batches at the ends of the numbers": lambda: log(
        [_measured(["loss", "samples"]), _row_of(1, 0, 3, 0.0, 1e300, 1e300, -1e300, -1e300, math.inf, math.inf)]
    ),
    "a hundred thousand micro-batches in a step": lambda: log(
        [_measured(["loss"]), _row_of(1, 0, 100_000, 0.0, *[1.0] * 100_000)]
    ),
    "columns of micro-batches without numbers": lambda: log([_measured([]), _row(1, 0, 0.0)]),
    "50,000 rows": lambda: log([_STEP, *(_row(1, i, float(i)) for i in range(50_000))]),
}
for _what, _content in (LOGS | ODD_LOGS).items():
    _kinds = [CRAFTED, SILENT] if _what in ODD_LOGS or "header" in _what or "not there" in _what else []
    case(f"a log of {_what}", ON_LOGS, *_kinds)(
        lambda root, content=_content: replace(root / "bad/active-0-0.log", content())
    )


@case("two logs, each under the other's name", ON_LOGS)
def _(root: Path) -> None:
    a, b = root / "bad/active-0-0.log", root / "bad/active-0-1.log"
    a.rename(root / "bad/x")
    b.rename(a)
    (root / "bad/x").rename(b)


@case("a log under a second name", ON_LOGS)
def _(root: Path) -> None:
    for name in ("active-0-2.log", "active-1-0.log"):
        shutil.copy(root / "bad/active-0-0.log", root / "bad" / name)


@case("zeros behind a log", ON_LOGS)
def _(root: Path) -> None:
    with (root / "bad/active-0-0.log").open("ab") as file:
        file.write(bytes(8192))


@case("a log twice, by a zero more in its name", ON_LOGS, SILENT)
def _(root: Path) -> None:
    shutil.copy(root / "bad/active-0-0.log", root / "bad/active-00-00.log")


@case("500 empty logs", ON_LOGS, SILENT)
def _(root: Path) -> None:
    for index in range(2, 500):
        (root / f"bad/active-0-{index}.log").write_bytes(b"")


@case("the frames of a log in another order, and twice", ON_LOGS)
def _(root: Path) -> None:
    path = root / "bad/active-0-0.log"
    data = path.read_bytes()
    places, at = [], 32
    while at < len(data):
        size = 8 + int.from_bytes(data[at : at + 4], "little")
        places.append(data[at : at + size])
        at += size
    replace(path, data[:32] + b"".join([*places[:10], *places[11:13], places[10], places[9], *places[13:]]))


# Roots.


@case("links that go round", SILENT)
def _(root: Path) -> None:
    (root / "loop").symlink_to(".")
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "bad/loop").symlink_to("..")
    (root / "deep").mkdir()
    (root / "deep/up").symlink_to("../..")


@case("a run through a link", SILENT)
def _(root: Path) -> None:
    (root / "linked").symlink_to("good")


@case("folders 200 deep", SILENT)
def _(root: Path) -> None:
    (root / "/".join("d" * 200)).mkdir(parents=True)


@case("names that are no text", SILENT)
def _(root: Path) -> None:
    for raw in (b"\xff\xfe", b"a\nb", b"\x1b[31m", b"x" * 255, "؟".encode()):
        shutil.copytree(root / "good", root / os.fsdecode(raw))
    (root / os.fsdecode(b"\xff\xfe/run.json")).write_text("{")


@case("pipes and devices beside the runs", SILENT)
def _(root: Path) -> None:
    for name, make in NO_FILES.items():
        make(root / name)


@case("a run in a run", SILENT)
def _(root: Path) -> None:
    shutil.copytree(root / "good", root / "bad/steps/inner")
    shutil.copytree(root / "good", root / "bad/inner")


@case("nothing but run.json")
def _(root: Path) -> None:
    for path in (root / "bad").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "run.json":
            path.unlink()


GOOD: list[Maker] = [
    _segment(lambda: [*keys(5), constant(b"loss", 5), replace_(_texts(b"observed", 5), name=b"clip_source")], 5),
    lambda root: put_table(root / "bad", "steps", _steps(loss=[1.0, 2.0, None, 4.0])),
    lambda root: put_table(root / "bad", "tensors", _one()),
    lambda root: put_table(root / "bad", "micro_batches", _micro_batch(), first_step=9, last_step=9),
    _zeros(100, 1000, 2),
    _many_micro_batches(1000, b"web"),
]
"""Makers by the same means of what is not bad at all."""


# ---- one of them, asked everything -----------------------------------------------------------------------------------


def exercise(name: str, pristine: str, folder: str) -> dict[str, Any]:
    """Make a bad folder, and ask the bad run everything; the good one beside it must be as it was."""
    root = Path(folder)
    if not root.exists():
        shutil.copytree(Path(pristine) / "sealed", root / "good")
    _clear(root)
    shutil.copytree(Path(pristine) / ("live" if name in ON_LOGS else "sealed"), root / "bad")
    CASES[name](root)
    forget()
    begin = time.process_time()
    runs = open_runs(root)
    assert isinstance(repr(runs), str)
    found = {run.path.name: run for run in runs}
    bad = ask(found["bad"]) if "bad" in found else Answers()
    taken = time.process_time() - begin
    right = truth(*logged(bad)) if name in ON_LOGS else truth()
    shutil.rmtree(root / "bad", ignore_errors=True)
    untouched = all(intact(run) for name, run in found.items() if name != "bad")
    _clear(root)
    return {
        "wrong": [] if name in CRAFTED else wrong(bad, right),
        "problems": [*runs.problems, *bad.problems],
        "untouched": untouched and "good" in found,
        "asking": taken,
    }


def _clear(root: Path) -> None:
    """Leave nothing but the good run."""
    for path in root.iterdir():
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        elif path.name != "good":
            shutil.rmtree(path)


def intact(run: Run) -> bool:
    """Whether a good run is read in full."""
    known = truth()
    given = Answers(run.several("loss", "late", "clipped"), tensors={"grad_norm": run.tensors("grad_norm")})
    given.micro_batches = [run.micro_batches()]
    whole = {name: len(known.series[name][0]) for name in given.series}
    return (
        {name: len(values) for name, (_, values) in given.series.items()} == whole
        and len(given.tensors["grad_norm"]) == len(known.tensors["grad_norm"])
        and len(given.micro_batches[0]) == len(known.micro_batches)
        and not wrong(given, known)
        and not run.problems
    )


def size_of(run: Run) -> int:
    """How many numbers a run gives."""
    return len(run.series("step")[0]) + len(run.tensors("grad_norm")) + len(run.micro_batches())


def logged(found: Answers) -> tuple[int, int]:
    """How many rows of each of the two logs are there."""
    steps, _ = found.series.get("step", (np.empty(0), np.empty(0)))
    return int((steps < MIDDLE).sum()), int((steps >= MIDDLE).sum())
