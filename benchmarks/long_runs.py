"""Long runs, written as sealing writes them but without pushing their rows through a log."""

import json
import os
import shutil
from itertools import pairwise

import numpy as np
import pyarrow as pa

from benchmarks.content import Norms
from benchmarks.own import parameters
from gradlens.store import Disk, compact_run, layout, sealing, segments, session
from gradlens.store.layout import BLOCK

SERIES = tuple(f"metric_{number:03d}" for number in range(200))
MILLION = 1_000_000
SEGMENTS = 32


def build(root, steps, count):
    """A run of 200 series in so many segments; returns its folder."""
    disk, norms = Disk(), Norms(len(SERIES), seed=3)
    begun = session.start(disk, root, f"{steps} steps", {}, parameters(["weight"]))
    ends = [round(part * steps / count / BLOCK) * BLOCK for part in range(count)] + [steps]
    for first, end in pairwise(ends):
        table = _table(first, norms.take(end - first))
        segments.write(disk, begun.path / layout.STEPS, (0, first, end - 1), [table], sealing.pyramids(table))
    begun.beat({"rows": steps, "acknowledged": steps - 1, "dropped": 0, "last_error": None, "closed": "finished"})
    begun.close()
    return begun.path


def _table(first, values):
    step = np.arange(first, first + len(values))
    wide = np.asfortranarray(values, np.float64)
    keys = {"step": step, "session": np.zeros_like(step), "seq": step}
    return pa.table(keys | {name: wide[:, place] for place, name in enumerate(SERIES)})


def compacted(run):
    """A compacted copy of a run, beside it."""
    copy = run.with_name(f"{run.name}-compacted")
    shutil.copytree(run, copy, copy_function=os.link)  # segments are never written to
    compact_run(copy)
    return copy


def many_runs(run, root, count):
    """A folder of copies of a run that differ in their ids and names."""
    entries = json.loads((run / layout.RUN_FILE).read_text())
    for number in range(count):
        copy = root / f"run-{number:04d}"
        shutil.copytree(run, copy, copy_function=os.link)
        (copy / layout.RUN_FILE).unlink()
        own = entries | {"run_id": copy.name, "name": copy.name, "created": entries["created"] + number}
        (copy / layout.RUN_FILE).write_text(json.dumps(own, indent=1))
    return root
