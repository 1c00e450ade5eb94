"""``micro_batch_bias`` by name: what the micro-batch size does, from the runs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import micro_batch_bias as ask
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.micro_batch_bias import micro_batch_bias
from gradlens.store import Run


def _make(runs: Sequence[Run], metric: str = "test_accuracy", lr: float | None = None) -> Figure:
    return micro_batch_bias(ask(runs, metric=metric), lr=lr)


DRAWING = Drawing(
    _make,
    options=(
        Option("metric", str, "held-out metric that the runs logged"),
        Option("lr", float, "learning rate to show"),
    ),
)
