"""The figures there are, each a function from results to a figure value."""

from gradlens.figures.gallery.smoothness_trajectory import smoothness_trajectory
from gradlens.figures.gallery.step_size_safety import step_size_safety
from gradlens.figures.gallery.threshold_history import threshold_history
from gradlens.figures.gallery.training_dynamics import training_dynamics

__all__ = [
    "smoothness_trajectory",
    "step_size_safety",
    "threshold_history",
    "training_dynamics",
]
