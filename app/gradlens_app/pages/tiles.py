"""The answer first: four tiles of numbers, each with what is better and what to doubt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradlens.analysis import NormSmoothness, Summary
from gradlens_app.numbers import correlation, percent, three
from gradlens_app.page import Tile

Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class About:
    """What the tiles say of one run.

    Attributes:
        label: the run's name beside the others.
        colour: its role.
        clipped: whether a clip rule was applied.
        summary: its numbers; None if it cannot be read.
        smoothness: its correlation of norm and smoothness; None if it was not asked for.
    """

    label: str
    colour: str
    clipped: bool
    summary: Summary | None
    smoothness: NormSmoothness | None


def tiles(answers: Sequence[About], reading: tuple[str, ...] = ()) -> tuple[Tile, ...]:
    """The row of tiles over some runs; ``reading`` says which of them are still to be read."""
    return (
        _tile("final training loss", answers, _summary("final_loss"), three, [*reading, *_loss_note(answers)]),
        _tile("step-size variation (sd / mean)", answers, _summary("step_variation"), three, _steadiness_note(answers)),
        _tile("r, norm against smoothness", answers, _r, correlation, _r_note(answers)),
        _tile("steps clipped", answers, _clipped, percent, _overhead_note(answers)),
    )


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
    title: str, answers: Sequence[About], value: Callable[[About], float], write: Write, notes: Sequence[str]
) -> Tile:
    values = [value(answer) for answer in answers]
    if len(answers) < 3:
        shown = tuple((write(number), about.colour, about.label) for about, number in zip(answers, values, strict=True))
    else:
        shown = ((sequence(values, write), "", f"of {len(answers)} runs"),)
    return Tile(title, shown, tuple(notes))


def _summary(field: str) -> Callable[[About], float]:
    return lambda answer: float(getattr(answer.summary, field)) if answer.summary else float("nan")


def _r(answer: About) -> float:
    return answer.smoothness.raw.pearson if answer.smoothness is not None else float("nan")


def _clipped(answer: About) -> float:
    return _summary("clipped")(answer) if answer.clipped else 0.0


def _loss_note(answers: Sequence[About]) -> list[str]:
    lost = sum(answer.summary.nonfinite for answer in answers if answer.summary)
    notes = ["lower is better; mean of the last 5 % of the steps"]
    return [*notes, f"{lost:,} steps with a NaN or infinite gradient norm"] if lost else notes


def _steadiness_note(answers: Sequence[About]) -> list[str]:
    notes = ["lower is steadier; the first 5 % left out"]
    if len(answers) == 2:
        before, after = (_summary("step_variation")(answer) for answer in answers)
        if before > 0 and after > 0:
            times = max(before, after) / min(before, after)
            who = answers[int(after < before)].label
            notes.append(f"{who}: {times:.2g} times steadier" if times >= 1.1 else "hardly a difference")
    return notes


def _r_note(answers: Sequence[About]) -> list[str]:
    asked = [answer.smoothness for answer in answers if answer.smoothness is not None]
    if not asked:
        return ["asked of fewer runs only"]
    known = [smoothness for smoothness in asked if not smoothness.status]
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


def _overhead_note(answers: Sequence[About]) -> list[str]:
    overhead = sequence([_summary("overhead")(answer) for answer in answers], percent)
    return [
        "clipped: gradient norm above the threshold",
        f"recorder overhead {overhead} of a step, smoothness probes apart",
    ]
