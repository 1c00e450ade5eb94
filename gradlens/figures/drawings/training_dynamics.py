"""``training_dynamics`` by name."""

from __future__ import annotations

from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.gallery.training_dynamics import training_dynamics
from gradlens.figures.replayed_rule import STEPS

DRAWING = Drawing(
    training_dynamics,
    options=(
        Option("labels", str, "what to call the runs", "+"),
        Option("smoothing", float, "span of the moving average, as a share of the steps"),
        STEPS,
    ),
)
