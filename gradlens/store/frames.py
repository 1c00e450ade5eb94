"""The bytes of an active log: plain numbers in frames, each with a CRC.

::

    header    "GRADLENS" | u32 version | u32 crc of the next 16 bytes | i64 session | i64 number of the log
    frame     u32 length | u32 crc | length bytes
    layout    u32 0      | JSON: columns, categories, tensors      what the numbers of later rows mean; the first is 1
    row       u32 layout | u32 0 | i64 seq | f64 per column | f32 per tensor value

All numbers are little-endian. The CRC of a frame starts from its session, log, place and length, so that no frame
counts anywhere but where it was written. The first frame that does not check ends the log.

Plain frames rather than an open Parquet or Arrow file: those lose everything without their end, and take one flipped
bit for another number.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.schema import STEP_COLUMNS, is_text

Scalar = float | int | bool | str | None
Row = Mapping[str, Scalar]
Tensors = Mapping[str, NDArray[np.float32]]

MAX_FRAME: Final = 64 << 20
MAX_LAYOUT: Final = 4 << 20
MAX_COLUMNS: Final = 4096
"""Names in the rows of one log, and so columns in a segment."""
_MAGIC = b"GRADLENS"
_VERSION = 1
_HEADER = struct.Struct("<8sIIqq")
_FRAME = struct.Struct("<II")
_PLACE = struct.Struct("<qqqI")
_ROW = struct.Struct("<IIq")


@dataclass(frozen=True, slots=True)
class Layout:
    """What the numbers of a row mean.

    Attributes:
        columns: names of the scalars, ``step`` first.
        tensors: (kind, number of values) of the tensors.
        categories: column -> its texts, for those whose numbers are places in a list of texts.
    """

    columns: tuple[str, ...]
    tensors: tuple[tuple[str, int], ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def values(self) -> int:
        """Tensor values in a row."""
        return sum(count for _, count in self.tensors)

    @property
    def size(self) -> int:
        """Bytes of a row's payload."""
        return _ROW.size + 8 * len(self.columns) + 4 * self.values

    def payload(self) -> bytes:
        """The payload of the frame that defines this layout."""
        entries = {"columns": self.columns, "categories": self.categories, "tensors": self.tensors}
        return struct.pack("<I", 0) + json.dumps(entries).encode()

    @classmethod
    def parse(cls, payload: bytes) -> Layout:
        """Read the payload of a defining frame.

        Raises:
            ValueError: if it defines no layout.
        """
        if len(payload) > MAX_LAYOUT:
            raise ValueError("a layout larger than any that gradlens writes")
        try:
            entries = json.loads(payload[4:])
            columns = tuple(map(sys.intern, entries["columns"]))  # the layouts of a log share most of their names
            tensors = tuple((kind, count) for kind, count in entries["tensors"])
            categories = {name: tuple(texts) for name, texts in entries["categories"].items()}
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError("not a layout") from error
        texts = [*columns, *(kind for kind, _ in tensors), *(text for each in categories.values() for text in each)]
        counts = [count for _, count in tensors]
        if not all(isinstance(text, str) for text in texts) or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("not a layout")
        for text in texts:
            text.encode()  # a lone surrogate is no name
        if columns[:1] != ("step",) or len(set(columns)) < len(columns) or sum(counts) > MAX_FRAME // 4:
            raise ValueError("not a layout")
        return cls(columns, tensors, categories)


def header(session: int, number: int) -> bytes:
    """The first bytes of a log."""
    place = struct.pack("<qq", session, number)
    return _HEADER.pack(_MAGIC, _VERSION, zlib.crc32(place), session, number)


def frame(payload: bytes, session: int, number: int, index: int) -> bytes:
    """A payload as the ``index``-th frame of a log."""
    crc = zlib.crc32(payload, zlib.crc32(_PLACE.pack(session, number, index, len(payload))))
    return _FRAME.pack(len(payload), crc) + payload


class RowEncoder:
    """Turns rows into payloads; rows with the same names share a layout.

    >>> encoder = RowEncoder()
    >>> layout, values = encoder.numbers({"step": 3, "loss": 0.5, "lr": None}, {})
    >>> layout.columns, values
    (('step', 'loss'), [3, 0.5])
    """

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Layout] = {}
        self._numbers: dict[tuple[object, ...], tuple[int, struct.Struct]] = {}

    def numbers(self, row: Row, tensors: Tensors) -> tuple[Layout, list[float]]:
        """A row's layout, and its scalars as numbers; None is left out.

        Raises:
            KeyError: for a row without a step.
            ValueError: for a text that is none of its column's.
        """
        present = {"step": row["step"], **{name: value for name, value in row.items() if value is not None}}
        shapes = tuple((kind, len(values)) for kind, values in tensors.items())
        key = (*present, shapes)
        layout = self._known.get(key)
        if layout is None:
            texts = {name: STEP_COLUMNS[name].categories for name in present if is_text(name)}
            layout = self._known[key] = Layout(tuple(present), shapes, texts)
        for name, admissible in layout.categories.items():
            present[name] = admissible.index(str(present[name]))
        return layout, list(present.values())  # type: ignore[arg-type]  # texts are numbers now

    def number_of(self, layout: Layout) -> int | None:
        """The number under which a log knows a layout, None before :meth:`define`."""
        known = self._numbers.get((layout.columns, layout.tensors))
        return known[0] if known else None

    def define(self, layout: Layout) -> None:
        """The log's next layout is this one."""
        packing = struct.Struct(f"<IIq{len(layout.columns)}d")
        self._numbers[layout.columns, layout.tensors] = len(self._numbers) + 1, packing

    def payload(self, layout: Layout, seq: int, numbers: Sequence[float], tensors: Tensors) -> bytes:
        """A row of a layout that was defined."""
        number, packing = self._numbers[layout.columns, layout.tensors]
        parts = [packing.pack(number, 0, seq, *numbers)]
        parts += [np.ascontiguousarray(values, "<f4").tobytes() for values in tensors.values()]
        return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one layout, in the order of their seq.

    Attributes:
        layout: what the numbers mean.
        seqs: (rows,) int64, each row's place in its session.
        scalars: (rows, columns) float64.
        tensors: (rows, values) float32.
    """

    layout: Layout
    seqs: NDArray[np.int64]
    scalars: NDArray[np.float64]
    tensors: NDArray[np.float32]

    def only(self, chosen: NDArray[np.bool_]) -> Group:
        """Some of the rows."""
        return Group(self.layout, self.seqs[chosen], self.scalars[chosen], self.tensors[chosen])

    @property
    def steps(self) -> NDArray[np.int64]:
        """(rows,) int64."""
        return self.scalars[:, 0].astype(np.int64)


class Scan:
    """Reads a log as it grows.

    Attributes:
        session: whose log it is.
        good: bytes that were read and checked.
        damage: what is wrong with the bytes after them; None where they may be a write under way.
    """

    def __init__(self, session: int, number: int) -> None:
        self.session = session
        self.good = 0
        self.damage: str | None = None
        self._number = number
        self._frames = 0
        self._last = (0, b"")
        self._defined = 0
        self._layouts: list[Layout] = []
        self._payloads: list[list[bytes]] = []

    def feed(self, data: bytes) -> None:
        """Read on: ``data`` are the log's bytes from ``good`` on."""
        at = 0
        self.damage = None
        if self.good == 0:
            expected = header(self.session, self._number)
            if not expected.startswith(data[: len(expected)]):
                self.damage = "it does not begin as a log of gradlens with this name does"
                return
            if len(data) < len(expected):  # young
                return
            at = len(expected)
        view = memoryview(data)
        while len(data) - at >= _FRAME.size:
            length, crc = _FRAME.unpack_from(data, at)
            begin, end = at + _FRAME.size, at + _FRAME.size + length
            if length > MAX_FRAME or length < 4:
                self.damage = "its next frame has an impossible length"
                break
            if end > len(data):
                if not self._begins(data[begin:], length):
                    self.damage = "its next frame has an impossible length"
                break
            seed = zlib.crc32(_PLACE.pack(self.session, self._number, self._frames, length))
            if zlib.crc32(view[begin:end], seed) != crc or not self._take(data[begin:end]):
                self.damage = "its next frame does not match its checksum"
                break
            self._frames += 1
            self._last = self.good + at, data[at:begin]
            at = end
        self.good += at

    def continues(self, read: Callable[[int, int], bytes]) -> bool:
        """Whether a log is the one read so far, by the last frame of it; ``read`` gives bytes from a place on."""
        at, head = self._last
        return read(at, len(head)) == head

    def _begins(self, begun: bytes, length: int) -> bool:
        """Whether bytes may be the begin of a payload of this length whose end is still to be written."""
        kind = int.from_bytes(begun[:4], "little")
        if kind or len(begun) < 4:
            return len(begun) < 4 or (kind <= len(self._layouts) and length == self._layouts[kind - 1].size)
        try:
            json.JSONDecoder().raw_decode(begun[4:].decode(errors="replace"))
        except (ValueError, RecursionError):
            return length <= MAX_LAYOUT
        return False  # a layout that is whole, but not as long as it says

    def _take(self, payload: bytes) -> bool:
        kind = int.from_bytes(payload[:4], "little")
        if kind == 0:
            self._defined += len(payload)
            if self._defined > MAX_FRAME:
                return False
            try:
                self._layouts.append(Layout.parse(payload))
            except ValueError:
                return False
            self._payloads.append([])
            return True
        if kind > len(self._layouts) or len(payload) != self._layouts[kind - 1].size:
            return False
        self._payloads[kind - 1].append(payload)
        return True

    def groups(self) -> list[Group]:
        """The rows so far."""
        found = (_group(layout, kept) for layout, kept in zip(self._layouts, self._payloads, strict=True) if kept)
        return [group for group in found if len(group.seqs)]


def _group(layout: Layout, payloads: Sequence[bytes]) -> Group:
    shape = [
        ("layout", "<u4"),
        ("pad", "<u4"),
        ("seq", "<i8"),
        ("scalars", "<f8", (len(layout.columns),)),
        ("tensors", "<f4", (layout.values,)),
    ]
    rows = np.frombuffer(b"".join(payloads), np.dtype(shape))
    group = Group(layout, rows["seq"], rows["scalars"], rows["tensors"])
    step = rows["scalars"][:, 0]
    possible = (step >= 0) & (step < 2**62) & (rows["seq"] >= 0)  # of a log that gradlens wrote, all are
    return group if possible.all() else group.only(possible)
