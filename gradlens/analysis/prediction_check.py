"""Predicted micro-batch sizes against sweeps of the same trainings: which belong together, and how many hit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradlens.analysis.hit_rate import HitRate, hit_rate
from gradlens.analysis.ladders import Ladder
from gradlens.analysis.micro_batch_bias import MicroBatchBias
from gradlens.analysis.sweet_spot import SweetSpot

FEWEST_SIZES = 3
"""Sizes that prediction and sweep must share: of two, any guess hits too often."""


def check_predictions(predictions: Sequence[SweetSpot], bias: MicroBatchBias) -> HitRate:
    """Judge predictions by the sweeps at their own learning rates.

    Of several predictions at one rate the first counts: those of other seeds are of the same training, and would count
    one hit often.

    Args:
        predictions: of runs of the task.
        bias: from ``micro_batch_bias`` over the task's runs.

    Returns:
        The hit rate; its ``n`` is 0 where no sweep shares three sizes with a prediction at its rate.

    >>> check_predictions([], MicroBatchBias()).n
    0
    """
    pairs = prediction_pairs(predictions, bias)
    return hit_rate([one for one, _ in pairs], [ladder for _, ladder in pairs])


def prediction_pairs(predictions: Sequence[SweetSpot], bias: MicroBatchBias) -> tuple[tuple[SweetSpot, Ladder], ...]:
    """Each prediction that is judged, with the sweep of the gradient norm at its learning rate.

    Args:
        predictions: of runs of the task; of several at one rate the first counts.
        bias: from ``micro_batch_bias`` over the task's runs.
    """
    pairs: dict[float, tuple[SweetSpot, Ladder]] = {}
    for prediction in predictions:
        swept = _swept(prediction, bias)
        if swept is not None:
            pairs.setdefault(*swept)
    return tuple(pairs.values())


def prediction_at(predictions: Sequence[SweetSpot], lr: float) -> SweetSpot | None:
    """The first prediction for a learning rate; None where there is none.

    Args:
        predictions: of several runs.
        lr: the learning rate of a sweep.
    """
    return next((each for each in predictions if each.best and np.isclose(each.lr, lr, rtol=1e-6)), None)


def _swept(prediction: SweetSpot, bias: MicroBatchBias) -> tuple[float, tuple[SweetSpot, Ladder]] | None:
    for sweep in bias.sweeps:
        shared = np.intersect1d(prediction.sizes, sweep.norm.sizes)
        same = not sweep.decays and np.isclose(prediction.lr, sweep.lr, rtol=1e-6)
        if prediction.best and same and len(shared) >= FEWEST_SIZES:
            return sweep.lr, (prediction, sweep.norm)
    return None
