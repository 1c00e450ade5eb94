"""Printing for people and for machines."""

from __future__ import annotations

import json
import math
import textwrap
import time
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> None:
    r"""Aligned columns; those in ``right`` to the right. Control characters in names are shown, not obeyed.

    >>> print_table(("name", "steps"), [("a\x1b[31m", "10"), ("long name", "2,000")], right=(1,))
    name       steps
    a\x1b[31m     10
    long name  2,000
    """
    cells = [[printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(head))]
    for row in cells:
        aligned = (
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(aligned).rstrip())


def printable(text: str) -> str:
    r"""Text with its control characters escaped, so that a run's name cannot steer the terminal.

    >>> printable("a\nb")
    'a\\nb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def number(value: float, *, percent: bool = False) -> str:
    """Three significant digits, or ``-`` where there is no number.

    >>> number(1.1), number(12345.6), number(0.5, percent=True), number(float("nan"))
    ('1.10', '12,346', '50.0 %', '-')
    """
    if math.isnan(value):
        return "-"
    if percent:
        return f"{100 * value:.1f} %"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:#.3g}".rstrip(".")


def when(seconds: float) -> str:
    """Seconds since 1970 as local time, or ``-`` where no calendar has such a time.

    >>> when(1e300)
    '-'
    """
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "-"


def print_entry(title: str, value: str) -> None:
    """A title and its value, long values folded under themselves.

    >>> print_entry("status", "finished")
    status            finished
    """
    indent = " " * 18
    text = f"{title:<18}{printable(value)}"
    print(textwrap.fill(text, 110, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))


def print_json(value: Any) -> None:
    """JSON that every parser reads: a number that is not finite is null, an array is a list."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
