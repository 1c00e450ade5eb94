"""How much memory a Parquet footer and a column chunk will take, read from their own structures.

A footer of three megabytes may unfold to a gigabyte of descriptions, and a page of a few hundred bytes to gigabytes of
values. What decompression makes is bound by each page's header alone, so a reader looks before it decodes.
"""

from __future__ import annotations

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 12
_DICTIONARY_PAGE = 2
_DEEPEST = 8
_FEW_PAGES = 64
_VALUES_A_PAGE = 16  # at least, but for a few pages; gradlens' have thousands
_ELEMENTS = 1 << 20


def check_footer(footer: bytes) -> None:
    """Whether the lists of a footer have no more elements than any that gradlens writes; each may take 700 bytes.

    Raises:
        ValueError: if they have, or its bytes are no footer.
    """
    _skip_struct(footer, 0, 0, [_ELEMENTS])


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
        header, at = _struct(chunk, at, 0)
        compressed, uncompressed = header.get(3), header.get(2)
        if not isinstance(compressed, int) or not isinstance(uncompressed, int) or compressed < 0 or uncompressed < 0:
            raise ValueError("a page without sizes")
        at += compressed
        size += uncompressed
        page = header.get(5) or header.get(8)  # data page, first and second kind
        own = header.get(7) if header.get(1) == _DICTIONARY_PAGE else page
        count = own.get(1) if isinstance(own, dict) else None
        if not isinstance(count, int) or count < 0:
            raise ValueError("a page without a number of values")
        if own is page:
            values += count
        elif count > uncompressed:
            raise ValueError("a dictionary of more entries than bytes")
    if at != len(chunk):
        raise ValueError("a page beyond the end")
    return values, size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number without an end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, object], int]:
    """A struct of Thrift's compact protocol: field -> value, and where it ends."""
    if depth > _DEEPEST:
        raise ValueError("a header nested too deep")
    fields: dict[int, object] = {}
    field = 0
    while True:
        if at >= len(data):
            raise ValueError("a header without an end")
        byte = data[at]
        at += 1
        kind = byte & 0x0F
        if kind == _STOP:
            return fields, at
        if byte >> 4:
            field += byte >> 4
        else:
            number, at = _varint(data, at)
            field = (number >> 1) ^ -(number & 1)
        fields[field], at = _value(data, at, kind, depth)


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[object, int]:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, at
    if kind == _BYTE:
        return None, at + 1
    if kind < _DOUBLE:  # whole numbers of 16, 32 and 64 bits
        number, at = _varint(data, at)
        return (number >> 1) ^ -(number & 1), at
    if kind == _DOUBLE:
        return None, at + 8
    if kind == _BINARY:
        length, at = _varint(data, at)
        return None, at + length
    if kind == _STRUCT:
        return _struct(data, at, depth + 1)
    raise ValueError("a value of a kind that neither a page nor a footer has")


def _skip_struct(data: bytes, at: int, depth: int, left: list[int]) -> int:
    """Where a struct ends; ``left`` counts the elements of lists down."""
    if depth > _DEEPEST:
        raise ValueError("a footer nested too deep")
    while True:
        if at >= len(data):
            raise ValueError("a footer without an end")
        byte = data[at]
        at += 1
        if byte == _STOP:
            return at
        if byte < 0x10:
            _, at = _varint(data, at)
        at = _skip(data, at, byte & 0x0F, depth, left)


def _skip(data: bytes, at: int, kind: int, depth: int, left: list[int]) -> int:
    if kind in (_LIST, _SET):
        if at >= len(data):
            raise ValueError("a footer without an end")
        size, kind = data[at] >> 4, data[at] & 0x0F
        at += 1
        if size == 0x0F:
            size, at = _varint(data, at)
        left[0] -= size
        if left[0] < 0:
            raise ValueError("a footer of more parts than a segment has")
        for _ in range(size):
            at = at + 1 if kind in (_TRUE, _FALSE) else _skip(data, at, kind, depth, left)
        return at
    if kind == _STRUCT:
        return _skip_struct(data, at, depth + 1, left)
    return _value(data, at, kind, depth)[1]
