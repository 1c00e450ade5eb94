"""The bytes of an active log: plain numbers in frames, each with a CRC.

::

    header    "GRADLENS" | u32 version | u32 crc of the next 16 bytes | i64 session | i64 number of the log
    frame     u32 length | u32 crc | length bytes
    layout    u32 0      | JSON: columns, categories, tensors, micro_batches   what the numbers of later rows mean;
                                                                               the first is 1
    domains   u32 0      | JSON: domains                                       further texts of micro-batches
    row       u32 layout | u32 micro-batches | i64 seq | f64 per column | f32 per tensor value
                         | f64 per micro-batch and column of theirs

All numbers are little-endian. The CRC of a frame starts from its session, log, place and length, so that no frame
counts anywhere but where it was written. The first frame that does not check ends the log. A domain is a place among
the log's texts. How many micro-batches a step has is said by its row, so that any number of them needs one layout.
Logs of version 1 have no micro-batches, and zero where their number stands.

Plain frames rather than an open Parquet or Arrow file: those lose everything without their end, and take one flipped
bit for another number.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gradlens.schema import MICRO_BATCH_COLUMNS, MICRO_BATCH_KEYS, STEP_COLUMNS, is_text

Scalar = float | int | bool | str | None
Row = Mapping[str, Scalar]
Tensors = Mapping[str, NDArray[np.float32]]
MicroBatches = Mapping[str, NDArray[Any] | Sequence[float] | Sequence[str | None]]
"""Column -> one value for each micro-batch of the step; texts or None for the domain, numbers for the others."""
NONE: Final[MicroBatches] = MappingProxyType({})
"""Of a step in which they were not measured."""

MAX_FRAME: Final = 64 << 20
MAX_LAYOUT: Final = 4 << 20
MAX_COLUMNS: Final = 4096
"""Names in the rows of one log, and so columns in a segment; and domains in a log."""
MAX_MICRO_BATCHES: Final = 1 << 16
"""Micro-batches of a step."""
MAX_DOMAIN: Final = 255
"""Bytes of a domain's name, so that a million rows of them are no more than memory should hold."""
VERSIONS: Final = (1, 2)
"""Of logs that can be read; the last is written."""
DOMAIN: Final = "domain"
_MAGIC = b"GRADLENS"
_HEADER = struct.Struct("<8sIIqq")
_FRAME = struct.Struct("<II")
_PLACE = struct.Struct("<qqqI")
_ROW = struct.Struct("<IIq")
_MEASURED = MICRO_BATCH_COLUMNS.keys() - set(MICRO_BATCH_KEYS)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the numbers of a row mean.

    Attributes:
        columns: names of the scalars, ``step`` first.
        tensors: (kind, number of values) of the tensors.
        categories: column -> its texts, for those whose numbers are places in a list of texts.
        micro_batches: names of what each micro-batch has.
    """

    columns: tuple[str, ...]
    tensors: tuple[tuple[str, int], ...]
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    micro_batches: tuple[str, ...] = ()

    @property
    def values(self) -> int:
        """Tensor values in a row."""
        return sum(count for _, count in self.tensors)

    @property
    def size(self) -> int:
        """Bytes of a row's payload before its micro-batches."""
        return _ROW.size + 8 * len(self.columns) + 4 * self.values

    @property
    def width(self) -> int:
        """Bytes of a micro-batch."""
        return 8 * len(self.micro_batches)

    def payload(self) -> bytes:
        """The payload of the frame that defines this layout."""
        entries: dict[str, Any] = {"columns": self.columns, "categories": self.categories, "tensors": self.tensors}
        entries |= {"micro_batches": self.micro_batches} if self.micro_batches else {}
        return _defining(entries)

    @classmethod
    def parse(cls, entries: Any) -> Layout:
        """Take what a defining frame says.

        Raises:
            ValueError: if it defines no layout.
        """
        try:
            columns = tuple(map(sys.intern, entries["columns"]))  # the layouts of a log share most of their names
            tensors = tuple((kind, count) for kind, count in entries["tensors"])
            categories = {name: tuple(texts) for name, texts in entries["categories"].items()}
            micro_batches = tuple(entries.get("micro_batches", ()))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not a layout") from error
        texts = [*columns, *(kind for kind, _ in tensors), *(text for each in categories.values() for text in each)]
        counts = [count for _, count in tensors]
        names = len(set(columns)) == len(columns) and len(set(micro_batches)) == len(micro_batches)
        if not _are_texts([*texts, *micro_batches]) or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("not a layout")
        if columns[:1] != ("step",) or not names or not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("not a layout")
        if sum(counts) > MAX_FRAME // 4 or len(micro_batches) > MAX_COLUMNS:
            raise ValueError("not a layout")
        return cls(columns, tensors, categories, micro_batches)


def domains_payload(texts: Sequence[str]) -> bytes:
    """The payload of the frame that adds texts to those that domains are places in."""
    return _defining({"domains": texts})


def parse_domains(entries: Any) -> tuple[str, ...]:
    """The texts that a frame adds.

    Raises:
        ValueError: if they are none, or longer than gradlens writes them.
    """
    texts = entries["domains"]
    if not isinstance(texts, list) or not _are_texts(texts) or any(len(text.encode()) > MAX_DOMAIN for text in texts):
        raise ValueError("not texts that gradlens writes")
    return tuple(texts)


def parse_definition(payload: bytes) -> Any:
    """The JSON of a defining frame.

    Raises:
        ValueError: if it is none.
    """
    if len(payload) > MAX_LAYOUT:
        raise ValueError("a definition larger than any that gradlens writes")
    try:
        return json.loads(payload[4:])
    except RecursionError as error:
        raise ValueError("no definition") from error


def _are_texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) and value.encode() is not None for value in values)  # a lone surrogate is none


def _defining(entries: Mapping[str, Any]) -> bytes:
    return struct.pack("<I", 0) + json.dumps(entries).encode()


def header(session: int, number: int, version: int = VERSIONS[-1]) -> bytes:
    """The first bytes of a log."""
    place = struct.pack("<qq", session, number)
    return _HEADER.pack(_MAGIC, version, zlib.crc32(place), session, number)


def frame(payload: bytes, session: int, number: int, index: int) -> bytes:
    """A payload as the ``index``-th frame of a log."""
    return _FRAME.pack(len(payload), crc_of(payload, session, number, index)) + payload


def crc_of(payload: bytes | memoryview, session: int, number: int, index: int) -> int:
    """The CRC-32 of the ``index``-th frame of a log."""
    return zlib.crc32(payload, zlib.crc32(_PLACE.pack(session, number, index, len(payload))))


def micro_batches_in(micro_batches: MicroBatches) -> int:
    """How many micro-batches there are.

    Raises:
        ValueError: if they are more than a step may have, or not what a log can hold.
    """
    if not micro_batches:
        return 0
    unknown = sorted(micro_batches.keys() - _MEASURED)
    if unknown:
        raise ValueError(f"expected of a micro-batch some of {', '.join(sorted(_MEASURED))}; got {', '.join(unknown)}")
    counts = {len(values) for values in micro_batches.values()}
    if len(counts) > 1:
        raise ValueError(f"expected a value for each micro-batch in every column; got {sorted(counts)} of them")
    (count,) = counts
    if count > MAX_MICRO_BATCHES:
        raise ValueError(f"a step of {count:,} micro-batches has more than the {MAX_MICRO_BATCHES:,} that fit a frame")
    return count


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
        self.domains: dict[str, int] = {}

    def numbers(self, row: Row, tensors: Tensors, micro_batches: Iterable[str] = ()) -> tuple[Layout, list[float]]:
        """A row's layout, and its scalars as numbers; None is left out.

        Raises:
            KeyError: for a row without a step.
            ValueError: for a text that is none of its column's.
        """
        present = {"step": row["step"], **{name: value for name, value in row.items() if value is not None}}
        shapes = tuple((kind, len(values)) for kind, values in tensors.items())
        measured = tuple(micro_batches)
        key = (*present, shapes, measured)
        layout = self._known.get(key)
        if layout is None:
            texts = {name: STEP_COLUMNS[name].categories for name in present if is_text(name)}
            layout = self._known[key] = Layout(tuple(present), shapes, texts, measured)
        for name, admissible in layout.categories.items():
            present[name] = admissible.index(str(present[name]))
        return layout, list(present.values())  # type: ignore[arg-type]  # texts are numbers now

    def number_of(self, layout: Layout) -> int | None:
        """The number under which a log knows a layout, None before :meth:`define`."""
        known = self._numbers.get((layout.columns, layout.tensors, layout.micro_batches))
        return known[0] if known else None

    def define(self, layout: Layout) -> None:
        """The log's next layout is this one."""
        packing = struct.Struct(f"<IIq{len(layout.columns)}d")
        self._numbers[layout.columns, layout.tensors, layout.micro_batches] = len(self._numbers) + 1, packing

    def new_domains(self, micro_batches: MicroBatches) -> tuple[str, ...]:
        """Texts of micro-batches that the log does not know yet, in their order.

        Raises:
            ValueError: for one that no log can hold.
        """
        if DOMAIN not in micro_batches:
            return ()
        new = tuple(t for t in dict.fromkeys(micro_batches[DOMAIN]) if t is not None and t not in self.domains)
        for text in new:
            if not isinstance(text, str) or len(text.encode()) > MAX_DOMAIN:
                raise ValueError(f"expected a domain to be a text of at most {MAX_DOMAIN} bytes; got {text!r:.60}")
        return new

    def add_domains(self, texts: Sequence[str]) -> None:
        """The log's next texts are these."""
        for text in texts:
            self.domains[text] = len(self.domains)

    def payload(
        self, layout: Layout, seq: int, numbers: Sequence[float], tensors: Tensors, micro_batches: MicroBatches
    ) -> bytes:
        """A row of a layout that was defined, and of texts that were added."""
        number, packing = self._numbers[layout.columns, layout.tensors, layout.micro_batches]
        measured = self._packed(micro_batches) if micro_batches else None
        parts = [packing.pack(number, 0 if measured is None else len(measured), seq, *numbers)]
        parts += [np.ascontiguousarray(values, "<f4").tobytes() for values in tensors.values()]
        if measured is not None:
            parts.append(measured.tobytes())
        return b"".join(parts)

    def _packed(self, micro_batches: MicroBatches) -> NDArray[np.float64]:
        """(micro-batches, columns) of numbers; a domain is its place, NaN where there is none."""
        columns = [
            [math.nan if text is None else self.domains[text] for text in values] if name == DOMAIN else values  # type: ignore[index]
            for name, values in micro_batches.items()
        ]
        return np.stack([np.asarray(values, "<f8") for values in columns], axis=1)
