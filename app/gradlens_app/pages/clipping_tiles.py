"""The answer first: what the rule would have clipped, its threshold, what it leaves of the rate, what to try first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradlens.analysis import PHASES, ThresholdAdvice, Thresholds
from gradlens_app.numbers import percent, three
from gradlens_app.page import Tile
from gradlens_app.pages.tiles import Write, sequence


@dataclass(frozen=True, slots=True)
class About:
    """What the tiles say of one run.

    Attributes:
        label: the run's name beside the others.
        colour: its role.
        replayed: the rule over its norms.
        advice: what to try first.
    """

    label: str
    colour: str
    replayed: Thresholds
    advice: ThresholdAdvice


def tiles(answers: Sequence[About]) -> tuple[Tile, ...]:
    """The row of tiles over some runs; none of no run."""
    return (_clipped(answers), _threshold(answers), _rate(answers), _advice(answers)) if answers else ()


def _clipped(answers: Sequence[About]) -> Tile:
    notes = [_of(about, _phases(about.replayed.rate_by_phase, percent), answers) for about in answers]
    notes += [_of(about, text, answers) for about in answers for text in about.replayed.warnings]
    return _tile("steps it would clip", answers, lambda about: about.replayed.rate, percent, notes)


def _threshold(answers: Sequence[About]) -> Tile:
    rules = dict.fromkeys(about.replayed.rule for about in answers)
    odd = sum(about.replayed.nonfinite for about in answers)
    notes = [*rules, "gradient norm, before clipping"]
    notes += [f"{odd:,} norms are NaN or infinite: no rule clips them"] if odd else []
    return _tile("threshold at the end", answers, lambda about: about.replayed.last_threshold, three, notes)


def _rate(answers: Sequence[About]) -> Tile:
    """In the last third: the learning rate, or where no run has one, the share of it that is left."""
    if any(np.isfinite(about.replayed.effective_lr_by_phase).any() for about in answers):
        phases: Callable[[About], Sequence[float]] = lambda about: about.replayed.effective_lr_by_phase  # noqa: E731
        title, notes = "effective learning rate, late", ["median of learning rate × clip coefficient"]
    else:
        phases = lambda about: about.replayed.coefficient_by_phase  # noqa: E731
        title, notes = "clip coefficient, late", ["median; these runs have no learning rate"]
    notes += [_of(about, _phases(phases(about), three), answers) for about in answers]
    notes.append("Adam, which divides by the gradient's size, undoes much of it")
    return _tile(title, answers, lambda about: phases(about)[-1], three, notes)


def _advice(answers: Sequence[About]) -> Tile:
    norms = sequence([about.advice.max_norm for about in answers], three)
    notes = ["AutoClip's percentile, or a fixed norm; the percentile's reason is below the charts"]
    for about in answers:
        advice = about.advice
        notes.append(_of(about, advice.status or advice.max_norm_reason, answers))
        if not advice.status:
            low, high = map(three, advice.max_norm_interval)
            notes.append(_of(about, f"95 % interval of that norm {low} to {high}", answers))
    return Tile("to try first", ((f"p = {answers[0].advice.percentile:g}, or {norms}", "", ""),), tuple(notes))


def _tile(
    title: str, answers: Sequence[About], value: Callable[[About], float], write: Write, notes: Sequence[str]
) -> Tile:
    if len(answers) < 3:
        shown = tuple((write(value(about)), about.colour, about.label) for about in answers)
    else:
        shown = ((sequence([value(about) for about in answers], write), "", f"of {len(answers)} runs"),)
    return Tile(title, shown, tuple(notes))


def _phases(values: Sequence[float], write: Write) -> str:
    return ", ".join(f"{phase} {write(value)}" for phase, value in zip(PHASES, values, strict=True))


def _of(about: About, text: str, answers: Sequence[About]) -> str:
    return f"{about.label}: {text}" if len(answers) > 1 else text
