"""The training-dynamics figure as it grows: the same panels and limits, drawn up to one step after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from gradlens.analysis import NormSmoothness, norm_smoothness
from gradlens.figures.figure import Axis, Figure, Hexbin, Limits, Line, Mark, Panel, Points, Rule
from gradlens.figures.gallery.training_dynamics import training_dynamics
from gradlens.store import Run

_CURVES = 2


def growing(
    runs: Sequence[Run], frames: int, *, labels: Sequence[str] | None = None, smoothing: float = 0.02
) -> tuple[Figure, Iterator[Figure]]:
    """The whole figure, and what of it there was at evenly spaced steps.

    The curves and hexagons grow, and the dotted line is the threshold that the clip had at that step, as in the
    animations that the authors of AutoClip publish. Moving averages, limits and correlations are of the whole runs.

    Args:
        runs: as for :func:`training_dynamics`.
        frames: how many, at least 2; the last one is the whole figure.
        labels: as for :func:`training_dynamics`.
        smoothing: as for :func:`training_dynamics`.

    Raises:
        ValueError: for fewer than 2 frames, or what :func:`training_dynamics` refuses.
    """
    if frames < 2:
        raise ValueError(f"an animation has 2 frames or more; got {frames}.")
    answers = [norm_smoothness(run) for run in runs]
    whole = training_dynamics(runs, labels=labels, smoothing=smoothing, answers=answers)
    whole = replace(whole, panels=tuple(_fixed(panel) for panel in whole.panels))
    ends = [run.series("step")[0][[0, -1]] for run in runs if "step" in run.columns]
    first, last = (min(end[0] for end in ends), max(end[1] for end in ends)) if ends else (0, 0)
    history = [run.series("clip_threshold") if "clip_threshold" in run.columns else None for run in runs]
    at = np.linspace(first, last, frames)

    def panels(step: float) -> Iterator[Panel]:
        yield from (_grown(panel, step) for panel in whole.panels[:_CURVES])
        for panel, answer, thresholds in zip(whole.panels[_CURVES:], answers, history, strict=True):
            yield _filled(panel, answer, thresholds, step)

    grown = (replace(whole, panels=tuple(panels(step)), source=None) for step in at[:-1])
    return whole, _then(grown, whole)


def _then(grown: Iterator[Figure], whole: Figure) -> Iterator[Figure]:
    yield from grown
    yield whole


def _fixed(panel: Panel) -> Panel:
    """A panel whose limits no longer follow its marks."""
    lines = [mark for mark in panel.marks if isinstance(mark, Line)]
    if not lines:
        return panel
    x, y = (np.concatenate([getattr(line, axis) for line in lines]) for axis in "xy")
    return replace(panel, x=_limited(panel.x, x), y=_limited(panel.y, y))


def _limited(axis: Axis, values: np.ndarray) -> Axis:
    known = values[np.isfinite(values)]
    if axis.limits is not None or not len(known):
        return axis
    low, high = float(known.min()), float(known.max())
    air = 0.05 * (high - low) or 0.5
    limits: Limits = low - air, high + air
    return replace(axis, limits=limits)


def _grown(panel: Panel, step: float) -> Panel:
    return replace(panel, marks=tuple(_until(mark, step) for mark in panel.marks))


def _until(mark: Mark, step: float) -> Mark:
    if not isinstance(mark, Line | Points):
        return mark
    kept = mark.x <= step
    return replace(mark, x=mark.x[kept], y=mark.y[kept])


def _filled(
    panel: Panel, answer: NormSmoothness, thresholds: tuple[np.ndarray, np.ndarray] | None, step: float
) -> Panel:
    marks: list[Mark] = []
    for mark in panel.marks:
        if isinstance(mark, Hexbin):
            kept = answer.steps <= step
            marks.append(replace(mark, x=mark.x[kept], y=mark.y[kept]))
        elif isinstance(mark, Rule) and thresholds is not None:
            known = (thresholds[0] <= step) & np.isfinite(thresholds[1]) & (thresholds[1] > 0)
            if known.any():
                marks.append(replace(mark, at=float(np.log(thresholds[1][known][-1]))))
        else:
            marks.append(mark)
    return replace(panel, marks=tuple(marks))
