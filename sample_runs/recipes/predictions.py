"""What one run predicts beside what was swept, kept as numbers, so that all samples can be judged together."""

import json

import numpy as np

from gradlens.analysis import SweetSpot, predict_sweet_spot, prediction_pairs
from gradlens.analysis.ladders import Ladder
from gradlens.stats.interior_minimum import interior_minimum
from gradlens.stats.mean_interval import mean_interval


def checks(task, runs, answer):
    """Task, prediction and swept norms for each learning rate that has both.

    Args:
        task: its name.
        runs: plain ones; the first of a learning rate counts.
        answer: from ``micro_batch_bias``.
    """
    return [(task, *pair) for pair in prediction_pairs([predict_sweet_spot(run) for run in runs], answer)]


def write(found, file):
    """Write checks as JSON."""
    rows = [
        {
            "task": task,
            "run": predicted.run,
            "lr": predicted.lr,
            "status": predicted.status,
            "sizes": predicted.sizes.tolist(),
            "predicted": predicted.floor.tolist(),
            "near": predicted.near,
            "swept_sizes": swept.sizes.tolist(),
            "seeds": swept.seeds,
            "swept": np.round(swept.values, 5).tolist(),
        }
        for task, predicted, swept in found
    ]
    file.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def read(file):
    """The checks of a file that :func:`write` wrote."""
    return [_check(row) for row in json.loads(file.read_text())]


def _check(row):
    sizes, floor = np.array(row["sizes"]), np.array(row["predicted"])
    unknown = np.full(len(sizes), np.nan)
    predicted = SweetSpot(
        run=row["run"], steps=np.empty(0, np.int64), sizes=sizes, floor=floor, low=unknown, high=unknown,
        bias_part=unknown, best=int(sizes[np.nanargmin(floor)]), near=tuple(row["near"]), factor=1.1, lr=row["lr"],
        smoothness=np.nan, rests=(), status=row["status"],
    )  # fmt: skip
    values, swept = np.array(row["swept"]), np.array(row["swept_sizes"])
    found = interior_minimum(swept, values)
    seeds = tuple(row["seeds"])
    norms = Ladder("full gradient norm", swept, seeds, values, mean_interval(values), False, found)
    return row["task"], predicted, norms
