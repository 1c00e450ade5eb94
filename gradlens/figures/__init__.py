"""Figures as values: built once from results, drawn alike on paper and on the page."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradlens.figures.animation import animate
from gradlens.figures.drawing import draw
from gradlens.figures.drawings import DRAWINGS
from gradlens.figures.export import save
from gradlens.figures.figure import Figure
from gradlens.figures.gallery import (
    domain_detections,
    dragger_profile,
    grouped_series,
    landscape_bands,
    layer_clipping,
    layer_heatmap,
    micro_batch_bias,
    noise_scale,
    norm_clouds,
    norm_distribution,
    prediction_check,
    series,
    smoothness_at_loss,
    smoothness_by_group,
    smoothness_difference,
    smoothness_trajectory,
    spike_timeline,
    step_size_safety,
    strategy_comparison,
    sweet_spot,
    threshold_history,
    threshold_sweep,
    training_dynamics,
)
from gradlens.figures.redrawing import redraw

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "DRAWINGS",
    "Figure",
    "animate",
    "domain_detections",
    "dragger_profile",
    "draw",
    "grouped_series",
    "landscape_bands",
    "layer_clipping",
    "layer_heatmap",
    "micro_batch_bias",
    "noise_scale",
    "norm_clouds",
    "norm_distribution",
    "prediction_check",
    "redraw",
    "save",
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
    "to_plotly",
    "training_dynamics",
]


def to_plotly(figure: Figure, theme: str = "light") -> go.Figure:
    """A figure for a notebook: ``to_plotly(figure).show()``.

    Args:
        figure: any figure of the gallery.
        theme: ``"light"`` or ``"dark"``.
    """
    renderer = import_module("gradlens.figures.plotly_renderer")
    return import_module("plotly.graph_objects").Figure(renderer.render(figure, theme))


def __dir__() -> list[Any]:
    return list(__all__)
