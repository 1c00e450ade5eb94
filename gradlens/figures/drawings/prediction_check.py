"""``prediction_check`` by name: what plain runs predict against what a sweep found, from the runs of both."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import micro_batch_bias, predict_sweet_spot, prediction_pairs
from gradlens.figures.drawing import Drawing
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.prediction_check import prediction_check
from gradlens.store import Run


def _make(runs: Sequence[Run]) -> Figure:
    pairs = prediction_pairs([predict_sweet_spot(run) for run in runs], micro_batch_bias(runs))
    return prediction_check([("Predicted against swept", *pair) for pair in pairs])


DRAWING = Drawing(_make)
