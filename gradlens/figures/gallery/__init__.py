"""The figures there are, each a function from results to a figure value."""

from gradlens.figures.gallery.series import grouped_series, series
from gradlens.figures.gallery.threshold_history import threshold_history
from gradlens.figures.gallery.training_dynamics import norm_clouds, training_dynamics

__all__ = ["grouped_series", "norm_clouds", "series", "threshold_history", "training_dynamics"]
