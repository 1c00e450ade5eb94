"""What a recipe takes: its trainings' own seconds, from their records, and how long it took as a whole."""

import json
import os
import time

import pyarrow.parquet as pq

import gradlens

FILE = "timing.json"
NOTE = (
    "Trainings recorded, and the time they took one by one, from their own records; trainings simulated; and how long "
    "the whole recipe took at its last run, with how many cores, other work on the machine included."
)
HEAD = ("| recipe | recorded | their time | simulated | the whole |", "|---|---|---|---|---|")


def write(root, begin=None):
    """Write ``timing.json``.

    Args:
        root: the recipe's folder, with ``runs`` and, where trainings were simulated, ``sweeps.parquet``.
        begin: when it began, by ``time.monotonic``; None keeps how long the whole took an earlier time.
    """
    runs = gradlens.open_runs(root / "runs")
    clocks = [times for run in runs if len(times := run.series("time")[1])]
    earlier = json.loads((root / FILE).read_text()) if (root / FILE).is_file() else {}
    swept = root / "sweeps.parquet"
    found = {
        "recorded": len(runs),
        "recorded_seconds": round(float(sum(times[-1] - times[0] for times in clocks))),
        "simulated": pq.read_metadata(swept).num_rows if swept.is_file() else 0,
        "whole": {"seconds": round(time.monotonic() - begin), "cores": os.cpu_count()}
        if begin is not None
        else earlier.get("whole"),
    }
    (root / FILE).write_text(json.dumps(found, indent=1) + "\n")


def lines(folder):
    """Rows of the table, of a sample and of its small version."""
    for name, place in ((folder.name, folder), (f"{folder.name}, FAST=1", folder / "fast")):
        if (place / FILE).is_file():
            found = json.loads((place / FILE).read_text())
            whole = found["whole"]
            took = f"{minutes(whole['seconds'])}, {whole['cores']} cores" if whole else "not measured in one go"
            yield (
                f"| {name} | {found['recorded']} | {minutes(found['recorded_seconds'])} | {found['simulated'] or ''} "
                f"| {took} |"
            )


def minutes(seconds):
    """A time in words.

    >>> minutes(9), minutes(150)
    ('9 s', '2.5 min')
    """
    if seconds < 90:
        return f"{seconds} s"
    return f"{seconds / 60:.2g} min" if seconds < 5400 else f"{seconds / 3600:.2g} h"
