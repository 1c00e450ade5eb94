"""``noise_scale`` by name: the batch size at which a step's gradient is as large as its noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradlens.analysis import noise_scale as measure
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.noise_scale import noise_scale
from gradlens.store import Run


def _make(runs: Sequence[Run], **options: Any) -> Figure:
    return noise_scale(measure(runs[0], **options))


DRAWING = Drawing(_make, most=1, options=(Option("window", int, "measured steps that an average is over"),))
