"""``domain_detections`` by name: which domains' micro-batches stand out of their steps."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import domain_detections as detect
from gradlens.figures.drawing import Drawing
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.domain_detections import domain_detections
from gradlens.store import Run


def _make(runs: Sequence[Run]) -> Figure:
    return domain_detections(detect(runs[0]))


DRAWING = Drawing(_make, most=1)
