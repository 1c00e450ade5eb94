"""What is trained: sweeps at a decaying rate and at constant ones, simulated, and plain runs recorded by train.py."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from train import CLASSES, PENALTY

sys.path.append(str(Path(__file__).parents[1]))
from recipes.digits import split_digits
from recipes.simulator import Task, simulate
from recipes.sweeps import measured_at, simulated
from recipes.training import job

DECAYING, CONSTANT = "decaying learning rate", "constant learning rates"


@dataclass(frozen=True)
class Size:
    """The whole recipe, or its small version.

    Attributes:
        sizes: micro-batch sizes; the largest is the whole batch.
        seeds: of start and batches.
        rates: constant learning rates.
        steps: at these.
        start: learning rate where it decays, as start / (1 + t / decay).
        decay: steps after which it is half.
        long: steps at that.
        recorded: steps of the plain run at each constant rate.
        every: steps between its measurements.
    """

    sizes: tuple
    seeds: tuple
    rates: tuple
    steps: int
    start: float
    decay: int
    long: int
    recorded: int
    every: int

    def jobs(self, runs):
        """The calls that record the plain runs into a folder."""
        common = {"micro_batch": self.sizes[-1], "seeds": 0, "steps": self.recorded, "every": self.every}
        return [job(self.recorded, out=runs, lr=lr, **common) for lr in self.rates]


FULL = Size((1, 2, 4, 8, 16, 32, 64), tuple(range(10)), (0.1, 0.3, 1.0), 8000, 1.0, 400, 60_000, 2000, 50)
FAST = Size((1, 2, 64), (0, 1, 2, 3), (1.0,), 400, 1.0, 100, 3000, 200, 20)


def task(seeds):
    """The data and starts of several seeds, as train.py has them."""
    x, y, x_test, y_test = split_digits()
    starts = []
    for seed in seeds:
        torch.manual_seed(seed)
        model = torch.nn.Linear(64, CLASSES)
        starts.append([(model.weight.data.clone(), model.bias.data.clone())])
    labels = y.expand(len(seeds), -1)
    batches = [torch.Generator().manual_seed(seed) for seed in seeds]
    return Task(x, labels, torch.zeros_like(labels, dtype=torch.bool), x_test, y_test, starts, batches)


def trainings(lr, decay, steps, seeds, sizes):
    """Simulated trainings, as the analysis takes them.

    Args:
        lr: learning rate, the first if it decays.
        decay: steps after which it is half; 0 keeps it.
        steps: how many.
        seeds: of start and batches.
        sizes: micro-batch sizes.
    """

    def rate(step):
        return lr / (1 + step / decay) if decay else lr

    result = simulate(task(seeds), sizes, "clipped", rate, steps, measured_at(steps, 80, early=not decay), l2=PENALTY)
    return list(simulated(result, "clipped", sizes, lr, seeds, decays=bool(decay)))


def all_trainings(size):
    """Those of the recipe, under the way their learning rate goes."""
    constant = [each for lr in size.rates for each in trainings(lr, 0, size.steps, size.seeds, size.sizes)]
    return {
        CONSTANT: constant,
        DECAYING: trainings(size.start, size.decay, size.long, size.seeds, size.sizes),
    }
