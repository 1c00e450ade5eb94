"""How did the trainings move? Figure 1 of the AutoClip paper over any runs, and any other series beside it."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from gradlens.analysis import Detail, NormSmoothness, norm_smoothness, reach, span, steps_shown, summarize, trace
from gradlens.figures import grouped_series, norm_clouds, series
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.series import group_labels, own_scales, series_caption
from gradlens.figures.gallery.training_dynamics import CURVES
from gradlens.schema import is_text, label
from gradlens.store import Run
from gradlens_app.controls import Choice
from gradlens_app.data import Data, Each, Entry
from gradlens_app.names import colours, labels
from gradlens_app.page import Answer, Chart, Page, Words
from gradlens_app.pages.pairs import default_pair
from gradlens_app.pages.tiles import About, tiles
from gradlens_app.runs_said import said
from gradlens_app.shared import CLOCK, GROUP, SMOOTHING, UNTIL
from gradlens_app.view import View

MOST_CLOUDS = 8
MANY = (
    f"Smoothness against gradient norm, and its correlation, are of up to {MOST_CLOUDS} runs; choose fewer to see it."
)
SECONDS = 0.4
"""What reading runs may take before the tiles show what is known so far."""


def _logged(runs: Sequence[Run]) -> list[tuple[str, str]]:
    names = dict.fromkeys(name for run in runs for name in run.columns if not is_text(name))
    return [(name, name if label(name) == name else f"{label(name)} ({name})") for name in names]


SERIES = Choice("series", "series", _logged, several=True, placeholder="step size and loss")


def answer(data: Data, entries: Sequence[Entry], view: View) -> Answer:
    """A chart of each series asked for, smoothness against norm of each run, and tiles."""
    few = len(entries) <= MOST_CLOUDS
    charts = tuple(_curves(data, entries, view, name) for name in SERIES.read(view) or CURVES)
    charts += tuple(_cloud(data, entries, view, index) for index in range(len(entries))) if few else ()
    return Answer(charts, lambda: _words(data, entries, view, few=few), () if few else (MANY,))


def _words(data: Data, entries: Sequence[Entry], view: View, *, few: bool) -> Words:
    about = data.ask_each(summarize, entries, seconds=SECONDS)
    clouds = data.ask_each(norm_smoothness, entries) if few else Each((), (), ())
    left = len(entries) - len(about.entries) - len(about.problems)
    reading = (f"{left:,} of {len(entries):,} runs are still to be read.",) if left else ()
    captions = [series_caption(name, view.clock) for name in SERIES.read(view) or CURVES]
    captions += [_clouds_figure(data, clouds, view).caption] if clouds.entries else []
    problems = said(data, about.entries, (about, clouds))
    return Words(tiles(_about(entries, about, clouds), reading), problems, " ".join(captions), unfinished=left > 0)


def _curves(data: Data, entries: Sequence[Entry], view: View, name: str) -> Chart:
    def draw() -> Figure:
        smoothing = view.smoothing
        found = data.ask_each(
            trace,
            entries,
            name,
            clock=view.clock,
            window=view.window,
            detail=Detail.of(len(entries)),
            smoothing=smoothing,
        )
        until, log = _until(data, entries, view), chart.scales(view)
        roles = _of(colours(entries), entries, found.entries)
        if view.group:
            groups = group_labels([entry.run for entry in found.entries], view.group)
            return grouped_series(found.answers, groups, roles, log=log, until=until)
        texts = _of(labels([entry.run for entry in entries]), entries, found.entries)
        return series(found.answers, texts, roles, smoothing=smoothing, log=log, until=until)

    title = label(name)
    chart = Chart(_slug(name), title[:1].upper() + title[1:], draw, curves=True, log=own_scales(name))
    return chart


def _cloud(data: Data, entries: Sequence[Entry], view: View, index: int) -> Chart:
    def draw() -> Figure:
        clouds = data.ask_each(norm_smoothness, entries)
        place = [entry.key for entry in clouds.entries].index(entries[index].key)
        return _clouds_figure(data, clouds, view).only(place)

    return Chart(f"cloud-{entries[index].key}", labels([entry.run for entry in entries])[index], draw)


def _clouds_figure(data: Data, clouds: Each, view: View) -> Figure:
    runs = [entry.run for entry in clouds.entries]
    until = _until(data, clouds.entries, view)
    steps = [steps_shown(run, view.clock, view.window, until) for run in runs]
    return norm_clouds(runs, clouds.answers, labels(runs), colours(clouds.entries), steps)


def _until(data: Data, entries: Sequence[Entry], view: View) -> float | None:
    share = UNTIL.read(view) / UNTIL.most
    return None if share == 1 else reach(data.ask_each(span, entries, view.clock).answers, view.window, share)


def _about(entries: Sequence[Entry], summaries: Each, clouds: Each) -> list[About]:
    of_run = dict(zip((entry.key for entry in summaries.entries), summaries.answers, strict=True))
    smooth: dict[str, NormSmoothness] = dict(zip((entry.key for entry in clouds.entries), clouds.answers, strict=True))
    texts, roles = labels([entry.run for entry in entries]), colours(entries)
    return [
        About(text, role, entry.run.clip is not None, of_run.get(entry.key), smooth.get(entry.key))
        for entry, text, role in zip(entries, texts, roles, strict=True)
    ]


def _of(what: Sequence[str], entries: Sequence[Entry], some: Sequence[Entry]) -> list[str]:
    """What belongs to some of the entries."""
    by_key = dict(zip((entry.key for entry in entries), what, strict=True))
    return [by_key[entry.key] for entry in some]


def _slug(name: str) -> str:
    """A series' name as a chart's: its own where that is plain, else a hash of it."""
    plain = name.replace("_", "-")
    return (
        plain
        if plain.replace("-", "").isalnum() and plain.isascii() and len(plain) < 40
        else ("series-" + sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:10])
    )


PAGE = Page(
    path="/dynamics",
    title="Dynamics",
    question="How did the trainings move, and is smoothness tied to the gradient norm?",
    answer=answer,
    controls=(SERIES, CLOCK, GROUP, SMOOTHING, UNTIL),
    choose=default_pair,
)
