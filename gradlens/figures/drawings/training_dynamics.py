"""``training_dynamics`` by name."""

from __future__ import annotations

from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.gallery.training_dynamics import training_dynamics

DRAWING = Drawing(
    training_dynamics,
    options=(
        Option("labels", str, "what to call the runs", "+"),
        Option("smoothing", float, "span of the moving average, as a share of the steps"),
        Option("steps", int, "first and last step to draw", 2),
    ),
)
