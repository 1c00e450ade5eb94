"""What is trained: sweeps of the MLP, simulated, and runs recorded by train.py, the ViT's sweep among them."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from train import BATCH, digits, network

sys.path.append(str(Path(__file__).parents[1]))
from recipes.simulator import Task, accuracy, simulate
from recipes.sweeps import measured_at, simulated
from recipes.training import job

CONTROLLED = 0.5  # the learning rate at which the controls are run
INVERTED = 0.2  # share of the training digits that are white on black, where there are two domains
NOISY, NOISY_LONG = "20 % random labels", "20 % random labels, trained on"
CLEAN, CLEAN_LONG = "clean labels", "clean labels, trained on"
DOMAINS = "two domains, 20 % random labels"
VIT = {"ViT, 20 % random labels": 0.2, "ViT, clean labels": 0.0}  # the ViT's tasks, and their share of random labels
FIGURES = {
    NOISY: "noisy", NOISY_LONG: "noisy_long", CLEAN: "clean", CLEAN_LONG: "clean_long", DOMAINS: "domains",
    "ViT, 20 % random labels": "vit_noisy", "ViT, clean labels": "vit_clean",
}  # fmt: skip


@dataclass(frozen=True)
class Sweep:
    """A sweep of the MLP.

    Attributes:
        noise: share of the training labels that are random.
        steps: how many.
        rates: learning rates.
        arms: which are run, those but ``clipped`` at one rate only.
        domains: whether a share of the digits is inverted.
    """

    noise: float
    steps: int
    rates: tuple
    arms: tuple = ("clipped",)
    domains: bool = False


@dataclass(frozen=True)
class Recorded:
    """Runs of train.py."""

    model: str
    arm: str
    b: int
    lr: float
    noise: float
    seeds: tuple
    steps: int
    every: int = 50

    def job(self, runs):
        """The call that records them into a folder."""
        return job(
            self.steps * len(self.seeds), out=runs, model=self.model, arm=self.arm, micro_batch=self.b, lr=self.lr,
            noise=self.noise, seeds=self.seeds, steps=self.steps, every=self.every,
        )  # fmt: skip


@dataclass(frozen=True)
class Size:
    """The whole recipe, or its small version."""

    sizes: tuple
    seeds: tuple
    sweeps: dict
    recorded: tuple


def vit(noise, sizes, lr, seeds, steps, every):
    """The ViT's sweep: where a micro-batch is the whole batch, the plain run that also predicts."""
    return tuple(
        Recorded("vit", "plain" if b == BATCH else "clipped", b, lr, noise, seeds, steps, every) for b in sizes
    )


FULL = Size(
    (1, 2, 4, 8, 16, 32, 64),
    tuple(range(10)),
    {
        NOISY: Sweep(0.2, 1500, (0.1, 0.5, 1.0), ("clipped", "control", "pruned")),
        NOISY_LONG: Sweep(0.2, 8000, (0.5,)),
        CLEAN: Sweep(0.0, 1500, (0.1, 0.5, 1.0)),
        CLEAN_LONG: Sweep(0.0, 8000, (0.5,)),
        DOMAINS: Sweep(0.2, 1500, (0.5,), ("clipped", "control"), domains=True),
    },
    (
        *(Recorded("mlp", "plain", BATCH, lr, noise, (0,), 1500) for noise in (0.2, 0.0) for lr in (0.1, 0.5, 1.0)),
        Recorded("mlp", "clipped", 4, 0.5, 0.2, (0,), 1500),
        *vit(0.2, (2, 4, 8, 16, 64), 0.3, (0, 1, 2), 240, 10),
        *vit(0.0, (8, 16, 64), 0.3, (0, 1, 2), 240, 10),
    ),
)
FAST = Size(
    (1, 4, 64),
    (0, 1, 2),
    {NOISY: Sweep(0.2, 1000, (0.5,), ("clipped", "control", "pruned")), CLEAN: Sweep(0.0, 400, (0.5,))},
    (Recorded("mlp", "plain", BATCH, 0.5, 0.2, (0,), 1000, 100), *vit(0.2, (16, 64), 0.3, (0,), 12, 6)),
)


def task(noise, seeds, *, domains=False):
    """The data and starts of several seeds, as train.py has them; with a share of them inverted if asked for."""
    sets = [digits(noise, seed) for seed in seeds]
    x, _, _, x_test, y_test = sets[0]
    if domains:
        chosen = torch.rand(len(x), generator=torch.Generator().manual_seed(1)) < INVERTED
        x = torch.where(chosen[:, None], 1 - x, x)
    starts = []
    for seed in seeds:
        model = network(seed)
        starts.append([(layer.weight.data.clone(), layer.bias.data.clone()) for layer in (model[0], model[2])])
    return Task(
        x=x,
        labels=torch.stack([labels for _, labels, _, _, _ in sets]),
        random=torch.stack([random for _, _, random, _, _ in sets]),
        x_test=torch.cat([x_test, 1 - x_test]) if domains else x_test,
        y_test=y_test.repeat(2) if domains else y_test,
        starts=starts,
        batches=[torch.Generator().manual_seed(seed) for seed in seeds],
    )


def trainings(sweep, seeds=FULL.seeds, sizes=FULL.sizes):
    """Simulated trainings, as the analysis takes them.

    Args:
        sweep: what to train.
        seeds: of labels, start and batches.
        sizes: micro-batch sizes; the largest is the whole batch.
    """
    found = []
    for lr in sweep.rates:
        for arm in sweep.arms if lr == CONTROLLED else ("clipped",):
            own = {"clipped": sizes, "control": sizes[:-1], "pruned": (BATCH,)}[arm]
            given = task(sweep.noise, seeds, domains=sweep.domains)
            result = simulate(given, own, arm, constant(lr), sweep.steps, measured_at(sweep.steps))
            parts = by_domain(result, given, (len(seeds), len(own))) if sweep.domains else None
            found += simulated(result, arm, own, lr, seeds, domains=parts)
    return found


def by_domain(result, given, shape):
    """Held-out accuracy upright and inverted, at the end."""
    half = len(given.y_test) // 2
    return {
        name: accuracy(result["weights"], given.x_test[part], given.y_test[part]).reshape(shape).numpy()
        for name, part in (("upright", slice(half)), ("inverted", slice(half, None)))
    }


def constant(lr):
    """A learning rate that does not change."""
    return lambda _: lr
