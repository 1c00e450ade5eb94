"""Micro-batches over the training: how long, how agreed, how much clipped; and how well that tells draggers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis import DraggerProfile
from gradlens.figures.figure import Axis, Bars, Figure, Line, Mark, Panel, Rule, Text
from gradlens.figures.gallery.curves import curve
from gradlens.figures.palette import OKABE_ITO, dashed
from gradlens.schema import MICRO_BATCH_COLUMNS
from gradlens.schema import label as axis_label
from gradlens.stats import envelope

Floats = NDArray[np.float64]
_MOST_DOMAINS = 7
_SCORES = {"grad_norm": ("clipped", "longer gradient"), "cosine": ("unclipped", "smaller cosine")}


def dragger_profile(result: DraggerProfile) -> Figure:
    """Mean norm, cosine with the others and effective number of micro-batches; detection AUC by phase where known.

    Args:
        result: from ``analysis.dragger_profile(run, known)``.

    Returns:
        Four panels; with nothing to show, the sentence that says why.
    """
    x = Axis(axis_label("step"))
    if result.status:
        empty = Panel("Micro-batches", "", x, Axis("gradient norm"), (Text(result.status),))
        return Figure("dragger_profile", (empty,), result.status, columns=1)
    foot = f"{result.n:,} micro-batches in {len(result.steps):,} steps, means over {len(result.edges) - 1} stretches"
    norms = _by_domain(result, result.grad_norm)
    cosines = _by_domain(result, result.cosine)
    none = (Text("No micro-batch has a cosine: a step needs two or more."),)
    panels = (
        Panel("Gradient norm", "of a micro-batch, mean", x, _axis("grad_norm", "log"), norms, foot),
        Panel(
            "Cosine with the others", "mean of the step's others, without itself", x, _axis("cosine"), cosines or none
        ),
        _effective(result, x),
        _detection(result),
    )
    return Figure("dragger_profile", panels, _caption(result))


def _axis(name: str, scale: str = "linear") -> Axis:
    return Axis(MICRO_BATCH_COLUMNS[name].label, scale="log" if scale == "log" else "linear")


def _by_domain(result: DraggerProfile, values: Floats) -> tuple[Mark, ...]:
    """A line for each domain, the most frequent first; for all together in ink."""
    centres = (result.edges[:-1] + result.edges[1:] - 1) / 2
    order = np.argsort(-result.count[1:].sum(axis=1), kind="stable")[:_MOST_DOMAINS] + 1
    marks: list[Mark] = []
    for place, row in enumerate([*order.tolist(), 0]):
        known = np.isfinite(values[row])
        role = "ink" if row == 0 else f"run-{place % len(OKABE_ITO)}"
        if known.any():
            marks.append(Line(centres[known], values[row][known], role, result.domains[row], dashed=dashed(role)))
    return tuple(marks)


def _effective(result: DraggerProfile, x: Axis) -> Panel:
    given = envelope(result.steps, result.micro_batches)
    marks: list[Mark] = [Line(given.x, given.y, "muted", "micro-batches in a step", dashed=True)]
    weights = "by weight, as clipped" if result.recorded else "by weight, were they clipped"
    for values, role, text in (
        (result.effective_lengths, "unclipped", "by length, unclipped"),
        (result.effective, "clipped", weights),
    ):
        if np.isfinite(values).any():
            marks += curve(result.steps, values, role, text, 0.05).marks
    subtitle = "(Σw)² / Σw²; w: weight in the step, or length added to it"
    return Panel("Effective number of micro-batches", subtitle, x, Axis("effective number"), tuple(marks))


def _detection(result: DraggerProfile) -> Panel:
    title, ticks = "Detection of draggers", tuple((at, f"{at:g}") for at in (0.0, 0.25, 0.5, 0.75, 1.0))
    y = Axis("AUC within steps", limits=(0.0, 1.4), ticks=ticks)  # above the bars there is room for their names
    if not result.detections:
        text = "Which micro-batches are draggers is not known; name a domain, or give a predicate."
        return Panel(title, "", Axis(""), y, (Text(text),))
    marks: list[Mark] = []
    for score, (role, text) in _SCORES.items():
        own = [each for each in result.detections if each.score == score and np.isfinite(each.auc.value)]
        if own:
            value, low, high = np.array([(each.auc.value, *each.auc.interval) for each in own]).T
            marks.append(Bars(tuple(each.phase for each in own), value, role, text, low, high))
    if not marks:
        return Panel(title, "", Axis(""), y, (Text(f"No answer: {result.detections[0].auc.status}"),))
    return Panel(
        title, "area under the ROC curve, 95 % intervals over blocks of steps", Axis("third of the training"), y,
        (*marks, Rule(0.5, "y", "chance")), f"{result.known_count:,} of {result.n:,} micro-batches are known draggers",
    )  # fmt: skip


def _caption(result: DraggerProfile) -> str:
    parts = [
        f"Micro-batches over the training: {result.n:,}"
        + (f", of {len(result.domains) - 1} domains." if len(result.domains) > 1 else "."),
        "Median effective number in the first, second and last third: by weight "
        + ", ".join(f"{value:.3g}" for value in result.effective_by_phase)
        + "; by length, unclipped, "
        + ", ".join(f"{value:.3g}" for value in result.effective_lengths_by_phase)
        + ".",
    ]
    for each in result.detections:
        if np.isfinite(each.auc.value):
            low, high = each.auc.interval
            doubt = f", {each.auc.caveat}" if each.auc.caveat else ""
            answer = f"{each.auc.value:.2f} [{low:.2f}, {high:.2f}]{doubt}"
            parts.append(f"AUC of {_SCORES[each.score][1]}, {each.phase}: {answer}.")
    if len(result.domains) - 1 > _MOST_DOMAINS:
        parts.append(f"The {_MOST_DOMAINS} most frequent domains are drawn.")
    return " ".join([*parts, result.note])
