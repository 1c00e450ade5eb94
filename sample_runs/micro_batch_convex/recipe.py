"""The whole recipe: micro-batch sizes at constant and decaying rates, then the figure, claims and results.

    python recipe.py --out out            some minutes on two cores
    python recipe.py --out out --fast     some seconds: FAST=1 does the same

The sweeps of ten seeds are simulated (sweeps.parquet): a test holds the simulator equal to autograd. The plain runs
that predict are trained by train.py, with the recorder attached.
"""

import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from claims import claims
from sweep import FAST, FULL, all_trainings

sys.path.append(str(Path(__file__).parents[1]))
from recipes import claims as claims_file
from recipes import command, pictures, predictions, report, sweeps, timing
from recipes.training import train_all

import gradlens
from gradlens import analysis, figures


def record(root, size, processes):
    """Record the plain runs, and simulate the sweeps."""
    train_all(Path(__file__).with_name("train.py"), size.jobs(root / "runs"), processes)
    torch.set_num_threads(1)  # its matrices are small
    sweeps.write(all_trainings(size), root / "sweeps.parquet")


def biases(answer):
    """The constant bias by either route as Markdown."""
    yield "| b | route | constant bias | 95 % interval | |"
    yield "|---|---|---|---|---|"
    for each in answer.biases:
        span = f"{each.low:.4f} to {each.high:.4f}"
        yield f"| {each.micro_batch_size} | {each.route} | {each.beta:.4f} | {span} | {each.status or 'identified'} |"


def page(answer, said, checks, size):
    """Everything as Markdown, every number from the trainings."""
    lines = [f"# Micro-batch sizes on a convex task: seeds {size.seeds[0]} to {size.seeds[-1]}", ""]
    lines += ["Written by recipe.py from the trainings.", "", "## The paper's claims", "", *claims_file.table(said), ""]
    lines += ["## The sweeps", "", "Means over seeds; the gradient norm over the whole training set, averaged over the"]
    lines += ["last quarter of the time.", ""]
    lines += [*report.sweep_tables(answer), *report.own(answer), *report.doubts(answer)]
    lines += ["## Constant bias", "", *biases(answer), "", "![](figures/convex.png)", ""]
    lines += ["## One run's prediction, and the sweep", "", *report.predictions(checks)]
    return "\n".join(lines) + "\n"


def draw(root, size):
    """Analyse what was recorded in ``root``; write figure, claims, predictions and results, and return the latter."""
    done = sweeps.read(root / "sweeps.parquet")
    answer = analysis.micro_batch_bias([each for found in done.values() for each in found], can_memorise=False)
    checks = predictions.checks("convex", gradlens.open_runs(root / "runs"), answer)
    predicted = {one.lr: one for _, one, _ in checks}.get(size.rates[0])
    figure = figures.micro_batch_bias(answer, lr=size.rates[0], prediction=predicted)
    pictures.save(figure, root / "figures" / "convex", ("png",) if size is FAST else ("pdf", "png"))
    said = claims(done, answer)
    claims_file.write(said, root / "claims.json")
    predictions.write(checks, root / "predictions.json")
    text = page(answer, said, checks, size)
    (root / "results.md").write_text(text)
    return text


def main(root, *, fast=False, processes=None):
    """Record (unless an earlier call has), analyse and draw."""
    size = FAST if fast else FULL
    begin = time.monotonic()
    recorded = command.once(root, asdict(size), lambda: record(root, size, processes))
    print(draw(root, size))
    timing.write(root, begin if recorded else None)


if __name__ == "__main__":
    options = command.parser(__doc__).parse_args()
    main(options.out, fast=command.wants_fast(options), processes=options.processes)
