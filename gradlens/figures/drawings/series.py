"""``series`` by name: any recorded series of any runs against any clock, or by groups of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gradlens.analysis import Detail, trace
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.series import group_labels, grouped_series, own_scales
from gradlens.figures.gallery.series import series as curves
from gradlens.figures.gallery.training_dynamics import CURVES, run_labels
from gradlens.figures.palette import run_colours
from gradlens.store import Run


def _make(
    runs: Sequence[Run],
    series: Sequence[str] = CURVES,
    clock: str = "step",
    zoom: tuple[float, float] | None = None,
    group: str | None = None,
    smoothing: float = 0.02,
    log: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> Figure:
    if not {*(log or ())} <= {"x", "y", "none"}:
        raise ValueError(f"expected log to name the axes x or y, or none; got {' '.join(log or ())}.")
    roles, texts = run_colours(runs), run_labels(runs) if labels is None else labels
    window = None if zoom is None else (float(zoom[0]), float(zoom[1]))
    made = []
    for name in series:
        scales = own_scales(name) if log is None else ("x" in log, "y" in log)
        traces = [
            trace(run, name, clock=clock, window=window, detail=Detail.of(len(runs)), smoothing=smoothing)
            for run in runs
        ]
        if group is None:
            made.append(curves(traces, texts, roles, smoothing=smoothing, log=scales))
        else:
            made.append(grouped_series(traces, group_labels(runs, group), roles, log=scales))
    panels = tuple(figure.panels[0] for figure in made)
    return replace(
        made[0], panels=panels, caption=" ".join(figure.caption for figure in made), columns=min(2, len(panels))
    )


DRAWING = Drawing(
    _make,
    options=(
        Option("series", str, "names of the series, a panel each", "+"),
        Option("clock", str, "what runs along x, as in step or time"),
        Option("zoom", float, "first and last x to draw", 2),
        Option("group", str, "entry of the configs by which runs are taken together"),
        Option("smoothing", float, "span of the moving average, as a share of the steps"),
        Option("log", str, "axes that are logarithmic, x or y, or none", "+"),
        Option("labels", str, "what to call the runs", "+"),
    ),
)
