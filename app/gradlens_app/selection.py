"""Which runs and which steps are shown: what the address of the Dynamics page and of an export says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

MOST_RUNS = 8
_KEY = re.compile(r"[0-9a-f]{12}")
_STEPS = re.compile(r"([0-9]{1,15})-([0-9]{1,15})")

Steps = tuple[int, int]


class SelectionError(ValueError):
    """An address that asks for something that there is not; the message is for the reader."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What an address selects.

    Attributes:
        keys: keys of the chosen runs, in order; None where the address does not choose.
        steps: first and last step shown; None for all.
    """

    keys: tuple[str, ...] | None = None
    steps: Steps | None = None

    @classmethod
    def parse(cls, search: str) -> Selection:
        """Read the part of an address after the question mark.

        Raises:
            SelectionError: if a value is not of its form.

        >>> Selection.parse("?runs=0123456789ab&steps=10-20")
        Selection(keys=('0123456789ab',), steps=(10, 20))
        """
        try:
            given = dict(parse_qsl(search.lstrip("?"), keep_blank_values=True, max_num_fields=16))
        except ValueError:
            raise SelectionError("Expected an address with runs= and steps=; got one with many more fields.") from None
        return cls.of(given)

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Selection:
        """Read ``runs`` and ``steps``; see :meth:`parse`."""
        keys = None
        if "runs" in given:
            keys = tuple(dict.fromkeys(key for key in given["runs"].split(",") if key))
            if not all(_KEY.fullmatch(key) for key in keys):
                raise SelectionError("runs= expects the keys of runs, twelve hexadecimal digits each, with commas.")
        return cls(keys, _steps(given["steps"]) if given.get("steps") else None)

    def query(self) -> str:
        """The address again, with its question mark.

        >>> Selection(("0123456789ab",), (10, 20)).query()
        '?runs=0123456789ab&steps=10-20'
        """
        text = "?runs=" + ",".join(self.keys or ())
        return text + (f"&steps={self.steps[0]}-{self.steps[1]}" if self.steps else "")


def _steps(text: str) -> Steps:
    match = _STEPS.fullmatch(text)
    if match is None or int(match[1]) >= int(match[2]):
        raise SelectionError("steps= expects a first and a later last step, as in steps=200-800.")
    return int(match[1]), int(match[2])
