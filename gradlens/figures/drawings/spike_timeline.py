"""``spike_timeline`` by name: what was unstable in a run, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlens.analysis import stability
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.spike_timeline import spike_timeline
from gradlens.figures.replayed_rule import STEPS
from gradlens.store import Run


def _make(runs: Sequence[Run], steps: tuple[int, int] | None = None, **options: Any) -> Figure:
    return spike_timeline(stability(runs[0], **options), steps)


DRAWING = Drawing(
    _make,
    most=1,
    options=(
        Option("window", int, "recorded steps that a spike is compared with"),
        Option("score", float, "least robust standard deviations of a spike"),
        STEPS,
    ),
)
