"""Is smoothness tied to the gradient norm, and were the steps short enough for it? Beside intervals and placebo."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import gradlens.figures as draw
from gradlens.analysis import (
    NormSmoothness,
    SmoothnessComparison,
    StepSizeSafety,
    compare_smoothness,
    difference_verdict,
    matched_verdict,
    norm_smoothness,
    smoothness_by_group,
    smoothness_verdict,
    step_size_safety,
)
from gradlens.figures.figure import Figure
from gradlens.store import Run
from gradlens_app.data import Data, Each, Entry
from gradlens_app.names import colours, labels
from gradlens_app.numbers import correlation, percent, three, within
from gradlens_app.page import Answer, Chart, Page, Tile, Words
from gradlens_app.pages.pairs import default_pair
from gradlens_app.pages.tiles import sequence
from gradlens_app.runs_said import said
from gradlens_app.view import View

CHAIN = "as recorded → without trend → placebo of constant curvature"


def answer(data: Data, entries: Sequence[Entry], view: View) -> Answer:
    """Smoothness against norm, step size against curvature and the parts of each run; of two, the comparison."""
    _ = view  # the address says which runs, and nothing else
    names = labels([entry.run for entry in entries])
    charts = [
        Chart(f"trajectory-{entry.key}", name, partial(_trajectory, data, entries, entry), legend=True)
        for entry, name in zip(entries, names, strict=True)
    ]
    if len(entries) == 2:
        charts += [
            Chart("difference", "Difference of r", partial(_difference, data, entries), legend=True),
            Chart("at-loss", "Smoothness at equal loss", partial(_at_loss, data, entries), legend=True),
        ]
    beside = names if len(entries) > 1 else ("",)
    for kind, title, figure in (
        ("safety", "Step size against curvature", _safety),
        ("parts", "By part of the model", _parts),
    ):
        charts += [
            Chart(f"{kind}-{entry.key}", ", ".join(filter(None, (title, name))), partial(figure, data, entry, name),
                  legend=True)
            for entry, name in zip(entries, beside, strict=True)
        ]  # fmt: skip
    return Answer(tuple(charts), lambda: _words(data, entries))


def _trajectory(data: Data, entries: Sequence[Entry], entry: Entry) -> Figure:
    found = data.ask_each(norm_smoothness, entries)
    place = [each.key for each in found.entries].index(entry.key)
    return _trajectories(found).only(place)


def _trajectories(found: Each) -> Figure:
    runs = [entry.run for entry in found.entries]
    return draw.smoothness_trajectory(runs, labels=labels(runs), answers=found.answers)


def _safety(data: Data, entry: Entry, name: str) -> Figure:
    return draw.step_size_safety(data.ask(step_size_safety, entry), label=name)


def _parts(data: Data, entry: Entry, name: str) -> Figure:
    return draw.smoothness_by_group(data.ask(smoothness_by_group, entry), label=name)


def _compare(runs: Sequence[Run]) -> SmoothnessComparison:
    return compare_smoothness(runs[0], runs[1])


def _difference(data: Data, entries: Sequence[Entry]) -> Figure:
    return draw.smoothness_difference(data.ask_all(_compare, entries))


def _at_loss(data: Data, entries: Sequence[Entry]) -> Figure:
    names = labels([entry.run for entry in entries])
    return draw.smoothness_at_loss(data.ask_all(_compare, entries), names, colours(entries))


def _words(data: Data, entries: Sequence[Entry]) -> Words:
    found, safety = data.ask_each(norm_smoothness, entries), data.ask_each(step_size_safety, entries)
    tiles = _chains(found) if len(entries) <= 2 else _ranges(found)
    caption = [_trajectories(found).caption] if found.entries else []
    if len(entries) == len(found.entries) == 2:
        compared = data.ask_all(_compare, entries)
        tiles += [_difference_tile(compared), _matched_tile(compared)]
        caption += [_difference(data, entries).caption, _at_loss(data, entries).caption]
    tiles += [_slope(found), _safe(safety)]
    tiles += _phases(found) if len(entries) <= 2 else []
    return Words(tuple(tiles), said(data, found.entries, (found, safety)), " ".join(caption))


def _chains(found: Each) -> list[Tile]:
    """A tile a run: r as recorded, without trend, and of the placebo."""
    names = labels([entry.run for entry in found.entries])
    return [
        Tile(f"r, {name}", *_chain(each, role))
        for each, name, role in zip(found.answers, names, colours(found.entries), strict=True)
    ]


def _chain(each: NormSmoothness, role: str) -> tuple[tuple[tuple[str, str, str], ...], tuple[str, ...]]:
    if each.status or each.placebo is None:
        return (("–", role, ""),), (each.status,)
    values = (
        (correlation(each.raw.pearson), role, "as recorded"),
        (correlation(each.detrended.pearson), role, "without trend"),
        (correlation(each.placebo.raw), "", "placebo of constant curvature"),
    )
    intervals = (
        f"{within('', each.raw.pearson_interval, correlation)} → "
        f"{within('', each.detrended.pearson_interval, correlation)} → "
        f"{within('', each.placebo.raw_range, correlation)}"
    )
    return values, (CHAIN, intervals, smoothness_verdict(each), each.raw.caveat)


def _ranges(found: Each) -> list[Tile]:
    """Of more than two runs, from the lowest to the highest."""
    known = [each for each in found.answers if not each.status and each.placebo is not None]
    of, why = f"of {len(found)} runs", _unanswered(found)
    return [
        Tile(
            title,
            ((sequence([getattr(each, where) for each in chosen], correlation) if chosen else "–", "", of),),
            tuple(notes),
        )
        for title, chosen, where, notes in (
            ("r, norm against smoothness", [each.raw for each in known], "pearson", [why]),
            ("r without trend", [each.detrended for each in known], "pearson", ["a cubic trend in the step removed"]),
            (
                "placebo of r",
                [each.placebo for each in known],
                "raw",
                ["what optimizer and clip make of constant curvature"],
            ),
        )
    ]


def _difference_tile(found: SmoothnessComparison) -> Tile:
    title = "difference of r, second less first"
    if found.raw.status:
        return Tile(title, (("–", "", ""),), (found.raw.status,))
    values = tuple(
        (correlation(value), "", of)
        for value, of in (
            (found.raw.value, "as recorded"),
            (found.detrended.value, "without trend"),
            (found.placebo_raw.value, "placebo"),
        )
    )
    intervals = (
        f"{within('', found.raw.interval, correlation)} → {within('', found.detrended.interval, correlation)} → "
        f"{within('', found.placebo_raw.range, correlation)}"
    )
    return Tile(title, values, (intervals, difference_verdict(found), "one pair of runs, of one seed each"))


def _matched_tile(found: SmoothnessComparison) -> Tile:
    title, matched = "median smoothness at equal loss", found.matched
    if matched.status:
        return Tile(title, (("–", "", ""),), (matched.status,))
    values = ((three(matched.first), "", "first run"), (three(matched.second), "", "second run"))
    ratio = within(f"ratio {three(matched.ratio)}", matched.interval, three)
    return Tile(title, values, (ratio, matched_verdict(matched), *matched.caveats))


def _slope(found: Each) -> Tile:
    """L1 of the least-squares line; L0 stands beneath."""
    fits = [(each.fits[0] if each.fits else None) for each in found.answers]
    known = [fit for fit in fits if fit is not None and not fit.status]
    title = "L₁ of L₀ + L₁ ‖g‖, least squares"
    if not known:
        return Tile(title, (("–", "", ""),), ("no run here has a line: it takes 16 smoothness probes",))
    spans = " → ".join(within("", fit.l1_interval, three) for fit in known)
    notes = [f"95 % interval {spans}"] if len(known) <= 2 else []
    notes.append(f"L₀ {sequence([fit.l0 for fit in known], three)}; L₁ above 0: smoothness grows with the norm")
    if len(found) > 2:
        return Tile(title, ((sequence([fit.l1 for fit in known], three), "", f"of {len(known)} runs"),), tuple(notes))
    shown = zip(fits, colours(found.entries), labels([entry.run for entry in found.entries]), strict=True)
    values = tuple(("–" if fit is None or fit.status else three(fit.l1), role, name) for fit, role, name in shown)
    return Tile(title, values, tuple(notes))


def _safe(found: Each) -> Tile:
    title = "probes above the step-size limit"
    answers: tuple[StepSizeSafety, ...] = found.answers
    why = tuple(dict.fromkeys(each.status or each.no_line for each in answers if each.status or each.no_line))
    limits = " → ".join(dict.fromkeys(three(each.limit) for each in answers if not (each.status or each.no_line)))
    notes = (f"limit of a quadratic {limits}; below it is no proof of safety",) if limits else ()
    if len(answers) > 2 or not answers:
        shares = sequence([each.above for each in answers], percent) if answers else "–"
        return Tile(title, ((shares, "", f"of {len(answers)} runs"),), notes + why[:1])
    names = labels([entry.run for entry in found.entries])
    values = tuple(
        (percent(each.above), role, name)
        for each, role, name in zip(answers, colours(found.entries), names, strict=True)
    )
    return Tile(title, values, notes + why)


def _phases(found: Each) -> list[Tile]:
    names = labels([entry.run for entry in found.entries])
    title = "r by third of the training"
    tiles = []
    for each, name, role in zip(found.answers, names, colours(found.entries), strict=True):
        of = f"{title}, {name}" if len(found) > 1 else title
        values = tuple((correlation(phase.correlation.pearson), role, phase.name) for phase in each.phases)
        spans = " → ".join(within("", phase.correlation.pearson_interval, correlation) for phase in each.phases)
        notes = ("early → middle → late", spans) if values else ("it takes 16 smoothness probes",)
        tiles.append(Tile(of, values or (("–", role, name),), notes))
    return tiles


def _unanswered(found: Each) -> str:
    silent = [each.status for each in found.answers if each.status]
    if not silent:
        return "lowest to highest"
    return f"{len(silent)} of {len(found)} runs have no answer, such as: {silent[0]}"


PAGE = Page(
    path="/smoothness",
    title="Smoothness",
    question="Does smoothness grow with the gradient norm, and were the steps short enough for it?",
    answer=answer,
    choose=default_pair,
    most=8,
)
