"""Smoothness against gradient norm along a training, coloured by time, with the lines that bound and follow it.

Reference: Zhang, He, Sra and Jadbabaie, "Why gradient clipping accelerates training: A theoretical justification for
adaptivity", ICLR 2020, arXiv 1905.11881.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis import NormSmoothness, norm_smoothness
from gradlens.figures.figure import Axis, Figure, Limits, Line, Mark, Panel, Points, Rule, Text
from gradlens.figures.gallery.curves import thinned
from gradlens.figures.gallery.training_dynamics import run_labels
from gradlens.figures.palette import run_colours
from gradlens.schema import label as axis_label
from gradlens.stats import LineFit
from gradlens.store import Run

Floats = NDArray[np.float64]
_LEAST, _MOST = -300, 308  # powers of ten that a float holds
_LINE_POINTS = 100
_COLOURS = {"least squares": "run-7", "quantile 0.9": "run-3", "quantile 0.95": "run-1", "power": "run-4"}
_NAMES = {
    "least squares": "least squares",
    "quantile 0.9": "quantile .9",
    "quantile 0.95": "quantile .95",
    "power": "power of the norm",
}


def smoothness_trajectory(
    runs: Run | Sequence[Run],
    *,
    labels: Sequence[str] | None = None,
    answers: Sequence[NormSmoothness] | None = None,
) -> Figure:
    """Scatter of local smoothness over gradient norm, one panel a run, both axes logarithmic and shared.

    Args:
        runs: a run, or several.
        labels: what to call them; derived from their clip rules if not given, or their names where those are alike.
        answers: what ``analysis.norm_smoothness`` gave for each run; computed if not given.

    Returns:
        The figure; a panel whose data are missing holds the sentence that says so.

    Raises:
        ValueError: without runs, or with as many labels or answers as there are not runs.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    if not runs:
        raise ValueError("smoothness_trajectory draws one run or more; got none.")
    labels = run_labels(runs) if labels is None else labels
    answers = [norm_smoothness(run) for run in runs] if answers is None else answers
    for what, given in (("labels", labels), ("answers", answers)):
        if len(given) != len(runs):
            raise ValueError(f"expected {len(runs)} {what}, one a run; got {len(given)}.")
    x = _range([answer.grad_norm for answer in answers])
    y = _range([answer.smoothness for answer in answers])
    axes = Axis(axis_label("grad_norm"), "log", x), Axis(axis_label("smoothness"), "log", y)
    each = zip(labels, answers, run_colours(runs), strict=True)
    panels = tuple(_panel(text, answer, colour, axes) for text, answer, colour in each)
    caption = " ".join([_INTRODUCTION, *(_numbers(*pair) for pair in zip(labels, answers, strict=True))])
    return Figure("smoothness_trajectory", panels, caption, columns=min(2, len(panels)))


_INTRODUCTION = (
    "Local smoothness along the step against the gradient norm before clipping, both on logarithmic axes, coloured by "
    "iteration. Lines: non-negative least squares of L0 + L1 ‖g‖, its upper envelopes (quantile regression), and the "
    "power form. Vertical: the clip threshold at the end of training. Horizontal: the estimator's noise floor, where "
    "it was measured and is in view. r is Pearson's between the logs, with a 95 % block-bootstrap interval."
)


def _panel(text: str, answer: NormSmoothness, colour: str, axes: tuple[Axis, Axis]) -> Panel:
    subtitle = f"{answer.estimator.replace('_', '-')} smoothness, by iteration"
    if answer.status:
        return Panel(text, subtitle, *axes, (Text(answer.status),))
    shown = thinned(answer.n)
    marks: list[Mark] = [
        Points(
            answer.grad_norm[shown],
            answer.smoothness[shown],
            colour,
            values=answer.steps[shown].astype(np.float64),
            values_label=axis_label("step"),
        )
    ]
    marks += [_line(fit, answer.grad_norm) for fit in answer.fits if not fit.status]
    (left, right), (bottom, top) = axes[0].limits or (0.0, 1.0), axes[1].limits or (0.0, 1.0)
    if left < answer.threshold < right:
        marks.append(Rule(answer.threshold, "x", "last clip threshold"))
    if bottom < answer.noise_floor < top:
        marks.append(Rule(answer.noise_floor, "y", "noise floor", "muted"))
    foot = (
        f"{len(shown):,} of {answer.n:,} points; r = {_with(answer.raw.pearson, answer.raw.pearson_interval)}, "
        f"detrended {answer.detrended.pearson:z.2f}{_placebo(answer)}"
    )
    return Panel(text, subtitle, *axes, tuple(marks), foot)


def _line(fit: LineFit, norms: Floats) -> Line:
    x = np.geomspace(norms.min(), norms.max(), _LINE_POINTS)
    dashed = fit.form != "least squares"
    return Line(x, fit.at(x), _COLOURS[fit.form], _NAMES[fit.form], dashed=dashed)


def _placebo(answer: NormSmoothness) -> str:
    return f", placebo {answer.placebo.raw:z.2f}" if answer.placebo is not None else ""


def _range(each: Sequence[Floats]) -> Limits:
    """Limits of a logarithmic axis that hold every point, with a little air."""
    values = np.concatenate(each)
    if not len(values):
        return 0.1, 10.0
    low, high = math.log10(values.min()), math.log10(values.max())
    air = 0.05 * (high - low) or 0.3
    return 10 ** max(low - air, _LEAST), 10 ** min(high + air, _MOST)


def _numbers(text: str, answer: NormSmoothness) -> str:
    """A run's part of the caption."""
    if answer.status or answer.placebo is None:
        return f"{text}: {answer.status}"
    placebo, doubt = answer.placebo, f", {answer.raw.caveat}" if answer.raw.caveat else ""
    return (
        f"{text}: r = {_with(answer.raw.pearson, answer.raw.pearson_interval)}, without a cubic trend in time "
        f"{_with(answer.detrended.pearson, answer.detrended.pearson_interval)}, placebo of constant curvature "
        f"{placebo.raw:z.2f} ({placebo.raw_range[0]:z.2f} to {placebo.raw_range[1]:z.2f}), without trend "
        f"{placebo.detrended:z.2f}; n = {answer.n:,}{doubt}. " + " ".join(_fitted(fit) for fit in answer.fits)
    )


def _fitted(fit: LineFit) -> str:
    """A fit's numbers in a sentence."""
    name = fit.form.capitalize()
    if fit.status:
        return f"{name}: {fit.status}"
    parts = [f"L0 = {_with(fit.l0, fit.l0_interval)}", f"L1 = {_with(fit.l1, fit.l1_interval)}"]
    parts += [f"ρ = {_with(fit.rho, fit.rho_interval)}"] * (fit.form == "power")
    return f"{name}: {', '.join(parts)}" + (f"; {fit.caveat}" if fit.caveat else ".")


def _with(value: float, interval: tuple[float, float]) -> str:
    if not math.isfinite(interval[0]):
        return f"{value:.3g}" if math.isfinite(value) else "not defined"
    digits = "z.2f" if abs(value) < 10 else ".3g"
    return f"{value:{digits}} [{interval[0]:{digits}}, {interval[1]:{digits}}]"
