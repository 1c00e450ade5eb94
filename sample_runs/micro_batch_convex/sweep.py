"""The constant bias of micro-batch clipping, isolated: a convex task, a decaying rate and several constant ones.

    python sweep.py              ten seeds, some minutes on one core; writes results.md and figures/
    python sweep.py --record     records the runs kept in runs/ first

The simulator is that of the sample beside this one, ../micro_batch_vision.
"""

import argparse
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import torch

import gradlens
from gradlens import analysis, figures

HERE = Path(__file__).parent
SIZES = [1, 2, 4, 8, 16, 32, 64]
SEEDS = tuple(range(10))
STEPS, DECAY = 8000, 400
RATES = (0.1, 0.3, 1.0)
RECORDED = [(64, lr, 0.0, (0,)) for lr in (0.1, 0.3, 1.0)]  # b, learning rate, decay, seeds


def sibling(name):
    """A module of the sample whose simulator this one uses, or of this one: both have a train.py."""
    sys.path.append(str(HERE.parent / "micro_batch_vision"))
    return import_module(name)


def own_train():
    """This sample's train.py."""
    spec = spec_from_file_location("micro_batch_convex_train", HERE / "train.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def task(seeds):
    """The data and starts of several seeds, as train.py has them."""
    x, y, x_test, y_test = own_train().digits()
    starts = []
    for seed in seeds:
        torch.manual_seed(seed)
        model = torch.nn.Linear(64, 10)
        starts.append([(model.weight.data.clone(), model.bias.data.clone())])
    labels = y.expand(len(seeds), -1)
    batches = [torch.Generator().manual_seed(seed) for seed in seeds]
    return sibling("simulator").Task(
        x, labels, torch.zeros_like(labels, dtype=torch.bool), x_test, y_test, starts, batches
    )


def trainings(lr, decay, steps=STEPS, seeds=SEEDS, sizes=SIZES, points=80):
    """Simulated trainings, as the analysis takes them."""

    def rate(step):
        return lr / (1 + step / decay) if decay else lr

    measure = set(range(0, steps, max(1, steps // points)))
    result = sibling("simulator").simulate(task(seeds), sizes, "clipped", rate, steps, measure, l2=own_train().PENALTY)
    return list(sibling("report").as_trainings(result, "clipped", sizes, lr, seeds, decays=bool(decay)))


def answer():
    """The sweep at a decaying rate, and at constant ones, as one."""
    found = trainings(1.0, DECAY)
    for lr in RATES:
        found += trainings(lr, 0)
    return analysis.micro_batch_bias(found, can_memorise=False)


def biases(answer):
    """The constant bias by either route as Markdown."""
    yield "| b | route | constant bias | 95 % interval | |"
    yield "|---|---|---|---|---|"
    for each in answer.biases:
        span = f"{each.low:.4f} to {each.high:.4f}"
        yield f"| {each.micro_batch_size} | {each.route} | {each.beta:.4f} | {span} | {each.status or 'identified'} |"


def results(answer, runs):
    """Everything as Markdown, every number from the trainings."""
    report = sibling("report")
    lines = [f"# Micro-batch sizes on a convex task: {STEPS:,} steps, seeds {SEEDS[0]} to {SEEDS[-1]}", ""]
    lines += ["Means over seeds; the gradient norm over the whole training set, averaged over the last quarter.", ""]
    lines += [*report.table(answer), *report.own(answer)]
    lines += [f"Left out: {each}" for each in answer.excluded] + [f"To bear in mind: {each}" for each in answer.doubts]
    lines += ["", "## Constant bias", "", *biases(answer)]
    plain = {run.config["lr"]: run for run in runs if run.config["micro_batch_size"] == 64 and not run.config["decay"]}
    pairs = [("convex", plain[s.lr], s) for s in answer.sweeps if s.lr in plain and not s.decays]
    lines += ["", "## One run's prediction, and the sweep", "", *report.predictions(pairs)]
    return "\n".join(lines) + "\n"


def main(*, record=False):
    if record:
        for b, lr, decay, seeds in RECORDED:
            for seed in seeds:
                own_train().train(HERE / "runs", b, lr, decay, seed, 2000)
    runs = gradlens.open_runs(HERE / "runs") if (HERE / "runs").is_dir() else ()
    found = answer()
    figures.save(figures.micro_batch_bias(found, lr=RATES[0]), HERE / "figures" / "convex", formats=("pdf", "png"))
    (HERE / "results.md").write_text(results(found, runs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="record the runs in runs/ first")
    torch.set_num_threads(1)
    main(record=parser.parse_args().record)
