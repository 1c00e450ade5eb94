"""Where would a threshold have clipped, and what would it have left of the learning rate? A rule replayed over runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gradlens.analysis import (
    COUNTERFACTUAL,
    layer_clipping,
    norm_span,
    parameter_of,
    recommend_thresholds,
    stability,
    sweep_rule,
    thresholds,
    widest,
    without_norms,
)
from gradlens.clipping import ClipRule, one_rule
from gradlens.figures import layer_clipping as layers_figure
from gradlens.figures import norm_distribution, spike_timeline, threshold_history
from gradlens.figures import threshold_sweep as sweep_figure
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.layer_clipping import TITLE as LAYERS
from gradlens_app.controls import Choice, Number, Slider
from gradlens_app.data import Data, Entry
from gradlens_app.names import colours, labels
from gradlens_app.page import Answer, Chart, Handle, Page, Words
from gradlens_app.pages.clipping_tiles import About, tiles
from gradlens_app.pages.pairs import first_unclipped
from gradlens_app.runs_said import said
from gradlens_app.view import View

MOST = 4
MOST_LAYERS = 64
"""Layers replayed on the page: each is a series of its own to read."""
ANY_NORM = 1.0
"""Where neither the reader nor the run says a fixed threshold."""
OTHER_CLOCK = "Curves on this page run over steps."

RULE = Choice("rule", "rule", (("autoclip", "AutoClip"), ("fixed", "fixed norm"), ("zclip", "ZClip")), "autoclip")
PERCENTILE = Slider("p", "percentile", default=10, unit="", when=(RULE, "autoclip"))
NORM = Number("norm", "threshold", placeholder="recommended", when=(RULE, "fixed"))
SCORE = Slider("z", "z-score", least=0.5, most=6, default=2.5, step=0.1, unit=" sd", when=(RULE, "zclip"))
_HANDLES = {
    "autoclip": Handle(PERCENTILE.name, "y", "Percentile of AutoClip", 100),
    "fixed": Handle(NORM.name, "x", "Fixed threshold"),
}
_SWEEP_HANDLES = {
    "autoclip": Handle(PERCENTILE.name, "x", "Percentile of AutoClip, on the sweep"),
    "fixed": Handle(NORM.name, "x", "Fixed threshold, on the sweep"),
    "zclip": Handle(SCORE.name, "x", "Z-score of ZClip, on the sweep"),
}


def answer(data: Data, entries: Sequence[Entry], view: View) -> Answer:
    """For each run the distribution, the sweep, the path of the threshold, the rate, the layers and the spikes."""
    for control in (PERCENTILE, NORM, SCORE):  # one that is idle must be right too: the next choice reads it
        control.read(view)
    asked = data.ask_each(without_norms, entries)
    some = [entry for entry, why in zip(asked.entries, asked.answers, strict=True) if not why]
    texts = _named(entries)
    kinds = [_charts(_Figures(data, entry, view, some), texts[entry.key] if len(entries) > 1 else "") for entry in some]
    charts = tuple(chart for kind in zip(*kinds, strict=True) for chart in kind)
    notes = [COUNTERFACTUAL] if some else []
    notes += [OTHER_CLOCK] if some and view.clock != "step" else []
    notes += [why for why in asked.answers if why] + list(asked.problems)
    return Answer(charts, lambda: _words(data, entries, some, view), tuple(notes))


def rule_of(data: Data, entry: Entry, view: View) -> ClipRule:
    """The rule that an address chooses; a fixed norm that it does not say is the one recommended for the run."""
    name = RULE.read(view)
    if name == "autoclip":
        return one_rule(percentile=PERCENTILE.read(view))
    if name == "zclip":
        return one_rule(z_score=SCORE.read(view))
    norm = NORM.read(view)
    if norm is None:
        advice = data.ask(recommend_thresholds, entry)
        norm = ANY_NORM if advice.status else float(f"{advice.max_norm:.3g}")
    return one_rule(max_norm=norm)


@dataclass(frozen=True, slots=True)
class _Figures:
    """The figures of one run."""

    data: Data
    entry: Entry
    view: View
    beside: Sequence[Entry]

    @property
    def limits(self) -> tuple[float, float] | None:
        """Of the norms of all runs shown, which are compared."""
        return widest(self.data.ask_each(norm_span, self.beside).answers) if len(self.beside) > 1 else None

    @property
    def rule(self) -> ClipRule:
        return rule_of(self.data, self.entry, self.view)

    def distribution(self) -> Figure:
        percentile = PERCENTILE.read(self.view) if RULE.read(self.view) == "autoclip" else None
        return norm_distribution(
            self.data.ask(thresholds, self.entry, self.rule), percentile, self.view.window, self.limits
        )

    def history(self) -> Figure:
        return threshold_history(self.data.ask(thresholds, self.entry, self.rule), self.view.window, self.limits)

    def sweep(self) -> Figure:
        return sweep_figure(self.data.ask(sweep_rule, self.entry, self.rule.name), parameter_of(self.rule))

    def layers(self) -> Figure:
        return layers_figure(self.data.ask(layer_clipping, self.entry, self.rule, most=MOST_LAYERS))

    def spikes(self) -> Figure:
        return spike_timeline(self.data.ask(stability, self.entry), self.view.window)


def _charts(figures: _Figures, whose: str) -> list[Chart]:
    """The charts of one run; of several runs, those that are compared."""
    name, key = RULE.read(figures.view), figures.entry.key

    def chart(kind: str, title: str, draw: Callable[[], Figure], index: int = 0, **more: Any) -> Chart:
        title = f"{whose}: {title}" if whose else title
        return Chart(f"{kind}-{key}", title, partial(_panel, draw, index, whose), **more)

    made = [
        chart("norms", "Distribution of gradient norms", figures.distribution, handle=_HANDLES.get(name), legend=True),
        chart("sweep", "Share clipped by parameter", figures.sweep, handle=_SWEEP_HANDLES[name], legend=True),
        chart("path", "Gradient norm and threshold", figures.history, curves=True, legend=True),
        chart("rate", "Share of steps clipped", figures.history, 1, curves=True),
        chart("lr", "Effective learning rate", figures.distribution, 1, curves=True, legend=True),
        chart("layers", LAYERS, figures.layers),
    ]
    spikes = [
        chart("norm-spikes", "Gradient norm", figures.spikes, 0, curves=True),
        chart("loss-spikes", "Training loss", figures.spikes, 1, curves=True),
        chart("events", "Events", figures.spikes, 2, curves=True),
        chart("growth", "Layers", figures.spikes, 3, curves=True),
    ]
    return made + (spikes[2:3] if whose else spikes)


def _panel(draw: Callable[[], Figure], index: int, whose: str) -> Figure:
    figure = draw()
    # A figure that has nothing to show may have a single panel, which says why.
    only = figure.only(min(index, len(figure.panels) - 1))
    (panel,) = only.panels
    return replace(only, panels=(replace(panel, title=f"{whose}: {panel.title}"),)) if whose else only


def _words(data: Data, entries: Sequence[Entry], some: Sequence[Entry], view: View) -> Words:
    if not some:
        return Words(problems=said(data, entries))
    advice = data.ask_each(recommend_thresholds, some)
    replayed = [data.ask_each(thresholds, [entry], rule_of(data, entry, view)) for entry in advice.entries]
    of_run = {entry.key: answer for each in replayed for entry, answer in zip(each.entries, each.answers, strict=True)}
    texts, roles = _named(entries), dict(zip((entry.key for entry in entries), colours(entries), strict=True))
    about = [
        About(texts[entry.key], roles[entry.key], of_run[entry.key], advised)
        for entry, advised in zip(advice.entries, advice.answers, strict=True)
        if entry.key in of_run
    ]
    problems = said(data, entries, (advice, *replayed))
    captions = [norm_distribution(each.replayed).caption for each in about]
    reasons = dict.fromkeys(each.advice.percentile_reason for each in about)
    return Words(tiles(about), problems, " ".join([*captions, *reasons]))


def _named(entries: Sequence[Entry]) -> dict[str, str]:
    return dict(zip((entry.key for entry in entries), labels([entry.run for entry in entries]), strict=True))


PAGE = Page(
    path="/clipping",
    title="Clipping lab",
    question="Which recorded steps would a threshold have clipped, and what would be left of the learning rate?",
    answer=answer,
    controls=(RULE, PERCENTILE, NORM, SCORE),
    most=MOST,
    choose=first_unclipped,
)
