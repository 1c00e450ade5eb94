"""``micro_batch_bias`` by name: what the micro-batch size does, from the runs of a sweep."""

from __future__ import annotations

from collections.abc import Sequence

from gradlens.analysis import frozen_estimates, held_out_metrics, predict_sweet_spot, prediction_at
from gradlens.analysis import micro_batch_bias as ask
from gradlens.figures.drawing import Drawing, Option
from gradlens.figures.figure import Figure
from gradlens.figures.gallery.micro_batch_bias import micro_batch_bias, sweep_shown
from gradlens.store import Run


def _make(
    runs: Sequence[Run],
    metric: str | None = None,
    lr: float | None = None,
    better: str = "larger",
    memorises: str = "yes",
) -> Figure:
    _one_of("better", better, ("larger", "smaller"))
    _one_of("memorises", memorises, ("yes", "no"))
    found = ask(
        runs,
        metric=next(iter(held_out_metrics(runs)), "") if metric is None else metric,
        larger_is_better=better == "larger",
        can_memorise=memorises == "yes",
    )
    sweep = sweep_shown(found, lr)
    predictions = [predict_sweet_spot(run) for run in runs if frozen_estimates(run)] if sweep is not None else []
    prediction = None if sweep is None else prediction_at(predictions, sweep.lr)
    return micro_batch_bias(found, lr=lr, prediction=prediction)


def _one_of(name: str, given: str, allowed: tuple[str, str]) -> None:
    if given not in allowed:
        raise ValueError(f"expected {name} to be {allowed[0]!r} or {allowed[1]!r}; got {given!r}.")


DRAWING = Drawing(
    _make,
    options=(
        Option("metric", str, "held-out metric that the runs logged; the first of them if not given"),
        Option("lr", float, "learning rate to show"),
        Option("better", str, "whether a larger or a smaller metric is better: larger, the default, or smaller"),
        Option("memorises", str, "whether the model can memorise its training set: yes, the default, or no"),
    ),
)
