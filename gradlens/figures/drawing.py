"""A figure by name: how many runs it draws, what else it takes, and the function that makes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gradlens.figures.figure import Figure, Source
from gradlens.store import Run


@dataclass(frozen=True, slots=True)
class Option:
    """Something that a figure takes beside its runs.

    Attributes:
        name: keyword of the function; ``max_norm`` is ``--max-norm`` on the command line.
        kind: makes a value of a text: ``float``, ``int`` or ``str``.
        help: what it does, in a phrase.
        number: how many values it takes; ``"+"`` for one or more.
    """

    name: str
    kind: Callable[[str], Any]
    help: str
    number: int | str = 1


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure that can be asked for by name.

    Attributes:
        make: from runs, and the options given as keywords, to the figure.
        least: fewest runs that it draws.
        most: most of them, None for any number.
        options: what else it takes.
        example: options to try it with, where it does not go without any.
    """

    make: Callable[..., Figure]
    least: int = 1
    most: int | None = None
    options: tuple[Option, ...] = ()
    example: Mapping[str, Any] = field(default_factory=dict)


def draw(name: str, runs: Sequence[Run], **options: Any) -> Figure:
    """A figure by its name: ``draw("threshold_history", [run], percentile=10)``.

    The figure remembers what it was made of, so that :func:`save` can write a recipe that draws it again.

    Args:
        name: as in ``figures.DRAWINGS``.
        runs: as many as the figure draws.
        **options: as the figure takes them; None is as good as not given.

    Raises:
        ValueError: for a name, a number of runs or an option that there is not.
    """
    from gradlens.figures.drawings import DRAWINGS  # each of them imports this module

    if name not in DRAWINGS:
        raise ValueError(f"expected one of the figures {', '.join(DRAWINGS)}; got {name!r}.")
    drawing = DRAWINGS[name]
    given = {key: value for key, value in options.items() if value is not None}
    _check(name, drawing, len(runs), given)
    return replace(drawing.make(runs, **given), source=Source(name, tuple(runs), given))


def _check(name: str, drawing: Drawing, runs: int, given: Mapping[str, Any]) -> None:
    if runs < drawing.least or (drawing.most is not None and runs > drawing.most):
        raise ValueError(f"{name} draws {_how_many(drawing)}; got {runs}.")
    taken = [option.name for option in drawing.options]
    for key in given:
        if key not in taken:
            raise ValueError(f"{name} takes {', '.join(taken) or 'no options'}; got {key}.")


def _how_many(drawing: Drawing) -> str:
    if drawing.most is None:
        return f"{drawing.least} run{'' if drawing.least == 1 else 's'} or more"
    if drawing.least == drawing.most:
        return "one run" if drawing.most == 1 else f"{drawing.most} runs"
    return f"{drawing.least} to {drawing.most} runs"
