"""Simulated trainings as the analysis takes them, and a Parquet file of them: hundreds, in a few hundred kilobytes."""

import json
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradlens.analysis.trainings import Training, how_it_ended

_CURVES = ("grad_norm", "loss", "accuracy")
_FACTS = ("arm", "micro_batch_size", "batch_size", "lr", "decays", "seed")


@dataclass(frozen=True, slots=True)
class Simulated(Training):
    """A training of the simulator, which also has the held-out accuracy at each of its steps."""

    accuracy: np.ndarray = field(default_factory=lambda: np.empty(0))


def simulated(result, arm, sizes, lr, seeds, *, decays=False, batch=64, domains=None):
    """The simulator's arrays, one training each.

    Args:
        result: from ``simulate``.
        arm: clipped, control, plain or pruned.
        sizes: micro-batch sizes, as they were simulated.
        lr: learning rate, the first if it decays.
        seeds: as they were simulated.
        decays: whether it does.
        batch: samples in a step.
        domains: name of a domain -> (seeds, sizes) held-out accuracy in it, at the end.
    """
    for row, seed in enumerate(seeds):
        for column, b in enumerate(sizes):
            curves = {name: np.float32(result[name][row, column]) for name in _CURVES}
            by_domain = {name: float(values[row, column]) for name, values in (domains or {}).items()}
            yield _training((arm, b, batch, float(lr), decays, seed), result["steps"], curves, by_domain)


def measured_at(steps, points=40, *, early=True):
    """Steps at which the whole training set is measured: evenly, and often early on, where losses fall.

    Args:
        steps: how many the training takes.
        points: how many evenly.
        early: whether also often early on; not where a tail is fitted, which would then be a fit of the start.
    """
    evenly = set(range(0, steps, max(1, steps // points)))
    return evenly | set(map(int, np.geomspace(1, max(2, steps // 4), 24))) if early else evenly


def _training(facts, steps, curves, domains):
    """One training: what it was, its curves in single precision, as the file has them, and how it ended."""
    arm, b, batch, lr, decays, seed = facts
    norms, loss, accuracy = (np.asarray(curves[name], dtype=np.float64) for name in _CURVES)
    # A training without the draggers is not judged by its loss on them.
    ends = (np.nan, np.nan) if arm == "pruned" else (float(loss[0]), float(loss[-1]))
    return Simulated(
        name=f"{arm}, b = {b}, lr {lr:g}, seed {seed}", arm=arm, micro_batch_size=b, batch_size=batch, lr=lr,
        decays=decays, seed=seed, steps=np.asarray(steps), grad_norm=norms, loss=loss, metric=float(accuracy[-1]),
        domains=domains, excluded=how_it_ended(norms, *ends, float(accuracy[-1]), chance=0.1), accuracy=accuracy,
    )  # fmt: skip


def write(sweeps, file):
    """Write trainings, a row each.

    Args:
        sweeps: title of a sweep -> its trainings.
        file: the Parquet file.
    """
    rows = [(title, each) for title, found in sweeps.items() for each in found]
    columns = {"sweep": [title for title, _ in rows]} | {
        name: [getattr(each, name) for _, each in rows] for name in _FACTS
    }
    columns |= {
        "domains": [json.dumps(each.domains) for _, each in rows],
        "steps": pa.array([each.steps for _, each in rows], pa.list_(pa.int32())),
    }
    columns |= {
        name: pa.array([np.float32(getattr(each, name)) for _, each in rows], pa.list_(pa.float32()))
        for name in _CURVES
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    split = [f"{name}.list.element" for name in _CURVES[:2]]
    pq.write_table(
        pa.table(columns),
        file,
        compression="zstd",
        compression_level=12,
        use_dictionary=[*_FACTS, "sweep", "domains", "steps.list.element", "accuracy.list.element"],
        use_byte_stream_split=split,
    )


def read(file):
    """What :func:`write` wrote: title -> trainings."""
    found = {}
    for row in pq.read_table(file).to_pylist():
        facts = tuple(row[name] for name in _FACTS)
        training = _training(facts, row["steps"], row, json.loads(row["domains"]))
        found.setdefault(row["sweep"], []).append(training)
    return found
