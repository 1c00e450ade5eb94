"""Figure 1 of the AutoClip paper: step size, loss, and smoothness against gradient norm.

Reference: Seetharaman, Wichern, Pardo and Le Roux, "AutoClip: Adaptive gradient clipping for source separation
networks", MLSP 2020, arXiv 2007.14469.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis import NormSmoothness, norm_smoothness
from gradlens.analysis.alignment import NOTHING, at_steps
from gradlens.clipping import describe
from gradlens.figures.figure import Axis, Figure, Hexbin, Limits, Line, Mark, Panel, Rule, Text
from gradlens.figures.gallery.curves import Curve, curve, foot, within
from gradlens.figures.palette import run_colours
from gradlens.schema import label as axis_label
from gradlens.store import Run

Floats = NDArray[np.float64]
CURVES = ("update_norm", "loss")
"""The series of the figure's upper panels."""


def training_dynamics(
    runs: Sequence[Run],
    *,
    labels: Sequence[str] | None = None,
    smoothing: float = 0.02,
    steps: tuple[int, int] | None = None,
    answers: Sequence[NormSmoothness] | None = None,
) -> Figure:
    """Step size and log training loss against iteration; smoothness against gradient norm, one hexbin a run.

    The hexbins share their limits; a dotted line marks the clip threshold at the end of training. Everything right of
    it is clipped, unless the threshold moved: the caption then counts the points that were.

    Args:
        runs: one or more runs; the paper's pair is one unclipped and one clipped.
        labels: what to call them; derived from their clip rules if not given, or their names where those are alike.
        smoothing: span of the moving average over the curves, as a share of the steps; 0 for none.
        steps: draw the steps from the first to the second of these only; limits, moving averages and the statistics in
            the caption are still of the whole run.
        answers: what ``analysis.norm_smoothness`` gave for each run; computed if not given.

    Returns:
        The figure; a panel whose data are missing holds the sentence that says so.

    Raises:
        ValueError: without runs, or with as many labels or answers as there are not runs.
    """
    if not runs:
        raise ValueError("training_dynamics draws one run or more; got none.")
    if labels is None:
        labels = run_labels(runs)
    if len(labels) != len(runs):
        raise ValueError(f"expected {len(runs)} labels, one a run; got {len(labels)}.")
    colours = run_colours(runs)
    if answers is None:
        answers = [norm_smoothness(run) for run in runs]
    if len(answers) != len(runs):
        raise ValueError(f"expected {len(runs)} answers, one a run; got {len(answers)}.")
    panels = [
        _curves(runs, labels, colours, "update_norm", "Step size", "‖θₜ₊₁ − θₜ‖₂", smoothing, steps),
        _curves(runs, labels, colours, "loss", "Training loss", "natural logarithm", smoothing, steps, log=True),
    ]
    clouds = norm_clouds(runs, answers, labels, colours, [steps] * len(runs))
    caption = _ABOVE + _said_of_clouds(runs, labels, answers, [steps] * len(runs))
    return Figure("training_dynamics", (*panels, *clouds.panels), caption)


def norm_clouds(
    runs: Sequence[Run],
    answers: Sequence[NormSmoothness],
    labels: Sequence[str],
    colours: Sequence[str],
    steps: Sequence[tuple[int, int] | None],
) -> Figure:
    """Smoothness against gradient norm, one hexbin a run, with shared limits: the lower half of the figure.

    Args:
        runs: one or more.
        answers: what ``analysis.norm_smoothness`` gave for each.
        labels: what to call each.
        colours: each run's role.
        steps: first and last step drawn of each; all if None.
    """
    limits = _limits(answers)
    panels = tuple(
        _hexbin(run, answer, text, colour, limits, shown)
        for run, answer, text, colour, shown in zip(runs, answers, labels, colours, steps, strict=True)
    )
    said = _said_of_clouds(runs, labels, answers, steps)
    return Figure("norm_clouds", panels, said, columns=min(2, len(panels)))


def run_labels(runs: Sequence[Run]) -> tuple[str, ...]:
    """What to call runs side by side: by their clip where that tells them apart, else by their names."""
    by_clip = tuple(_clip_label(run.clip) for run in runs)
    return by_clip if len(set(by_clip)) == len(runs) > 1 else tuple(run.name for run in runs)


def _clip_label(clip: Mapping[str, Any] | None) -> str:
    return "No clipping" if clip is None else f"With {describe(clip)}"


def _curves(
    runs: Sequence[Run],
    labels: Sequence[str],
    colours: Sequence[str],
    name: str,
    title: str,
    subtitle: str,
    smoothing: float,
    shown: tuple[int, int] | None,
    *,
    log: bool = False,
) -> Panel:
    curves: list[Curve] = []
    for run, text, colour in zip(runs, labels, colours, strict=True):
        if name not in run.columns:
            continue
        steps, values = run.series(name)
        if len(steps):
            curves.append(curve(steps, _log(values) if log else values, colour, text, smoothing, shown))
    drawn = [mark for one in curves for mark in one.marks]
    # What is raw lies under every average: else the raw curve of one run hides the average of another.
    marks: tuple[Mark, ...] = tuple(sorted(drawn, key=lambda mark: not (isinstance(mark, Line) and mark.faint)))
    unit = f"log({axis_label(name)})" if log else axis_label(name)
    if not marks:
        marks = (Text(f"None of these runs recorded {name}."),)
    return Panel(title, subtitle, Axis(axis_label("step")), Axis(unit), marks, foot(curves, smoothing))


def _hexbin(
    run: Run,
    answer: NormSmoothness,
    text: str,
    colour: str,
    limits: tuple[Limits, Limits],
    steps: tuple[int, int] | None,
) -> Panel:
    axes = Axis("log(gradient norm)", limits=limits[0]), Axis("log(local smoothness)", limits=limits[1])
    if answer.status:
        return Panel(text, "smoothness against gradient norm", *axes, (Text(answer.status),))
    shown = within(answer.steps, steps)
    marks: list[Mark] = [
        Hexbin(np.log(answer.grad_norm[shown]), np.log(answer.smoothness[shown]), colour, *limits, label=text)
    ]
    if run.clip is not None and np.isfinite(answer.threshold) and answer.threshold > 0:
        marks.append(Rule(float(np.log(answer.threshold)), "x", _threshold_label(run.clip)))
    return Panel(
        title=text,
        subtitle=f"{_estimator(answer)} smoothness against gradient norm, natural logarithms",
        x=axes[0],
        y=axes[1],
        marks=tuple(marks),
        foot=f"{int(shown.sum()):,} of {answer.n:,} points; r = {_r(answer.raw.pearson, answer.raw.pearson_interval)}",
    )


def _threshold_label(clip: Mapping[str, Any]) -> str:
    parameters = clip.get("parameters")
    percentile = parameters.get("percentile") if isinstance(parameters, Mapping) else None
    if clip.get("name") == "autoclip" and isinstance(percentile, (int, float)):
        return f"log({_ordinal(percentile)} percentile of gradient norm)"
    return "log(clipping threshold)"


def _ordinal(percentile: float) -> str:
    last = {1: "st", 2: "nd", 3: "rd"}.get(int(percentile) % 10, "th")
    return f"{percentile:g}" + ("th" if 10 <= percentile % 100 <= 20 or percentile != int(percentile) else last)


def _limits(answers: Sequence[NormSmoothness]) -> tuple[Limits, Limits]:
    """Limits that hold every point of every run, with a little air."""
    norms = np.concatenate([_log(answer.grad_norm) for answer in answers])
    values = np.concatenate([_log(answer.smoothness) for answer in answers])
    return _range(norms), _range(values)


def _range(values: Floats) -> Limits:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    air = 0.07 * (high - low) or 0.5
    return low - air, high + air


def _log(values: Floats) -> Floats:
    """Natural logarithm, NaN where there is none: such a step is marked, never dropped."""
    return np.log(values, out=np.full(len(values), np.nan), where=values > 0)


def _r(value: float, interval: tuple[float, float]) -> str:
    return f"{value:z.2f} [{interval[0]:z.2f}, {interval[1]:z.2f}]" if np.isfinite(value) else "not defined"


def _estimator(answer: NormSmoothness) -> str:
    return answer.estimator.replace("_", "-")


def _right_of_the_line(runs: Sequence[Run], labels: Sequence[str], answers: Sequence[NormSmoothness]) -> str:
    """What the dotted line parts: all of a fixed threshold's clipped points, not those of one that moved."""
    found = {}
    for run, text, answer in zip(runs, labels, answers, strict=True):
        if answer.status or run.clip is None or not np.isfinite(answer.threshold):
            continue
        series = run.several("clip_threshold", "clipped")
        at_probes = at_steps(series.get("clip_threshold", NOTHING), answer.steps)
        clipped = at_steps(series["clipped"], answer.steps) if "clipped" in series else answer.grad_norm > at_probes
        right = answer.grad_norm > answer.threshold
        moved = not np.all(at_probes[np.isfinite(at_probes)] == answer.threshold)
        count = f"of the {int(right.sum()):,} points right of it {int((clipped[right] > 0).sum()):,} were clipped when "
        found[text] = f"{count}they were met" if moved else "everything right of it is clipped"
    line = "The dotted line is the clip threshold at the end of training"
    if len(found) == 1 or len(set(found.values())) == 1:
        return f"{line}: {next(iter(found.values()))}. "
    return f"{line}; {'; '.join(f'{text}: {what}' for text, what in found.items())}. " if found else ""


_ABOVE = (
    "Training dynamics. Top: step size (norm of each parameter update) and natural logarithm of the training loss. "
    "Below: "
)


def _said_of_clouds(
    runs: Sequence[Run],
    labels: Sequence[str],
    answers: Sequence[NormSmoothness],
    steps: Sequence[tuple[int, int] | None],
) -> str:
    """The caption of the hexbins, which begins in the middle of a sentence."""
    drawn = any(not answer.status for answer in answers)
    kinds = dict.fromkeys(_estimator(answer) for answer in answers)
    how = ", on the step's own batch," if set(kinds) == {"same-batch"} else f" ({', '.join(kinds)})"
    parts = [
        f"local smoothness{how} against gradient norm before clipping, natural logarithms"
        + ", in hexagons; limits are shared. " * drawn
        + ". " * (not drawn)
        + _right_of_the_line(runs, labels, answers)
        + "Pearson's r between the logs, with a 95 % block-bootstrap interval:"
    ]
    for text, answer in zip(labels, answers, strict=True):
        if answer.status or answer.placebo is None:
            parts.append(f"{text}: {answer.status}")
            continue
        placebo = answer.placebo
        doubt = f", {answer.raw.caveat}" if answer.raw.caveat else ""
        parts.append(
            f"{text}: r = {_r(answer.raw.pearson, answer.raw.pearson_interval)}, "
            f"without a cubic trend in time {_r(answer.detrended.pearson, answer.detrended.pearson_interval)}, "
            f"Spearman {answer.raw.spearman:z.2f}; placebo of constant curvature ({placebo.optimizer}) "
            f"{placebo.raw:z.2f} ({placebo.raw_range[0]:z.2f} to {placebo.raw_range[1]:z.2f}), "
            f"without trend {placebo.detrended:z.2f}; n = {answer.n}{doubt}."
        )
    part = steps[0]
    if part is not None and all(each == part for each in steps):
        parts.append(f"Only steps {part[0]:,} to {part[1]:,} are drawn; the statistics are of the whole runs.")
    return " ".join(parts)
