"""A hundred runs of a million steps, written as sealing writes them: ten that differ, and copies of each."""

import json
import os
import shutil
from itertools import pairwise

import numpy as np
import pyarrow as pa

from benchmarks.own import parameters
from gradlens.clipping import autoclip
from gradlens.store import Disk, compact_run, layout, sealing, segments, session

STEPS = 1_000_000
SEGMENTS = 8
DISTINCT = 10
LOGGED = ("accuracy", "perplexity")


def build(root, runs=100, steps=STEPS, distinct=DISTINCT):
    """Write the runs under a root; returns it."""
    originals = [_run(root, number, steps) for number in range(min(distinct, runs))]
    for number in range(len(originals), runs):
        original = originals[number % len(originals)]
        copy = root / f"run-{number:04d}"
        shutil.copytree(original, copy, copy_function=os.link)  # segments are never written to
        entries = json.loads((original / layout.RUN_FILE).read_text())
        (copy / layout.RUN_FILE).unlink()
        own = entries | {"run_id": copy.name, "name": copy.name, "created": entries["created"] + number}
        (copy / layout.RUN_FILE).write_text(json.dumps(own | {"config": _config(number)}))
    return root


def _run(root, number, steps):
    disk = Disk()
    rule = autoclip(percentile=10).spec() if number % 2 else None
    description = {"config": _config(number), "clip": rule}
    begun = session.start(disk, root, f"run-{number:04d}", description, parameters(["weight"]))
    ends = [round(part * steps / SEGMENTS / 256) * 256 for part in range(SEGMENTS)] + [steps]
    rng = np.random.default_rng(number)
    for first, end in pairwise(ends):
        table = _table(np.arange(first, end), steps, rng, clipped=rule is not None)
        segments.write(disk, begun.path / layout.STEPS, (0, first, end - 1), [table], sealing.pyramids(table))
    begun.beat({"rows": steps, "acknowledged": steps - 1, "dropped": 0, "last_error": None, "closed": "finished"})
    begun.close()
    compact_run(begun.path)
    return begun.path


def _config(number):
    return {"lr": (0.1, 0.03, 0.01)[number % 3], "seed": number // 3, "batch size": 64}


def _table(step, steps, rng, *, clipped):
    norms = np.exp(0.4 * rng.standard_normal(len(step)) - 1.5 * step / steps)
    norms[rng.random(len(step)) < 2e-6] = np.nan
    loss = 2.0 / (1 + 20 * step / steps) + 0.1 + 0.05 * rng.standard_normal(len(step)) ** 2
    # As a recorder's: what it measures in float32 has no more digits than that.
    columns = {
        "loss": np.float32(loss),
        "lr": 0.1 * (1 - step / steps),
        "grad_norm": np.float32(norms),
        "update_norm": np.float32(0.1 * norms),
        "param_norm": np.float32(10 + step / steps + 0.001 * rng.standard_normal(len(step))),
        "overhead_ms": np.full(len(step), 0.05),
        "accuracy": np.float32(1 - np.exp(-3 * step / steps) + 0.02 * rng.standard_normal(len(step))),
        "perplexity": np.float32(np.exp(loss)),
    }
    if clipped:
        columns["clip_threshold"] = np.full(len(step), 0.3)
    keys = {"step": step, "session": np.zeros_like(step), "seq": step}
    smoothness = np.where(step % 200 == 0, norms * np.exp(0.3 * rng.standard_normal(len(step))), 0)
    wide = {name: np.asarray(values, np.float64) for name, values in columns.items()}
    sparse = pa.array(smoothness, mask=step % 200 != 0)
    return pa.table(keys | {"time": 1.8e9 + 0.05 * step} | wide | {"smoothness": sparse, "samples": 64 * (step + 1)})
