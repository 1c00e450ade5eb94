"""The whole recipe: every percentile of the paper's table 1 over the seeds, then the figures, the claims and a page.

    python recipe.py --out out                  21 trainings, about an hour of one core
    python recipe.py --out out --fast           two short ones, well under a minute: FAST=1 does the same
    python recipe.py --out out/kept --size kept    the paper's pair on 320 mixtures, gone through 100 times
    python recipe.py --out out/gpu --size gpu --device cuda    the pair in the paper's network, four minutes of a GPU
    python recipe.py --out out --size paper --device cuda --train wav8k/min/tr --test wav8k/min/tt

Trainings that an earlier call finished are kept: a recipe that was stopped goes on where it was.
"""

import sys
import time
from dataclasses import fields, replace
from pathlib import Path

from claims import claims
from measured import NONE, TABLE_1, measure, percentile_of
from page import TRIED, drawn, page
from sizes import SIZES, Size

import gradlens

sys.path.append(str(Path(__file__).parents[1]))  # for what the samples share
from recipes import claims as claims_file
from recipes import command, pictures, timing
from recipes.training import job, train_all

CLIPPED = 10
ARMS = {  # size -> percentiles and seeds
    "fast": ((CLIPPED, NONE), (0,)),
    "cpu": (tuple(TABLE_1), (0, 1, 2)),
    "kept": ((CLIPPED, NONE), (0, 1, 2)),
    "gpu": ((CLIPPED, NONE), (0,)),
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
    jobs = [
        job(SIZES[size].steps, out=runs, size=size, seeds=seed, percentile=None if percentile == NONE else percentile)
        for seed in seeds
        for percentile in order
        if (percentile, seed) not in done
    ]
    script = Path(__file__).with_name("train.py")
    train_all(script, [replace(each, arguments=(*each.arguments, *options)) for each in jobs], processes)


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
    shown = drawn(pairs, by_percentile)
    for figure in shown:
        pictures.save(figure, out / "figures" / figure.name)
    found = claims(pairs, by_percentile)
    claims_file.write(found, out / "claims.json")
    tried = {name: claims_file.read(file) for name in TRIED if (file := out / name / "claims.json").is_file()}
    text = page(pairs, by_percentile, found, shown if size != "fast" else (), tried)
    (out / "results.md").write_text(text)
    return text


def main(out, size, options=(), processes=None):
    """Record what is missing, analyse and draw; returns the folder of runs."""
    root = Path(out)
    whole = not (root / "runs").is_dir()
    begin = time.monotonic()
    record(root / "runs", size, options, processes)
    print(draw(root / "runs", root, size))
    timing.write(root, begin if whole else None)
    return root / "runs"


if __name__ == "__main__":
    parser = command.parser(__doc__)
    parser.epilog = "Further options are those of train.py: --loss, --speech, --train, --test, --device."
    parser.add_argument("--size", choices=ARMS, default="cpu", help="default: %(default)s")
    given, further = parser.parse_known_args()
    if command.wants_fast(given):
        main(given.out, "fast", [*further, "--speech", "synthetic"], given.processes)
    else:
        main(given.out, given.size, further, given.processes)
