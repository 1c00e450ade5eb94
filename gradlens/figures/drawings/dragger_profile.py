"""``dragger_profile`` by name."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import dragger_profile as profile
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.dragger_profile import dragger_profile
from gradlens.store import Run


def _make(runs: Sequence[Run], draggers: Sequence[str] | None = None) -> Figure:
    return dragger_profile(profile(runs[0], draggers))


DRAWING = Drawing(_make, most=1, options=(Option("draggers", str, "domains whose micro-batches are draggers", "+"),))
