"""The whole recipe: a sweep over micro-batch sizes of an MLP and of a small ViT, then figures, claims and results.

    python recipe.py --out out            tens of minutes on two cores
    python recipe.py --out out --fast     some seconds, too short to learn much: FAST=1 does the same

The MLP's sweep of ten seeds is simulated (sweeps.parquet): a test holds the simulator equal to the recorder. The ViT is
trained by train.py with the recorder attached, and so are the plain runs that predict.
"""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from claims import claims
from page import page
from sweep import FAST, FIGURES, FULL, VIT, trainings

sys.path.append(str(Path(__file__).parents[1]))
from recipes import claims as claims_file
from recipes import command, pictures, predictions, sweeps, timing
from recipes.report import named
from recipes.training import train_all

import gradlens
from gradlens import analysis, figures

SHOWN = 0.5  # the learning rate that the figures show


@dataclass(frozen=True)
class Found:
    """What the recipe found.

    Attributes:
        sweeps: title -> simulated trainings.
        answers: title -> what they say.
        vit: title -> what the ViT's recorded runs say.
        checks: predictions beside what was swept.
    """

    sweeps: dict
    answers: dict
    vit: dict
    checks: list


def record(root, size, processes):
    """Record the runs, and simulate the sweeps."""
    train_all(Path(__file__).with_name("train.py"), [each.job(root / "runs") for each in size.recorded], processes)
    torch.set_num_threads(1)  # its matrices are small
    done = {title: trainings(sweep, size.seeds, size.sizes) for title, sweep in size.sweeps.items()}
    sweeps.write(done, root / "sweeps.parquet")


def find(root, size):
    """Analyse the runs and the sweeps."""
    done = sweeps.read(root / "sweeps.parquet")
    answers = {title: analysis.micro_batch_bias(found) for title, found in done.items()}
    runs = gradlens.open_runs(root / "runs")

    def of(model, noise, **also):
        wanted = {"model": model, "noise": noise} | also
        return [run for run in runs if wanted.items() <= ({"model": "mlp"} | dict(run.config)).items()]

    vit = {title: analysis.micro_batch_bias(of("vit", noise)) for title, noise in VIT.items() if of("vit", noise)}
    plain = {"arm": "plain", "seed": 0}
    predicting = [
        (title, answers[title], of("mlp", sweep.noise, steps=sweep.steps, **plain))
        for title, sweep in size.sweeps.items()
        if not sweep.domains
    ] + [(title, answer, of("vit", VIT[title], **plain)) for title, answer in vit.items()]
    checks = [
        check for title, answer, own in predicting for check in predictions.checks(named(title, answer), own, answer)
    ]
    return Found(done, answers, vit, checks)


def draw(root, size):
    """Analyse what was recorded in ``root``; write figures, claims, predictions and results, and return the latter."""
    found = find(root, size)
    predicted = {(task, one.lr): one for task, one, _ in found.checks}
    for title, answer in (found.answers | found.vit).items():
        rates = [sweep.lr for sweep in answer.sweeps]
        lr = SHOWN if SHOWN in rates else next(iter(rates), None)
        figure = figures.micro_batch_bias(answer, lr=lr, prediction=predicted.get((named(title, answer), lr)))
        pictures.save(figure, root / "figures" / FIGURES[title], ("png",) if size is FAST else ("pdf", "png"))
    said = claims(found.sweeps, found.answers, found.vit)
    claims_file.write(said, root / "claims.json")
    predictions.write(found.checks, root / "predictions.json")
    text = page(found, said, size)
    (root / "results.md").write_text(text)
    return text


def main(root, *, fast=False, processes=None):
    """Record (unless an earlier call has), analyse and draw."""
    size = FAST if fast else FULL
    settings = {"sizes": size.sizes, "seeds": size.seeds, "sweeps": {k: asdict(v) for k, v in size.sweeps.items()}}
    settings["recorded"] = [asdict(each) for each in size.recorded]
    begin = time.monotonic()
    recorded = command.once(root, settings, lambda: record(root, size, processes))
    print(draw(root, size))
    timing.write(root, begin if recorded else None)


if __name__ == "__main__":
    options = command.parser(__doc__).parse_args()
    main(options.out, fast=command.wants_fast(options), processes=options.processes)
