"""Answers kept for as long as what they were made of stays as it was, and a note of what that was."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

MOST = 20_000
_SMALL = 64


class Kept:
    """The answers asked for last, each under the identity of what it was computed from.

    Args:
        most: how many are kept.
        most_bytes: what they may take together, as far as whoever puts them says.
    """

    def __init__(self, most: int = MOST, most_bytes: float = float("inf")) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._bytes = 0
        self._found: OrderedDict[Hashable, tuple[Hashable, Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, of: Hashable, identity: Hashable) -> Any:
        """What is kept; None if it is of another identity, or nothing is."""
        with self._lock:
            kept = self._found.get(of)
            if kept is None or kept[0] != identity:
                return None
            self._found.move_to_end(of)
            return kept[1]

    def put(self, of: Hashable, identity: Hashable, answer: Any, size: int = 0) -> None:
        """Keep an answer of so many bytes in the place of an older one."""
        with self._lock:
            self._bytes += size - (self._found[of][2] if of in self._found else 0)
            self._found[of] = identity, answer, size
            self._found.move_to_end(of)
            while len(self._found) > self._most or (self._bytes > self._most_bytes and len(self._found) > 1):
                _, (_, _, gone) = self._found.popitem(last=False)
                self._bytes -= gone


def size_of(answer: object) -> int:
    """About how many bytes an answer takes: those of its arrays, and a few for anything else.

    >>> size_of((np.zeros(100), "text"))
    864
    """
    if isinstance(answer, np.ndarray):
        return answer.nbytes
    if isinstance(answer, (tuple, list)):
        return sum(map(size_of, answer))
    if is_dataclass(answer):
        return sum(size_of(getattr(answer, each.name)) for each in fields(answer))
    return _SMALL


Touched = dict[str, Hashable]
_touched: ContextVar[Touched | None] = ContextVar("touched", default=None)


def touch(key: str, identity: Hashable) -> None:
    """Note that the answer under way depends on something as it is now."""
    found = _touched.get()
    if found is not None:
        found[key] = identity


@contextmanager
def noting() -> Iterator[Touched]:
    """Collect what is touched meanwhile."""
    found: Touched = {}
    token = _touched.set(found)
    try:
        yield found
    finally:
        _touched.reset(token)
