"""What is shown: the whole state of a page, as its address says it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from gradlens.figures.palette import THEMES
from gradlens.schema import CLOCKS

MOST_RUNS = 100
MOST_FIELDS = 40
_KEY = re.compile(r"[0-9a-f]{12}")
_NUMBER = r"-?[0-9]{1,18}(?:\.[0-9]{1,18})?(?:e[+-]?[0-9]{1,3})?"
_ZOOM = re.compile(rf"({_NUMBER})\.\.({_NUMBER})")

Window = tuple[float, float]


class ViewError(ValueError):
    """An address that asks for something that there is not; the message is for the reader."""


@dataclass(frozen=True, slots=True)
class View:
    """What an address asks for.

    Attributes:
        keys: keys of the chosen runs, in order; None where the address does not choose.
        clock: what the x of curves counts.
        window: first and last x shown; None for all.
        smoothing: share of a series that its moving average spans, 0 for none.
        flipped: axes whose scale is not the chart's own, as ``chart:y``.
        group: the config entry by which runs are taken together; empty for none.
        baseline: key of the run that others are compared with; empty for none.
        theme: ``"light"`` or ``"dark"``; empty where the address leaves it to the browser.
        given: every field as it was given, for the page's own controls.
    """

    keys: tuple[str, ...] | None = None
    clock: str = CLOCKS[0]
    window: Window | None = None
    smoothing: float = 0.02
    flipped: frozenset[str] = frozenset()
    group: str = ""
    baseline: str = ""
    theme: str = ""
    given: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def parse(cls, search: str) -> View:
        """Read the part of an address after the question mark.

        Raises:
            ViewError: if a value is not of its form.

        >>> view = View.parse("?runs=0123456789ab&zoom=10..20&smooth=5")
        >>> view.keys, view.window, view.smoothing
        (('0123456789ab',), (10.0, 20.0), 0.05)
        """
        try:
            given = dict(parse_qsl(search.lstrip("?"), keep_blank_values=True, max_num_fields=MOST_FIELDS))
        except ValueError:
            raise ViewError(f"Expected an address with at most {MOST_FIELDS} fields; got one with more.") from None
        return cls.of(given)

    @classmethod
    def of(cls, given: Mapping[str, str]) -> View:
        """Read the fields of an address; see :meth:`parse`."""
        clock = given.get("x") or CLOCKS[0]
        if clock not in CLOCKS:
            raise ViewError(f"x= expects one of {', '.join(CLOCKS)}.")
        theme = given.get("theme", "")
        if theme not in ("", *THEMES):
            raise ViewError(f"theme= expects one of {', '.join(THEMES)}.")
        return cls(
            keys=_keys("runs", given["runs"]) if "runs" in given else None,
            clock=clock,
            window=_window(given["zoom"]) if given.get("zoom") else None,
            smoothing=percentage("smooth", given["smooth"], 50) / 100 if given.get("smooth") else 0.02,
            flipped=frozenset(part for part in given.get("log", "").split(",") if part),
            group=given.get("group", "")[:200],
            baseline=(_keys("baseline", given.get("baseline", "")) or ("",))[0],
            theme=theme,
            given=dict(given),
        )

    def words(self, name: str) -> tuple[str, ...]:
        """A field that lists names, each with its commas escaped.

        >>> View(given={"series": "loss,a%2Cb"}).words("series")
        ('loss', 'a,b')
        """
        return tuple(dict.fromkeys(unquote(part) for part in self.given.get(name, "").split(",") if part))


def percentage(name: str, text: str, most: float = 100, least: float = 0) -> float:
    """A number from ``least`` to ``most`` out of a field.

    Raises:
        ViewError: if it is none.
    """
    value = float(text) if re.fullmatch(_NUMBER, text) else math.nan
    if not least <= value <= most:
        raise ViewError(f"{name}= expects a number from {least:g} to {most:g}.")
    return value


def positive(name: str, text: str) -> float:
    """A number above 0 out of a field.

    Raises:
        ViewError: if it is none.
    """
    value = float(text) if re.fullmatch(_NUMBER, text) else math.nan
    if not 0 < value < math.inf:
        raise ViewError(f"{name}= expects a number above 0.")
    return value


def _keys(name: str, text: str) -> tuple[str, ...]:
    keys = tuple(dict.fromkeys(key for key in text.split(",") if key))
    if not all(_KEY.fullmatch(key) for key in keys):
        raise ViewError(f"{name}= expects the keys of runs, twelve hexadecimal digits each, with commas.")
    return keys


def _window(text: str) -> Window:
    match = _ZOOM.fullmatch(text)
    ends = (float(match[1]), float(match[2])) if match else (0.0, 0.0)
    if not ends[0] < ends[1] or not all(map(math.isfinite, ends)):
        raise ViewError("zoom= expects a first and a later last x, as in zoom=200..800.")
    return ends
