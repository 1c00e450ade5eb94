"""Reading an active log as it grows: its rows, up to the first frame that does not check."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.store.frames import (
    MAX_COLUMNS,
    MAX_FRAME,
    MAX_LAYOUT,
    VERSIONS,
    Layout,
    crc_of,
    header,
    parse_definition,
    parse_domains,
)

_FRAME: Final = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Measured:
    """The micro-batches of some rows.

    Attributes:
        counts: (rows,) int64, how many each row has.
        values: (micro-batches of all rows, columns) float64, in the order of rows and micro-batches.
        domains: the texts that the numbers of the domain's column are places in.
    """

    counts: NDArray[np.int64]
    values: NDArray[np.float64]
    domains: tuple[str, ...]

    def only(self, chosen: NDArray[np.bool_]) -> Measured:
        """Those of some of the rows."""
        return Measured(self.counts[chosen], self.values[np.repeat(chosen, self.counts)], self.domains)


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one layout, in the order of their seq.

    Attributes:
        layout: what the numbers mean.
        seqs: (rows,) int64, each row's place in its session.
        scalars: (rows, columns) float64.
        tensors: (rows, values) float32.
        micro_batches: theirs; None in a layout without.
    """

    layout: Layout
    seqs: NDArray[np.int64]
    scalars: NDArray[np.float64]
    tensors: NDArray[np.float32]
    micro_batches: Measured | None = None

    def only(self, chosen: NDArray[np.bool_]) -> Group:
        """Some of the rows."""
        measured = None if self.micro_batches is None else self.micro_batches.only(chosen)
        return Group(self.layout, self.seqs[chosen], self.scalars[chosen], self.tensors[chosen], measured)

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
        self._sizes: list[tuple[int, int]] = []
        self._domains: list[str] = []
        self._payloads: list[list[bytes]] = []

    def feed(self, data: bytes) -> None:
        """Read on: ``data`` are the log's bytes from ``good`` on."""
        at = 0
        self.damage = None
        if self.good == 0:
            known = [header(self.session, self._number, version) for version in VERSIONS]
            expected = next((each for each in known if each.startswith(data[: len(each)])), None)
            if expected is None:
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
            known_crc = crc_of(view[begin:end], self.session, self._number, self._frames)
            if known_crc != crc or not self._take(data[begin:end]):
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
            return len(begun) < 8 or self._is_row(kind, length, begun)
        try:
            json.JSONDecoder().raw_decode(begun[4:].decode(errors="replace"))
        except (ValueError, RecursionError):
            return length <= MAX_LAYOUT
        return False  # a layout that is whole, but not as long as it says

    def _take(self, payload: bytes) -> bool:
        kind = int.from_bytes(payload[:4], "little")
        if kind == 0:
            return self._define(payload)
        if not self._is_row(kind, len(payload), payload):
            return False
        self._payloads[kind - 1].append(payload)
        return True

    def _is_row(self, kind: int, length: int, begun: bytes) -> bool:
        """Whether a row of this layout that begins so, by 8 bytes at least, is as long as it must be."""
        if kind > len(self._sizes):
            return False
        size, width = self._sizes[kind - 1]
        count = int.from_bytes(begun[4:8], "little")
        return length == size + count * width and (width > 0 or not count)

    def _define(self, payload: bytes) -> bool:
        self._defined += len(payload)
        if self._defined > MAX_FRAME:
            return False
        try:
            entries = parse_definition(payload)
            if isinstance(entries, dict) and "domains" in entries:
                self._domains += parse_domains(entries)
                return len(self._domains) <= MAX_COLUMNS
            layout = Layout.parse(entries)
        except ValueError:
            return False
        self._layouts.append(layout)
        self._sizes.append((layout.size, layout.width))
        self._payloads.append([])
        return True

    def groups(self) -> list[Group]:
        """The rows so far."""
        domains = tuple(self._domains)
        kept = zip(self._layouts, self._payloads, strict=True)
        found = (_group(layout, payloads, domains) for layout, payloads in kept if payloads)
        return [group for group in found if len(group.seqs)]


def _group(layout: Layout, payloads: Sequence[bytes], domains: tuple[str, ...]) -> Group:
    shape = [
        ("layout", "<u4"),
        ("micro_batches", "<u4"),
        ("seq", "<i8"),
        ("scalars", "<f8", (len(layout.columns),)),
        ("tensors", "<f4", (layout.values,)),
    ]
    size, measured = layout.size, None
    if not layout.micro_batches:
        rows = np.frombuffer(b"".join(payloads), np.dtype(shape))
    else:
        rows = np.frombuffer(b"".join(payload[:size] for payload in payloads), np.dtype(shape))
        values = np.frombuffer(b"".join(payload[size:] for payload in payloads), "<f8")
        counts = rows["micro_batches"].astype(np.int64)
        measured = Measured(counts, values.reshape(-1, len(layout.micro_batches)), domains)
    group = Group(layout, rows["seq"], rows["scalars"], rows["tensors"], measured)
    step = rows["scalars"][:, 0]
    possible = (step >= 0) & (step < 2**62) & (rows["seq"] >= 0)  # of a log that gradlens wrote, all are
    return group if possible.all() else group.only(possible)
