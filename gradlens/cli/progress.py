"""Progress of what may take long: on a terminal, on stderr, and gone when it is done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gradlens.cli.output import printable

Advance = Callable[[int, str], None]


@contextmanager
def progress(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Show that something goes on; nothing where stderr is no terminal.

    Args:
        what: what is done, in a word.
        total: how many units there are, None if nobody knows.
        unit: what is counted.

    Yields:
        A function that adds to the units done, and says at what it is now.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _now: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    title, units, now = (TextColumn(text, markup=False) for text in (what, unit, "{task.description}"))
    bar = (BarColumn(), MofNCompleteColumn(), units) if total is not None else ()
    console = Console(stderr=True)
    with Progress(SpinnerColumn(), title, *bar, TimeElapsedColumn(), now, console=console, transient=True) as shown:
        task = shown.add_task("", total=total)
        yield lambda done, at: shown.update(task, advance=done, description=printable(at)[:40])
