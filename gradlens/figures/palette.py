"""Colours by their role, so that one figure is right on paper, on a light page and on a dark one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gradlens.store import Run

OKABE_ITO: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D00", "#000000")
"""Okabe and Ito's colour-blind safe set, darkest first; the yellow is deepened to stand on white."""

_LIGHT: Final = {
    "ground": "#ffffff",
    "ink": "#1c1f24",
    "muted": "#6b7280",
    "grid": "#eceef1",
    "blank": "#d9dce1",
    "unclipped": "#1f2f86",
    "clipped": "#c8202f",
    **{f"run-{index}": colour for index, colour in enumerate(OKABE_ITO)},
}
_DARK: Final = {
    **_LIGHT,
    "ground": "#17191e",
    "ink": "#e6e8ec",
    "muted": "#9aa1ad",
    "grid": "#2a2e36",
    "blank": "#565c68",
    "unclipped": "#8fa5ff",
    "clipped": "#ff6f76",
    "run-0": "#4aa8e0",
    "run-1": "#ff8a3d",
    "run-2": "#2fc79a",
    "run-3": "#e59bc6",
    "run-4": "#f0b52e",
    "run-6": "#d9c35a",
    "run-7": "#ffffff",
}
HEAT: Final = "Viridis"
"""Colours of values, of one name in both drawing libraries. It holds no grey: blank cells are told from every value."""

BAND: Final = 0.2
"""How much of its colour a band has."""

THEMES: Final = {"light": _LIGHT, "dark": _DARK}


def colour(role: str, theme: str = "light") -> str:
    """The colour of a role in a theme, as ``#rrggbb``.

    >>> colour("unclipped"), colour("unclipped", "dark")
    ('#1f2f86', '#8fa5ff')
    """
    return THEMES[theme][role]


def blend(role: str, amount: float, theme: str = "light") -> str:
    """A colour between the theme's ground (0) and the role's own (1).

    >>> blend("clipped", 0.0), blend("clipped", 1.0)
    ('#ffffff', '#c8202f')
    """
    ground, full = (bytes.fromhex(THEMES[theme][name][1:]) for name in ("ground", role))
    return "#" + bytes(round(g + amount * (f - g)) for g, f in zip(ground, full, strict=True)).hex()


def dashed(role: str) -> bool:
    """Whether lines of a role are dashed: every second run, so that colour is never all that tells runs apart.

    >>> [dashed(role) for role in ("unclipped", "run-0", "run-1")]
    [False, False, True]
    """
    return role.startswith("run-") and int(role.removeprefix("run-")) % 2 == 1


def run_colours(runs: Sequence[Run]) -> tuple[str, ...]:
    """A role for each run: the AutoClip paper's navy and red for a pair of one unclipped and one clipped run.

    Any other choice of runs gets one colour each, by its place.
    """
    return clip_colours([run.clip is not None for run in runs])


def clip_colours(clipped: Sequence[bool]) -> tuple[str, ...]:
    """The same, for what is known of runs: whether each was clipped.

    >>> clip_colours([False, True]), clip_colours([True, True])
    (('unclipped', 'clipped'), ('run-0', 'run-1'))
    """
    if len(clipped) == 1 or sorted(clipped) == [False, True]:
        return tuple("clipped" if is_clipped else "unclipped" for is_clipped in clipped)
    return tuple(f"run-{index % len(OKABE_ITO)}" for index in range(len(clipped)))


def stable_colours(places: Sequence[int], clipped: Sequence[bool]) -> tuple[str, ...]:
    """A role for each of some runs, by its place among all, so that it keeps it from one choice to the next.

    A pair of one unclipped and one clipped run has the AutoClip paper's colours. Where a colour is taken, a run gets
    the next free one, as long as there is one.

    Args:
        places: each run's place among all runs.
        clipped: whether each was clipped.

    >>> stable_colours([3, 11, 4], [False, False, True])
    ('run-3', 'run-5', 'run-4')
    """
    if len(places) == 1 or sorted(clipped) == [False, True]:
        return tuple("clipped" if is_clipped else "unclipped" for is_clipped in clipped)
    count = len(OKABE_ITO)
    wanted = [place % count for place in places]
    found: dict[int, int] = {}
    for index, colour_of in enumerate(wanted):
        if colour_of not in found.values():
            found[index] = colour_of
    free = [number for number in range(count) if number not in found.values()]
    for index, colour_of in enumerate(wanted):
        if index not in found:
            later = [number for number in free if number > colour_of] or free
            found[index] = later[0] if later else colour_of
            free = [number for number in free if number != found[index]]
    return tuple(f"run-{found[index]}" for index in range(len(places)))
