"""``threshold_sweep`` by name: how much AutoClip, or a fixed norm, would have clipped against its parameter."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import threshold_sweep as sweep
from gradlens.clipping import autoclip, fixed
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.threshold_sweep import threshold_sweep
from gradlens.store import Run

PERCENTILES = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 99.0, 100.0)


def _make(
    runs: Sequence[Run], percentiles: Sequence[float] | None = None, max_norms: Sequence[float] | None = None
) -> Figure:
    if percentiles is not None and max_norms is not None:
        raise ValueError("threshold_sweep sweeps one rule: give percentiles or max_norms.")
    make, values = (autoclip, percentiles or PERCENTILES) if max_norms is None else (fixed, max_norms)
    return threshold_sweep(sweep(runs[0], make, values))


DRAWING = Drawing(
    _make,
    most=1,
    options=(
        Option("percentiles", float, "replay AutoClip at each of these percentiles", "+"),
        Option("max_norms", float, "replay each of these fixed norms", "+"),
    ),
)
