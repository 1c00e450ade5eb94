"""The figures there are, each a function from results to a figure value."""

from gradlens.figures.gallery.domain_detections import domain_detections
from gradlens.figures.gallery.dragger_profile import dragger_profile
from gradlens.figures.gallery.landscape_bands import landscape_bands
from gradlens.figures.gallery.layer_clipping import layer_clipping
from gradlens.figures.gallery.layer_heatmap import layer_heatmap
from gradlens.figures.gallery.micro_batch_bias import micro_batch_bias
from gradlens.figures.gallery.noise_scale import noise_scale
from gradlens.figures.gallery.norm_distribution import norm_distribution
from gradlens.figures.gallery.prediction_check import prediction_check
from gradlens.figures.gallery.series import grouped_series, series
from gradlens.figures.gallery.smoothness_by_group import smoothness_by_group
from gradlens.figures.gallery.smoothness_comparison import smoothness_at_loss, smoothness_difference
from gradlens.figures.gallery.smoothness_trajectory import smoothness_trajectory
from gradlens.figures.gallery.spike_timeline import spike_timeline
from gradlens.figures.gallery.step_size_safety import step_size_safety
from gradlens.figures.gallery.strategy_comparison import strategy_comparison
from gradlens.figures.gallery.sweet_spot import sweet_spot
from gradlens.figures.gallery.threshold_history import threshold_history
from gradlens.figures.gallery.threshold_sweep import threshold_sweep
from gradlens.figures.gallery.training_dynamics import norm_clouds, training_dynamics

__all__ = [
    "domain_detections",
    "dragger_profile",
    "grouped_series",
    "landscape_bands",
    "layer_clipping",
    "layer_heatmap",
    "micro_batch_bias",
    "noise_scale",
    "norm_clouds",
    "norm_distribution",
    "prediction_check",
    "series",
    "smoothness_at_loss",
    "smoothness_by_group",
    "smoothness_difference",
    "smoothness_trajectory",
    "spike_timeline",
    "step_size_safety",
    "strategy_comparison",
    "sweet_spot",
    "threshold_history",
    "threshold_sweep",
    "training_dynamics",
]
