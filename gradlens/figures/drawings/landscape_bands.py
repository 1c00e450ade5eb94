"""``landscape_bands`` by name."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import landscape
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.landscape_bands import landscape_bands
from gradlens.store import Run


def _make(runs: Sequence[Run], labels: Sequence[str] | None = None) -> Figure:
    return landscape_bands([landscape(run) for run in runs], labels=labels)


DRAWING = Drawing(_make, options=(Option("labels", str, "what to call the runs", "+"),))
