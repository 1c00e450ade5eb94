"""What does the size of the micro-batches do, which is best, and which micro-batches drag?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import gradlens.figures as draw
from gradlens.analysis import (
    HitRate,
    MicroBatchBias,
    NoiseScale,
    SweetSpot,
    check_predictions,
    domain_detections,
    dragger_profile,
    held_out_metrics,
    largest_task,
    micro_batch_bias,
    noise_scale,
    of_one_task,
    predict_sweet_spot,
    prediction_at,
    recorded_micro_batches,
    swept_rates,
    training,
    what_to_record,
)
from gradlens.analysis.micro_batch_bias import RateSweep
from gradlens.figures.figure import Figure, sentence
from gradlens.figures.gallery.micro_batch_bias import sweep_shown
from gradlens.store import Run
from gradlens_app.controls import Choice
from gradlens_app.data import Data, Each, Entry
from gradlens_app.names import labels
from gradlens_app.numbers import three, within
from gradlens_app.page import Answer, Chart, Page, Tile, Words, panels
from gradlens_app.runs_said import said
from gradlens_app.view import View, percentage

SWEEP = ("Noise floor", "Constant bias", "Pruning effect", "Held-out metric")
DRAGGERS = ("Gradient norm", "Cosine with the others", "Effective number of micro-batches")


def _metrics(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return [(name, name) for name in held_out_metrics(runs)]


def _rates(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return [(f"{rate:g}", f"{rate:g}") for rate in swept_rates(runs)]


def _names(runs: Sequence[Run]) -> list[tuple[str, str]]:
    return [(run.run_id, name) for run, name in zip(runs, labels(runs), strict=True)]


METRIC = Choice("metric", "metric", _metrics, placeholder="first logged")
BETTER = Choice("better", "better is", (("larger", "larger"), ("smaller", "smaller")), default="larger")
FITS = Choice("memorise", "can memorise", (("yes", "yes"), ("no", "no")), default="yes")
RATE = Choice("lr", "learning rate", _rates, placeholder="most sizes")
RUN = Choice("run", "one run", _names, placeholder="the first")


def answer(data: Data, entries: Sequence[Entry], view: View) -> Answer:
    """The sweep over sizes, the prediction of one run, and the micro-batches of one run, as far as recorded."""
    BETTER.read(view), FITS.read(view), _rate(view)  # a wrong address is told of at once
    has = data.ask_each(recorded_micro_batches, entries)
    mixed = of_one_task([entry.run.config for entry in entries])
    notes = list(what_to_record(has.answers))
    charts: list[Chart] = []
    if any(each.swept for each in has.answers):
        if mixed:
            notes.append(sentence(mixed))
        else:
            charts += panels("sweep", SWEEP, partial(_sweep_figure, data, entries, view), legend=True)
    frozen, table = _one(has, view, "frozen"), _one(has, view, "table")
    if frozen is not None:
        charts.append(Chart("predicted", "Predicted from one run", partial(_predicted, data, frozen), legend=True))
    if table is not None:
        charts += panels("micro-batches", DRAGGERS, partial(_draggers, data, table), legend=True)
        charts.append(Chart("domains", "Domains that stand out", partial(_domains, data, table), legend=True))
        charts.append(Chart("noise", "Noise scale", partial(_noise, data, table), legend=True))
        if len(entries) > 1:
            notes.append(f"Micro-batches one by one, and their noise scale, are of {table.run.name}.")
    return Answer(tuple(charts), lambda: _words(data, entries, view, has, mixed), tuple(notes))


def choose(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The runs of the task that most are of."""
    return tuple(entries[place] for place in largest_task([entry.run.config for entry in entries]))[: PAGE.most]


def _rate(view: View) -> float | None:
    text = RATE.read(view)
    return percentage(RATE.name, text, 1e9) if text else None


def _one(has: Each, view: View, what: str) -> Entry | None:
    """The run chosen for what is of one run; without a choice the first that recorded it."""
    wanted = RUN.read(view)
    having = [entry for entry, each in zip(has.entries, has.answers, strict=True) if getattr(each, what)]
    return next((entry for entry in having if entry.run.run_id == wanted), having[0] if having else None)


def _bias(data: Data, entries: Sequence[Entry], view: View) -> tuple[MicroBatchBias, Each]:
    metric = METRIC.read(view) or next(iter(held_out_metrics([entry.run for entry in entries])), "")
    trainings = data.ask_each(training, entries, metric)
    found = micro_batch_bias(
        trainings.answers,
        metric=metric,
        larger_is_better=BETTER.read(view) == "larger",
        can_memorise=FITS.read(view) == "yes",
    )
    return found, trainings


def _predictions(data: Data, entries: Sequence[Entry]) -> Each:
    has = data.ask_each(recorded_micro_batches, entries)
    frozen = [entry for entry, each in zip(has.entries, has.answers, strict=True) if each.frozen]
    return data.ask_each(predict_sweet_spot, frozen)


def _sweep_figure(data: Data, entries: Sequence[Entry], view: View) -> Figure:
    found, _ = _bias(data, entries, view)
    sweep = sweep_shown(found, _rate(view))
    if sweep is None:
        return draw.micro_batch_bias(found)
    prediction = prediction_at(_predictions(data, entries).answers, sweep.lr)
    return draw.micro_batch_bias(found, lr=sweep.lr, prediction=prediction)


def _predicted(data: Data, entry: Entry) -> Figure:
    return draw.sweet_spot(data.ask(predict_sweet_spot, entry))


def _draggers(data: Data, entry: Entry) -> Figure:
    return draw.dragger_profile(data.ask(dragger_profile, entry))


def _domains(data: Data, entry: Entry) -> Figure:
    return draw.domain_detections(data.ask(domain_detections, entry))


def _noise(data: Data, entry: Entry) -> Figure:
    return draw.noise_scale(data.ask(noise_scale, entry))


def _words(data: Data, entries: Sequence[Entry], view: View, has: Each, mixed: str) -> Words:
    found, trainings = (MicroBatchBias(status=mixed), Each((), (), ())) if mixed else _bias(data, entries, view)
    predictions = _predictions(data, entries)
    sweep, frozen, table = sweep_shown(found, _rate(view)), _one(has, view, "frozen"), _one(has, view, "table")
    captions = [] if sweep is None else [_sweep_figure(data, entries, view).caption]
    captions += [] if frozen is None else [_predicted(data, frozen).caption]
    captions += [] if table is None else [f(data, table).caption for f in (_draggers, _domains, _noise)]
    own = next((p for e, p in zip(predictions.entries, predictions.answers, strict=True) if e is frozen), None)
    tiles = (
        _best(found, sweep, _rate(view)),
        _pruning(found, sweep),
        _prediction(own, check_predictions(predictions.answers, found)),
        _noise_tile(None if table is None else data.ask(noise_scale, table)),
    )
    problems = said(data, has.entries, (has, trainings, predictions))
    return Words(tiles, problems, " ".join(captions))


def _best(found: MicroBatchBias, sweep: RateSweep | None, wanted: float | None) -> Tile:
    if sweep is None:
        return Tile("best micro-batch size", (("–", "", ""),), (found.status,))
    name = "noise floor" if sweep.is_floor else f"gradient norm at T = {sweep.last_step:,}"
    least, at = sweep.norm.minimum, f"lr {sweep.lr:g}"
    notes = [f"not distinguishable from it: {', '.join(map(str, least.ties))}", sweep.norm.status, sweep.status]
    if sweep.metric is not None:
        best = sweep.metric.minimum
        ties = ", ".join(map(str, best.ties))
        notes.insert(1, f"by {sweep.metric.quantity}: b = {best.best} (not distinguishable: {ties})")
    if wanted not in (None, sweep.lr):
        at = f"{at}, since there is no sweep at lr {wanted:g}"
    if found.excluded:
        notes.append(f"{len(found.excluded)} runs left out, such as {found.excluded[0]}")
    return Tile(f"best b by {name}, {at}", ((f"b = {least.best}", "", name),), tuple(filter(None, notes)))


def _pruning(found: MicroBatchBias, sweep: RateSweep | None) -> Tile:
    """The effect on the metric where there is one, at the best size if that has a control."""
    title, limits = "pruning effect", [str(each.micro_batch_size) for each in found.biases if not each.status]
    bias = f"constant bias identified at b = {', '.join(limits)}" if limits else "no constant bias is identified"
    quantity = None if sweep is None else (sweep.metric or sweep.norm).quantity
    effects = [
        each
        for each in found.effects
        if sweep and each.quantity == quantity and (each.lr, each.decays) == (sweep.lr, sweep.decays)
    ]
    if sweep is None or not effects:
        return Tile(title, (("–", "", ""),), ("no control was run: match_step(micro_batch())", bias))
    effect, best = effects[0], (sweep.metric or sweep.norm).minimum.best
    sizes = effect.sizes.tolist()
    place = sizes.index(best) if best in sizes else 0
    control = "the same step length" if effect.versus == "control" else "removal of the known draggers"
    span = (float(effect.difference.low[place]), float(effect.difference.high[place]))
    notes = (f"95 % interval {within('', span, three)}", f"change of {quantity}, less {control}", effect.status, bias)
    value = three(float(effect.difference.mean[place]))
    return Tile(f"{title} at b = {sizes[place]}", ((value, "", ""),), tuple(filter(None, notes)))


def _prediction(own: SweetSpot | None, hits: HitRate) -> Tile:
    title = "best b predicted from one run"
    if own is None:
        return Tile(title, (("–", "", ""),), ("no run here has estimates at frozen weights",))
    if hits.n:
        judged = (
            f"hit rate: {hits.hits} of {hits.n} learning rates within a factor 2 of the sweep's best, "
            f"exact 95 % interval {hits.low:.2f} to {hits.high:.2f}; "
            f"always guessing b = {hits.constant} hits {hits.constant_hits}"
        )
    else:
        judged = "hit rate not known: no sweep over three sizes here at a predicted learning rate"
    value = f"b = {own.best}" if own.best else "–"
    return Tile(title, ((value, "", own.run),), (f"{own.run}, lr {own.lr:g}", own.status or "at rest", judged))


def _noise_tile(found: NoiseScale | None) -> Tile:
    title = "noise scale, samples"
    if found is None:
        return Tile(title, (("–", "", ""),), ("no run here recorded its micro-batches one by one",))
    span = f"95 % interval {within('', found.overall.interval, three)}"
    notes = (found.status,) if found.status else ("over the time recorded", span)
    return Tile(title, ((three(found.overall.value), "", ""),), notes)


PAGE = Page(
    path="/micro-batches",
    title="Micro-batches",
    question="Which micro-batch size is best under micro-batch clipping, and which micro-batches drag?",
    answer=answer,
    controls=(METRIC, BETTER, FITS, RATE, RUN),
    choose=choose,
)
