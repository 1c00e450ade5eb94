"""The whole sweep over micro-batch sizes: trainings simulated, analysed, drawn, and set beside one run's prediction.

python sweep.py              ten seeds, some minutes on one core; writes results.md and figures/
python sweep.py --record     records the runs kept in runs/ first, a quarter of an hour
"""

import argparse
from pathlib import Path

import torch
from report import as_trainings, effects, own, predictions, table
from simulator import Task, simulate
from train import BATCH, digits, network, train

import gradlens
from gradlens import analysis, figures

HERE = Path(__file__).parent
SIZES = [1, 2, 4, 8, 16, 32, 64]
SEEDS = tuple(range(10))
# Label noise, steps, learning rates, arms.
SWEEPS = {
    "20 % random labels, 1,500 steps": (0.2, 1500, (0.1, 0.5, 1.0), ("clipped", "control", "pruned")),
    "20 % random labels, 8,000 steps": (0.2, 8000, (0.5,), ("clipped",)),
    "clean labels, 1,500 steps": (0.0, 1500, (0.1, 0.5, 1.0), ("clipped",)),
}
CONTROLLED = 0.5  # the learning rate at which the controls are run
RECORDED = [  # arm, micro-batch, learning rate, label noise, seeds
    ("plain", 64, 0.5, 0.2, (0, 1, 2)),
    ("clipped", 16, 0.5, 0.2, (0, 1, 2)),
    ("clipped", 4, 0.5, 0.2, (0, 1)),
    ("pruned", 64, 0.5, 0.2, (0, 1, 2)),
    ("plain", 64, 0.1, 0.2, (0,)),
    ("plain", 64, 1.0, 0.2, (0,)),
    ("plain", 64, 0.1, 0.0, (0,)),
    ("plain", 64, 0.5, 0.0, (0,)),
    ("plain", 64, 1.0, 0.0, (0,)),
]


def task(noise, seeds):
    """The data and starts of several seeds, as train.py has them."""
    sets = [digits(noise, seed) for seed in seeds]
    starts = []
    for seed in seeds:
        model = network(seed)
        starts.append([(layer.weight.data.clone(), layer.bias.data.clone()) for layer in (model[0], model[2])])
    return Task(
        x=sets[0][0],
        labels=torch.stack([labels for _, labels, _, _, _ in sets]),
        random=torch.stack([random for _, _, random, _, _ in sets]),
        x_test=sets[0][3],
        y_test=sets[0][4],
        starts=starts,
        batches=[torch.Generator().manual_seed(seed) for seed in seeds],
    )


def trainings(noise, steps, rates, arms, seeds=SEEDS, sizes=SIZES, points=40):
    """Simulated trainings, as the analysis takes them."""
    measure = set(range(0, steps, max(1, steps // points)))
    found = []
    for lr in rates:
        for arm in arms if lr == CONTROLLED else ("clipped",):
            own = {"clipped": sizes, "control": sizes[:-1], "plain": [BATCH], "pruned": [BATCH]}[arm]
            result = simulate(task(noise, seeds), own, arm, constant(lr), steps, measure)
            found += as_trainings(result, arm, own, lr, seeds)
    return found


def pairs(answers, runs):
    """Each plain run with the sweep of its task and learning rate."""
    for name, (noise, steps, rates, _) in SWEEPS.items():
        for lr in rates:
            wanted = {"arm": "plain", "lr": lr, "noise": noise, "steps": steps, "seed": 0}
            run = next((run for run in runs if wanted.items() <= dict(run.config).items()), None)
            sweep = next((sweep for sweep in answers[name].sweeps if sweep.lr == lr), None)
            if run is not None and sweep is not None:
                yield name, run, sweep


def constant(lr):
    """A learning rate that does not change."""
    return lambda _: lr


def results(answers, runs):
    """Everything as Markdown, every number from the trainings."""
    lines = [f"# Micro-batch sizes on digits: seeds {SEEDS[0]} to {SEEDS[-1]}", ""]
    lines += [
        "Means over seeds; the gradient norm over the whole training set, averaged over the last quarter of the time.",
        "",
    ]
    for name, answer in answers.items():
        lines += [f"## {name}", "", *table(answer), *own(answer)]
        lines += [f"Left out: {each}" for each in answer.excluded]
        lines += [f"To bear in mind: {each}" for each in answer.doubts] + [""]
        shown = list(effects(answer))
        if shown:
            sizes = answer.effects[0].sizes
            lines += [
                "Pruning effect: micro-batch clipping less the other, paired by seed, simultaneous 95 % intervals.",
                "",
            ]
            lines += [
                "| of | less | lr | " + " | ".join(f"b = {b}" for b in sizes) + " |",
                "|" + "---|" * (len(sizes) + 3),
            ]
            lines += [*shown, ""]
    lines += ["## One plain run's prediction, and the sweep", "", *predictions(pairs(answers, runs))]
    return "\n".join(lines) + "\n"


def main(*, record=False):
    if record:
        for arm, b, lr, noise, seeds in RECORDED:
            for seed in seeds:
                train(HERE / "runs", arm, b, lr, noise, seed, 1500)
    runs = gradlens.open_runs(HERE / "runs") if (HERE / "runs").is_dir() else ()
    answers = {name: analysis.micro_batch_bias(trainings(*settings)) for name, settings in SWEEPS.items()}
    found = {(name, sweep.lr): run for name, run, sweep in pairs(answers, runs)}
    for (name, answer), title in zip(answers.items(), ("noisy", "noisy_long", "clean"), strict=True):
        run = found.get((name, 0.5))
        predicted = None if run is None else analysis.predict_sweet_spot(run)
        figures.save(
            figures.micro_batch_bias(answer, lr=0.5, prediction=predicted),
            HERE / "figures" / title,
            formats=("pdf", "png"),
        )
    (HERE / "results.md").write_text(results(answers, runs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", action="store_true", help="record the runs in runs/ first")
    torch.set_num_threads(1)
    main(record=parser.parse_args().record)
