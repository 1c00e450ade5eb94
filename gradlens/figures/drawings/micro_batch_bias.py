"""``micro_batch_bias`` by name: what the micro-batch size does, from the runs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import micro_batch_bias as ask
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.micro_batch_bias import micro_batch_bias
from gradlens.store import Run


def _make(
    runs: Sequence[Run], metric: str = "test_accuracy", lr: float | None = None, better: str = "larger"
) -> Figure:
    if better not in ("larger", "smaller"):
        raise ValueError(f"expected better to be 'larger' or 'smaller'; got {better!r}.")
    return micro_batch_bias(ask(runs, metric=metric, larger_is_better=better == "larger"), lr=lr)


DRAWING = Drawing(
    _make,
    options=(
        Option("metric", str, "held-out metric that the runs logged"),
        Option("lr", float, "learning rate to show"),
        Option("better", str, "whether a larger or a smaller metric is better: larger, the default, or smaller"),
    ),
)
