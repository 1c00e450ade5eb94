"""Learning rate times smoothness along a training, against the limit of a quadratic."""

from __future__ import annotations

import math

import numpy as np

from gradlens.analysis import StepSizeSafety
from gradlens.figures.figure import Axis, Figure, Mark, Panel, Points, Rule, Text
from gradlens.figures.gallery.curves import thinned
from gradlens.schema import label as axis_label

_UNIT = "lr × h × smoothness"


def step_size_safety(result: StepSizeSafety, *, label: str = "") -> Figure:
    """The product at each probe, and the line beyond which a step overshoots on a quadratic.

    Args:
        result: from ``analysis.step_size_safety(run)``.
        label: what to call the run, where several stand beside each other.

    Returns:
        One panel; with nothing to show, the sentence that says why.
    """
    step = Axis(axis_label("step"))
    title = "Step size against curvature" + (f", {label}" if label else "")
    if result.status:
        empty = Panel(title, result.optimizer, step, Axis(_UNIT), (Text(result.status),))
        return Figure("step_size_safety", (empty,), result.status, columns=1)
    above = result.product > result.limit
    marks: list[Mark] = []
    drawn = 0
    drawable = np.isfinite(result.product) & (result.product > 0)  # the axis is logarithmic
    for chosen, role, text in ((~above, "run-0", _below(result)), (above, "run-1", "above the limit")):
        places = np.flatnonzero(chosen & drawable)
        places = places[thinned(len(places))]
        if len(places):
            marks.append(Points(result.steps[places].astype(np.float64), result.product[places], role, text))
            drawn += len(places)
    if math.isfinite(result.limit):
        marks.append(Rule(result.limit, "y", f"limit {_limit(result)}"))
    panel = Panel(
        title=title,
        subtitle=f"{result.optimizer}; lr: learning rate, h: clip coefficient; smoothness along the step",
        x=step,
        y=Axis(_UNIT, "log"),
        marks=tuple(marks),
        foot=f"{drawn:,} of {result.n:,} points; " + _share(result),
    )
    return Figure("step_size_safety", (panel,), _caption(result), columns=1)


def _below(result: StepSizeSafety) -> str:
    return "below the limit" if math.isfinite(result.limit) else "each probe"


def _limit(result: StepSizeSafety) -> str:
    value = f"{result.limit:.3g}"
    return value if result.limit_label == value else f"{result.limit_label} = {value}"


def _share(result: StepSizeSafety) -> str:
    if result.no_line:
        return "no limit to judge them by"
    low, high = result.above_interval
    interval = f" [{low:.1%}, {high:.1%}]" if math.isfinite(low) else ""
    return f"{result.above:.1%}{interval} above {result.limit_label}"


def _caption(result: StepSizeSafety) -> str:
    parts = [
        f"Learning rate times clip coefficient times local smoothness, by iteration ({result.optimizer}; "
        f"{result.n:,} probes)."
    ]
    if result.no_line:
        parts.append(result.no_line)
    else:
        early, middle, late = result.above_by_phase
        parts.append(
            f"Dotted: {_limit(result)}, beyond which the iteration grows along its direction where the loss is "
            f"quadratic: {_share(result)} ({early:.1%}, {middle:.1%} and {late:.1%} in the first, second and last "
            "third of the probes), with a 95 % block-bootstrap interval where the share is neither 0 nor all. "
            "Points below are no proof of safety: smoothness along the step is at most the largest curvature there is."
        )
    return " ".join([*parts, *result.caveats])
