"""How much memory a Parquet column chunk will take, read from its pages' own headers.

A file's footer may claim any size; what decompression makes is bound by each page's header alone. A few hundred bytes
may unfold to gigabytes, so a reader looks before it decodes.
"""

from __future__ import annotations

_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12
_DICTIONARY_PAGE = 2
_DEEPEST = 8


def unfolded(chunk: bytes) -> tuple[int, int]:
    """Values and uncompressed bytes in the pages of a column chunk.

    Raises:
        ValueError: if its bytes are no sequence of pages.
    """
    at = values = size = 0
    while at < len(chunk):
        header, at = _struct(chunk, at, 0)
        compressed, uncompressed = header.get(3), header.get(2)
        if not isinstance(compressed, int) or not isinstance(uncompressed, int) or compressed < 0 or uncompressed < 0:
            raise ValueError("a page without sizes")
        at += compressed
        size += uncompressed
        page = header.get(5) or header.get(8)  # data page, first and second kind
        if header.get(1) != _DICTIONARY_PAGE:
            count = page.get(1) if isinstance(page, dict) else None
            if not isinstance(count, int) or count < 0:
                raise ValueError("a page without a number of values")
            values += count
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
    raise ValueError("a header with a list, which no page has")
