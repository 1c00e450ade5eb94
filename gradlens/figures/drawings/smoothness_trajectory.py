"""``smoothness_trajectory`` by name."""

from __future__ import annotations

from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.gallery.smoothness_trajectory import smoothness_trajectory

DRAWING = Drawing(smoothness_trajectory, options=(Option("labels", str, "what to call the runs", "+"),))
