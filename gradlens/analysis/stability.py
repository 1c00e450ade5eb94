"""Was the training stable? Spikes, steps that are not finite or were skipped, layers that explode or vanish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.alignment import NOTHING
from gradlens.analysis.layer_growth import FACTOR, SUSTAINED, Growth, layer_growth
from gradlens.analysis.layer_profile import layer_profile
from gradlens.stats import find_spikes
from gradlens.stats.spikes import SCORE, WINDOW
from gradlens.store import Run

Floats = NDArray[np.float64]
Steps = NDArray[np.int64]
FLOOR: Final = 0.01
"""Least spread that a spike is judged by: 1 % of the norm, or of the loss."""


@dataclass(frozen=True, slots=True)
class SpikeSeries:
    """One series and its spikes.

    Attributes:
        name: of the column.
        steps: (n,) recorded steps.
        values: (n,) as recorded.
        spike_steps: (k,) steps that stand out of their past.
        spike_values: (k,) what was recorded there.
        scores: (k,) robust standard deviations above the median of the window before; of norms, in their logarithm.
        episodes: runs of spikes that follow each other without a calm recorded step between them.
        scored: how many steps could be scored: the finite ones with a full window before them.
        nonfinite_steps: (j,) steps at which the series is NaN or infinite.
    """

    name: str
    steps: Steps
    values: Floats
    spike_steps: Steps
    spike_values: Floats
    scores: Floats
    episodes: int
    scored: int
    nonfinite_steps: Steps

    @property
    def rate(self) -> float:
        """Share of the scored steps that are spikes, NaN without any."""
        return len(self.spike_steps) / self.scored if self.scored else float("nan")


@dataclass(frozen=True, slots=True)
class Stability:
    """What was unstable in a run.

    Attributes:
        grad_norm: of the global gradient norm before clipping, spikes of its logarithm.
        loss: of the training loss, spikes as it is.
        nonfinite_steps: steps whose loss or global norm is NaN or infinite, or that count a parameter with such a norm.
        skipped_steps: steps recorded as not made: a loss scaler skipped them, or the gradient was thrown away.
        clipped: share of the steps above the run's own threshold; NaN without a clip.
        layers: layers that explode or vanish lastingly; see :func:`gradlens.analysis.layer_growth`.
        layer_status: empty, or why layers cannot be judged.
        window: recorded steps that a spike is compared with.
        score: least score of a spike.
        n: recorded steps.
        status: empty, or a sentence that says why there is no answer.
        note: what to doubt.
    """

    grad_norm: SpikeSeries
    loss: SpikeSeries
    nonfinite_steps: Steps
    skipped_steps: Steps
    clipped: float
    layers: tuple[Growth, ...]
    layer_status: str
    window: int
    score: float
    n: int
    status: str = ""
    note: str = ""


def stability(
    run: Run,
    *,
    window: int = WINDOW,
    score: float = SCORE,
    factor: float = FACTOR,
    sustained: float = SUSTAINED,
) -> Stability:
    r"""Look for what went wrong in a training.

    A **spike** is a step whose log gradient norm, or loss, is more than ``score`` robust standard deviations above the
    median of the ``window`` recorded steps before it (median and MAD, at least 1 %): only the past counts. On
    stationary log-normal norms the defaults raise about 2 false alarms in a million independent steps, 7 in 100,000
    where the logs of neighbours correlate by .9, 9 in 10,000 at .99, where a wandering norm is hard to tell from a
    spike. A planted norm twenty times the usual, at a spread of .3 in the logarithm, is found in 98 of 100 tries.

    Layers are judged by :func:`gradlens.analysis.layer_growth` on the run's ``layer_profile``. Whole-run reductions are
    vectorised; memory holds a few arrays as long as the series.

    Args:
        run: a run with gradient norms or losses.
        window: recorded steps to look back on, at least 8.
        score: least score of a spike.
        factor: how many times larger or smaller a layer's norm must get.
        sustained: for which share of the training at least.

    Returns:
        Spikes, steps that are not finite or were skipped, and layers. ``status`` says so where the run cannot answer.

    Raises:
        ValueError: if an argument is outside its range.
    """
    found = run.several("grad_norm", "loss", "nonfinite", "stepped", "clipped")
    columns = {name: found.get(name, NOTHING) for name in ("grad_norm", "loss", "nonfinite", "stepped", "clipped")}
    norm = _spikes("grad_norm", *columns["grad_norm"], window, score)
    loss = _spikes("loss", *columns["loss"], window, score)
    counted = columns["nonfinite"][0][columns["nonfinite"][1] > 0]
    profile = layer_profile(run)
    clipped = columns["clipped"][1]
    n = max(len(norm.steps), len(loss.steps))
    return Stability(
        grad_norm=norm,
        loss=loss,
        nonfinite_steps=np.unique(np.concatenate([norm.nonfinite_steps, loss.nonfinite_steps, counted])),
        skipped_steps=columns["stepped"][0][columns["stepped"][1] == 0],
        clipped=float(clipped.mean()) if len(clipped) else float("nan"),
        layers=layer_growth(profile, factor=factor, sustained=sustained),
        layer_status=profile.status,
        window=window,
        score=score,
        n=n,
        status="" if n else f"run {run.name!r} recorded neither gradient norms nor losses.",
        note=_note(norm, loss, window),
    )


def _spikes(name: str, steps: Steps, values: Floats, window: int, score: float) -> SpikeSeries:
    if name == "grad_norm":  # a norm of zero has no logarithm, and is no spike
        logs = np.log(values, out=np.full(len(values), np.nan), where=(values > 0) & np.isfinite(values))
        found = find_spikes(logs, window=window, score=score, floor=FLOOR)
    else:
        found = find_spikes(values, window=window, score=score, relative_floor=FLOOR)
    places = found.places
    return SpikeSeries(
        name=name,
        steps=steps,
        values=values,
        spike_steps=steps[places],
        spike_values=values[places],
        scores=found.scores,
        episodes=int((np.diff(places) > 1).sum()) + 1 if len(places) else 0,
        scored=int(found.scored.sum()),
        nonfinite_steps=steps[~np.isfinite(values)],
    )


def _note(norm: SpikeSeries, loss: SpikeSeries, window: int) -> str:
    said = []
    for series in (norm, loss):
        if not len(series.steps):
            said.append(f"The run has no {series.name}.")
        elif not series.scored:
            finite = int(np.isfinite(series.values).sum())
            said.append(f"{series.name} has {finite:,} finite values; a spike is judged by the {window} before it.")
    return " ".join([*said, f"The first {window} steps of a series are not judged, nor is a fall."])
