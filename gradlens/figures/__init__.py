"""Figures as values: built once from results, drawn alike on paper and on the page."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradlens.figures.export import save
from gradlens.figures.figure import Figure
from gradlens.figures.gallery import grouped_series, norm_clouds, series, threshold_history, training_dynamics

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = [
    "Figure",
    "grouped_series",
    "norm_clouds",
    "save",
    "series",
    "threshold_history",
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
