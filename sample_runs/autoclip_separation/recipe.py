"""The whole recipe: every percentile of the paper's table 1 over the seeds, then the figures, the claims and a page.

    python recipe.py --out out                  21 trainings, about an hour of one core
    python recipe.py --out out --fast           two short ones, well under a minute: FAST=1 does the same
    python recipe.py --out out/kept --size kept    the paper's pair on 320 mixtures, gone through 100 times
    python recipe.py --out out --size paper --device cuda --train wav8k/min/tr --test wav8k/min/tt

Trainings that an earlier call finished are kept: a recipe that was stopped goes on where it was.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

from claims import claims
from measured import NONE, TABLE_1, measure, percentile_of
from page import page, pictures
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sizes import SIZES, Size

import gradlens
from gradlens import figures

CLIPPED = 10
ARMS = {  # size -> percentiles and seeds
    "fast": ((CLIPPED, NONE), (0,)),
    "cpu": (tuple(TABLE_1), (0, 1, 2)),
    "kept": ((CLIPPED, NONE), (0, 1, 2)),
    "paper": ((CLIPPED, NONE), (0,)),
}


def record(runs, size, options, processes):
    """Train what is not there yet, a process for each percentile and seed.

    Args:
        runs: folder of runs.
        size: one of ``train.SIZES``.
        options: further options of ``train.py``.
        processes: how many at once.
    """
    percentiles, seeds = ARMS[size]
    done = {(percentile_of(run), run.config["seed"]) for run in finished(runs, size)}
    # Seed by seed, and the pair of the paper's figure first: a recipe that is stopped leaves what compares.
    order = sorted(percentiles, key=lambda p: (p not in (CLIPPED, NONE), p))
    jobs = [(percentile, seed) for seed in seeds for percentile in order if (percentile, seed) not in done]
    console = Console(stderr=True)
    columns = TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=len(jobs) * SIZES[size].steps)

        def run(job):
            percentile, seed = job
            command = [sys.executable, str(Path(__file__).with_name("train.py")), "--out", str(runs), "--size", size]
            command += ["--seeds", str(seed), *options]
            if percentile != NONE:
                command += ["--percentile", str(percentile)]
            said = deque(maxlen=12)
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
                for line in process.stdout:
                    said.append(line)
                    if line.startswith("steps "):
                        progress.advance(bar, int(line.split()[1]))
            if process.returncode != 0:
                raise RuntimeError(f"train.py at percentile {percentile}, seed {seed} failed:\n{''.join(said)}")

        with ThreadPoolExecutor(processes) as pool:
            list(pool.map(run, jobs))


def finished(runs, size):
    """The runs that were trained to the end.

    Raises:
        FileExistsError: where the folder holds runs of another size, or of several losses or data.
    """
    found = [run for run in gradlens.open_runs(runs) if run.status == "finished"] if Path(runs).is_dir() else []
    names = [field.name for field in fields(Size)]
    others = [run for run in found if {n: run.config[n] for n in names if n in run.config} != SIZES[size].settings()]
    if others or len({(run.config["loss"], run.config["voices"]) for run in found}) > 1:
        raise FileExistsError(f"{runs} holds runs of this recipe with other settings; give another --out.")
    return found


def draw(runs, out, size):
    """Analyse the runs; write figures, ``claims.json`` and ``results.md``, and return the latter."""
    by_percentile = {}
    for run in sorted(finished(runs, size), key=lambda run: (percentile_of(run), run.config["seed"])):
        by_percentile.setdefault(percentile_of(run), {})[run.config["seed"]] = measure(run)
    unclipped, clipped = (by_percentile.get(percentile, {}) for percentile in (NONE, CLIPPED))
    pairs = [(unclipped[seed], clipped[seed]) for seed in unclipped if seed in clipped]
    if not pairs:
        raise FileNotFoundError(f"{runs} holds no finished pair of runs, without clipping and with AutoClip p = 10.")
    shown = pictures(pairs, by_percentile)
    for figure in shown:
        figures.save(figure, out / "figures" / figure.name, formats=("pdf", "png"))
    found = claims(pairs, by_percentile)
    (out / "claims.json").write_text(
        json.dumps([asdict(claim) for claim in found], indent=1, ensure_ascii=False) + "\n"
    )
    other = out / "kept" / "claims.json"
    tried = json.loads(other.read_text()) if other.is_file() else ()
    text = page(pairs, by_percentile, found, shown if size != "fast" else (), tried)
    (out / "results.md").write_text(text)
    return text


def main(out, size, options=(), processes=None):
    """Record what is missing, analyse and draw; returns the folder of runs."""
    root = Path(out)
    record(root / "runs", size, options, processes or os.cpu_count() or 1)
    print(draw(root / "runs", root, size))
    return root / "runs"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Further options are those of train.py: --loss, --speech, --train, --test, --device.",
    )
    parser.add_argument("--out", required=True, help="folder for the runs, figures and results")
    parser.add_argument("--size", choices=ARMS, default="cpu", help="default: %(default)s")
    parser.add_argument("--fast", action="store_true", help="the small version, on synthetic voices")
    parser.add_argument("--processes", type=int, help="trainings at once; as many as there are cores if not given")
    given, further = parser.parse_known_args()
    if given.fast or os.environ.get("FAST", "0") not in ("", "0"):
        main(given.out, "fast", [*further, "--speech", "synthetic"], given.processes)
    else:
        main(given.out, given.size, further, given.processes)
