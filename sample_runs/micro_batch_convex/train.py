"""Train a penalised softmax regression on clean digits under micro-batch clipping, with gradlens attached.

The task is strongly convex: nothing can be memorised beyond its one minimum, so that what is left of the gradient under
a decaying learning rate is a constant bias.

python train.py --out runs --micro-batch 4 --decay 100 --seeds 0 1 2
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn

import gradlens
from gradlens import clipping

sys.path.append(str(Path(__file__).parents[1]))  # for what the samples share
from recipes.digits import CLASSES, TRAINING, split_digits

BATCH, PENALTY = 64, 1e-2


def train(out, b, lr, decay, seed, steps, every=50):
    x, y, x_test, y_test = split_digits()
    torch.manual_seed(seed)
    model = nn.Linear(64, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step / decay) if decay else 1.0)
    batches = torch.Generator().manual_seed(seed)

    def compute(x, y):
        penalty = sum(parameter.square().sum() for parameter in model.parameters())
        return nn.functional.cross_entropy(model(x), y) + PENALTY / 2 * penalty

    with gradlens.Recorder(
        model,
        optimizer,
        out,
        name=f"b = {b}, lr {lr:g}{', decaying' if decay else ''}, seed {seed}",
        clip=clipping.micro_batch(),
        norms=gradlens.every(every),
        update=gradlens.never,
        smoothness=gradlens.every(every) if b == BATCH else gradlens.never,
        frozen_weights=gradlens.every(every) if b == BATCH else gradlens.never,
        config={"lr": lr, "decay": decay, "seed": seed, "micro_batch_size": b, "steps": steps},
    ) as recorder:
        for step in range(steps):
            if step % every == 0 or step == steps - 1:
                recorder.full_gradient(compute, [(x, y)])
            chosen = torch.randint(TRAINING, (BATCH,), generator=batches)
            optimizer.zero_grad()
            for part in chosen.split(b):
                recorder.loss(compute, x[part], y[part], of=BATCH // b).backward()
            optimizer.step()
            schedule.step()
            if step % 50 == 49:
                print("steps", 50, flush=True)  # the recipe's progress bar reads this
        with torch.no_grad():
            recorder.log(test_accuracy=(model(x_test).argmax(dim=1) == y_test).float().mean())
    return recorder.path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder of runs")
    parser.add_argument("--micro-batch", type=int, default=BATCH, help="samples in a micro-batch, a divisor of 64")
    parser.add_argument("--lr", type=float, default=1.0, help="learning rate of SGD")
    parser.add_argument("--decay", type=float, default=0.0, help="steps after which the rate is half; 0 keeps it")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=50, help="steps between measurements")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for each_seed in given.seeds:
        train(given.out, given.micro_batch, given.lr, given.decay, each_seed, given.steps, given.every)
