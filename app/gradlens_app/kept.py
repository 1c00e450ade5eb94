"""Answers kept for as long as what they were made of stays as it was, and a note of what that was."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

MOST = 20_000


class Kept:
    """The answers asked for last, each under the identity of what it was computed from.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, of: Hashable, identity: Hashable) -> Any:
        """What is kept; None if it is of another identity, or nothing is."""
        with self._lock:
            kept = self._found.get(of)
            if kept is None or kept[0] != identity:
                return None
            self._found.move_to_end(of)
            return kept[1]

    def put(self, of: Hashable, identity: Hashable, answer: Any) -> None:
        """Keep an answer in the place of an older one."""
        with self._lock:
            self._found[of] = identity, answer
            self._found.move_to_end(of)
            while len(self._found) > self._most:
                self._found.popitem(last=False)


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
