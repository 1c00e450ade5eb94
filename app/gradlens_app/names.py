"""What runs are called, and which colours they have, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gradlens.clipping import describe
from gradlens.figures.gallery.training_dynamics import run_labels
from gradlens.figures.palette import dashed, stable_colours
from gradlens.store import Run
from gradlens_app.data import Entry


def labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """What to call runs side by side, no two alike: by clip or name, with the end of the run id where those repeat."""
    texts = run_labels(runs)
    often = Counter(texts)
    return tuple(
        f"{text} ({run.run_id[-8:]})" if often[text] > 1 else text for text, run in zip(texts, runs, strict=True)
    )


def options(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """The runs as a picker's choices; where names repeat, the clip and the end of the run id tell them apart."""
    often = Counter(entry.run.name for entry in entries)
    return [
        {"value": entry.key, "label": entry.run.name if often[entry.run.name] == 1 else _told_apart(entry.run)}
        for entry in entries
    ]


def _told_apart(run: Run) -> str:
    return f"{run.name}, {describe(run.clip)} ({run.run_id[-8:]})"


def colours(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Each run's role, its own wherever it is shown."""
    clipped = [entry.run.clip is not None for entry in entries]
    return stable_colours([entry.place for entry in entries], clipped)


def swatch(role: str) -> str:
    """The CSS classes of a role's swatch."""
    return f"swatch {role}{' dashed' if dashed(role) else ''}"


def accessible_name(text: str, **attributes: str) -> dict[str, Any]:
    """The attribute that names an element to a screen reader, and others whose names hold a hyphen.

    >>> accessible_name("Close", aria_pressed="true", data_chart="loss")
    {'aria-label': 'Close', 'aria-pressed': 'true', 'data-chart': 'loss'}
    """
    return {"aria-label": text} | {name.replace("_", "-"): value for name, value in attributes.items()}
