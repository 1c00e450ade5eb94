"""The figures there are, each a function from results to a figure value."""

from gradlens.figures.gallery.micro_batch_bias import micro_batch_bias
from gradlens.figures.gallery.strategy_comparison import strategy_comparison
from gradlens.figures.gallery.threshold_history import threshold_history
from gradlens.figures.gallery.training_dynamics import training_dynamics

__all__ = ["micro_batch_bias", "strategy_comparison", "threshold_history", "training_dynamics"]
