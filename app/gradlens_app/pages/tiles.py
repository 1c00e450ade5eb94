"""The answer first: four tiles of numbers, each with what is better and what to doubt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dash import html

from gradlens.analysis import NormSmoothness, Summary
from gradlens_app.numbers import correlation, percent, three

Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the tiles say of one run.

    Attributes:
        label: the run's name beside the others.
        colour: its CSS class.
        clipped: whether a clip rule was applied.
        summary: its numbers; None if it cannot be read.
        smoothness: its correlation of norm and smoothness.
    """

    label: str
    colour: str
    clipped: bool
    summary: Summary | None
    smoothness: NormSmoothness


def tiles(answers: Sequence[Answer]) -> list[html.Div]:
    """The row of tiles over some runs."""
    return [
        _tile("final training loss", answers, _summary("final_loss"), three, _loss_note(answers)),
        _tile("step-size variation (sd / mean)", answers, _summary("step_variation"), three, _steadiness_note(answers)),
        _tile("r, norm against smoothness", answers, lambda a: a.smoothness.raw.pearson, correlation, _r_note(answers)),
        _tile("steps clipped", answers, _clipped, percent, _overhead_note(answers)),
    ]


def sequence(values: Sequence[float], write: Write) -> str:
    """Numbers of several runs in a line: a, a → b, or lowest to highest.

    >>> sequence([1.0], three), sequence([1.0, 2.0], three), sequence([3.0, 1.0, 2.0], three)
    ('1.00', '1.00 → 2.00', '1.00 to 3.00')
    """
    if len(values) < 3:
        return " → ".join(write(value) for value in values)
    known = [value for value in values if np.isfinite(value)]
    ends = [write(min(known)), write(max(known))] if known else [write(np.nan)]
    return " to ".join(dict.fromkeys(ends))


def _tile(
    title: str, answers: Sequence[Answer], value: Callable[[Answer], float], write: Write, notes: Sequence[str]
) -> html.Div:
    values = [value(answer) for answer in answers]
    shown: list[Any] = []
    if len(answers) < 3:
        for index, (answer, number) in enumerate(zip(answers, values, strict=True)):
            shown += [html.Span(" → ", className="arrow")] if index else []
            shown.append(html.Span(write(number), className=answer.colour, title=answer.label))
    else:
        shown.append(html.Span(sequence(values, write)))
    return html.Div(
        className="tile",
        children=[
            html.Div(title, className="tile-title"),
            html.Div(shown, className="tile-value"),
            *(html.Div(note, className="tile-note") for note in notes),
        ],
    )


def _summary(field: str) -> Callable[[Answer], float]:
    return lambda answer: float(getattr(answer.summary, field)) if answer.summary else float("nan")


def _clipped(answer: Answer) -> float:
    return _summary("clipped")(answer) if answer.clipped else 0.0


def _loss_note(answers: Sequence[Answer]) -> list[str]:
    lost = sum(answer.summary.nonfinite for answer in answers if answer.summary)
    notes = ["lower is better; mean of the last 5 % of the steps"]
    return [*notes, f"{lost:,} steps with a NaN or infinite gradient norm"] if lost else notes


def _steadiness_note(answers: Sequence[Answer]) -> list[str]:
    notes = ["lower is steadier; the first 5 % left out"]
    if len(answers) == 2:
        before, after = (_summary("step_variation")(answer) for answer in answers)
        if before > 0 and after > 0:
            times = max(before, after) / min(before, after)
            who = answers[int(after < before)].label
            notes.append(f"{who}: {times:.2g} times steadier" if times >= 1.1 else "hardly a difference")
    return notes


def _r_note(answers: Sequence[Answer]) -> list[str]:
    known = [answer.smoothness for answer in answers if not answer.smoothness.status]
    if not known:
        return ["no run here has enough smoothness probes"]
    detrended = sequence([each.detrended.pearson for each in known], correlation)
    notes = [f"detrended {detrended}: {_verdict(known)}"]
    placebos = [each.placebo.raw for each in known if each.placebo is not None]
    if placebos:
        notes.append(f"placebo {sequence(placebos, correlation)} (constant curvature)")
    return notes


def _verdict(known: Sequence[NormSmoothness]) -> str:
    """What is left of r, or of its change between a pair, once a common trend in time is taken out."""
    if len(known) == 2:
        (low_a, high_a), (low_b, high_b) = (each.raw.pearson_interval for each in known)
        raw = known[1].raw.pearson - known[0].raw.pearson
        detrended = known[1].detrended.pearson - known[0].detrended.pearson
        if low_a <= high_b and low_b <= high_a:
            return "95 % intervals overlap"
        return "the difference is mostly trend" if abs(detrended) < abs(raw) / 2 else "the difference stays"
    weakest = min(each.detrended.pearson / each.raw.pearson if each.raw.pearson else 0.0 for each in known)
    return "mostly trend" if weakest < 0.5 else "not a trend alone"


def _overhead_note(answers: Sequence[Answer]) -> list[str]:
    overhead = sequence([_summary("overhead")(answer) for answer in answers], percent)
    return [
        "clipped: gradient norm above the threshold",
        f"recorder overhead {overhead} of a step, smoothness probes apart",
    ]
