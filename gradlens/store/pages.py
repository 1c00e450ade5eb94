"""What a Parquet file says of itself in Thrift: its footer's row groups, and how much memory its pages will take.

Arrow's own account of a footer ends the process where a column's statistics do not fit its type. And both trust the
sizes they are told: a footer of three megabytes may unfold to a gigabyte of descriptions, a page of a few hundred bytes
to gigabytes of values. So a reader looks before it decodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_DICTIONARY_PAGE = 2
_DEEPEST = 8
_FEW_PAGES = 64
_VALUES_A_PAGE = 16  # at least, but for a few pages; gradlens' have thousands
_ELEMENTS = 1 << 19  # in the lists of a footer; Arrow takes up to 700 bytes for each


class Chunk(NamedTuple):
    """What a footer says of one column of one row group.

    Attributes:
        offset: of its first page.
        length: bytes.
        values: how many, nulls included.
        bounds: the smallest and the largest of them as Parquet spells it, None if it is not said.
    """

    offset: int
    length: int
    values: int
    bounds: tuple[bytes, bytes] | None


class Group(NamedTuple):
    """What a footer says of a row group."""

    num_rows: int
    chunks: tuple[Chunk, ...]


def groups_in(footer: bytes) -> list[Group]:
    """The row groups that a footer tells of.

    Raises:
        ValueError: if it is none, or has more parts than any that gradlens writes.
    """
    described, _ = _parsed(footer, 0, _FOOTER)
    groups: list[Group] = described.get(4, [])
    return groups


def _chunk(described: dict[int, Any]) -> Chunk:
    about = described.get(3) or {}
    said = about.get(12) or {}
    bounds = (said[6], said[5]) if said.keys() >= {5, 6} else None
    start, dictionary = _whole(about.get(9)), about.get(11) or 0
    start = dictionary if 0 < dictionary < start else start
    return Chunk(start, _whole(about.get(7)), _whole(about.get(5)), bounds)


def _group(described: dict[int, Any]) -> Group:
    return Group(_whole(described.get(3)), tuple(described.get(1) or ()))


def unfolded(chunk: bytes) -> tuple[int, int]:
    """Values and uncompressed bytes in the pages of a column chunk.

    Raises:
        ValueError: if its bytes are no sequence of pages, or of pages with next to nothing in them.
    """
    at = values = size = pages = 0
    while at < len(chunk):
        if pages > _FEW_PAGES + values // _VALUES_A_PAGE:
            raise ValueError("pages with next to nothing in them")
        pages += 1
        page, at = _parsed(chunk, at, _PAGE)
        uncompressed, compressed = _whole(page.get(2)), _whole(page.get(3))
        dictionary = page.get(1) == _DICTIONARY_PAGE
        own = page.get(7) if dictionary else page.get(5) or page.get(8)  # a data page of the first or second kind
        count = _whole((own or {}).get(1))
        if min(compressed, uncompressed, count) < 0:
            raise ValueError("a page without sizes")
        if not dictionary:
            values += count
        elif count > uncompressed:
            raise ValueError("a dictionary of more entries than bytes")
        at += compressed
        size += uncompressed
    if at != len(chunk):
        raise ValueError("a page beyond the end")
    return values, size


# ---- Thrift's compact protocol ---------------------------------------------------------------------------------------


class _Wanted(NamedTuple):
    """Which fields of a struct to keep, or of each of a list of them, and what to make of them."""

    fields: dict[int, _Wanted | int]
    make: Callable[[dict[int, Any]], Any] = dict
    listed: bool = False


_NUMBER, _BYTES = 0, 1
_OWN = _Wanted({1: _NUMBER})
_PAGE = _Wanted({1: _NUMBER, 2: _NUMBER, 3: _NUMBER, 5: _OWN, 7: _OWN, 8: _OWN})
_ABOUT = _Wanted({5: _NUMBER, 7: _NUMBER, 9: _NUMBER, 11: _NUMBER, 12: _Wanted({5: _BYTES, 6: _BYTES})})
_COLUMN = _Wanted({3: _ABOUT}, _chunk, listed=True)
_FOOTER = _Wanted({4: _Wanted({1: _COLUMN, 3: _NUMBER}, _group, listed=True)})


def _parsed(data: bytes, at: int, wanted: _Wanted) -> tuple[dict[int, Any], int]:
    """The wanted fields of a struct, and where it ends.

    Raises:
        ValueError: if it is none.
    """
    try:
        return _struct(data, at, wanted, 0, [_ELEMENTS])
    except IndexError:
        raise ValueError("a description without an end") from None


def _struct(data: bytes, at: int, wanted: _Wanted, depth: int, left: list[int]) -> tuple[Any, int]:
    if depth > _DEEPEST:
        raise ValueError("a description nested too deep")
    found: dict[int, Any] = {}
    field = 0
    fields = wanted.fields
    while byte := data[at]:
        at += 1
        kind = byte & 0x0F
        if byte > 0x0F:
            field += byte >> 4
        else:
            field, at = _number(data, at)
        want = fields.get(field)
        if want is None:
            at = _skip(data, at, kind, depth, left)
        elif want == _NUMBER and _BYTE < kind < _DOUBLE:
            found[field], at = _number(data, at)
        elif want == _BYTES and kind == _BINARY:
            length, at = _varint(data, at)
            found[field], at = data[at : at + length], at + length
        elif isinstance(want, _Wanted) and kind == (_LIST if want.listed else _STRUCT):
            found[field], at = _structs(data, at, want, depth, left)
        else:
            raise ValueError("a field of the wrong kind")
    return wanted.make(found), at + 1


def _structs(data: bytes, at: int, wanted: _Wanted, depth: int, left: list[int]) -> tuple[Any, int]:
    if not wanted.listed:
        return _struct(data, at, wanted, depth + 1, left)
    size, kind, at = _list(data, at, left)
    if size and kind != _STRUCT:
        raise ValueError("a list of the wrong kind")
    entries = []
    for _ in range(size):
        entry, at = _struct(data, at, wanted, depth + 1, left)
        entries.append(entry)
    return entries, at


def _skip(data: bytes, at: int, kind: int, depth: int, left: list[int]) -> int:
    """Where a value ends."""
    if kind <= _FALSE:
        return at
    if kind < _DOUBLE:
        while kind != _BYTE and data[at] > 0x7F:
            at += 1
        return at + 1
    if kind == _BINARY:
        length, at = _varint(data, at)
        return at + length
    if kind == _STRUCT:
        if depth > _DEEPEST:
            raise ValueError("a description nested too deep")
        while byte := data[at]:
            at += 1
            if byte <= 0x0F:
                _, at = _varint(data, at)
            at = _skip(data, at, byte & 0x0F, depth + 1, left)
        return at + 1
    if kind in (_LIST, _SET):
        size, kind, at = _list(data, at, left)
        if kind <= _BYTE:
            return at + size
        for _ in range(size):
            at = _skip(data, at, kind, depth + 1, left)
        return at
    if kind == _DOUBLE:
        return at + 8
    raise ValueError("a value of no kind")


def _list(data: bytes, at: int, left: list[int]) -> tuple[int, int, int]:
    """Size of a list, kind of its elements, and where they begin."""
    byte = data[at]
    size, at = (byte >> 4, at + 1) if byte < 0xF0 else _varint(data, at + 1)
    if byte & 0x0F > _DOUBLE:
        left[0] -= size
    if left[0] < 0 or size > len(data) - at:  # none takes less than a byte
        raise ValueError("a list of more parts than any that gradlens writes")
    return size, byte & 0x0F, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    if value < 0x80:
        return value, at + 1
    value &= 0x7F
    for shift in range(7, 70, 7):
        at += 1
        value |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return value, at + 1
    raise ValueError("a number without an end")


def _whole(value: object) -> int:
    """A number that may be missing, -1 then."""
    return value if isinstance(value, int) else -1
