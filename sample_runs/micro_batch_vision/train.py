"""Train a small network on handwritten digits under micro-batch clipping, with gradlens attached.

python train.py --out runs --model mlp --arm clipped --micro-batch 4 --lr 0.5 --noise 0.2 --seeds 0 1 2
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from vit import SmallViT

import gradlens
from gradlens import clipping

sys.path.append(str(Path(__file__).parents[1]))  # for what the samples share
from recipes.digits import CLASSES, TRAINING, split_digits

BATCH = 64
MODELS = {
    "mlp": lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)),
    "vit": lambda: SmallViT(CLASSES),
}
ARMS = {
    "clipped": clipping.micro_batch(),
    "control": clipping.match_step(clipping.micro_batch()),  # the same step length, no micro-batch is pruned
    "plain": None,
    "pruned": None,  # the samples with random labels, which are known here, are left out
}


def digits(noise, seed):
    """The digits, a share of whose training labels is drawn at random.

    Returns:
        Training inputs, labels, and which of them are random; held-out inputs and labels.
    """
    x, y, x_test, y_test = split_digits()
    generator = torch.Generator().manual_seed(1000 + seed)
    random = torch.rand(TRAINING, generator=generator) < noise
    labels = torch.where(random, torch.randint(CLASSES, (TRAINING,), generator=generator), y)
    return x, labels, random, x_test, y_test


def network(seed, model="mlp"):
    torch.manual_seed(seed)
    return MODELS[model]()


def train(out, arm, b, lr, noise, seed, steps, *, name="mlp", every=50):
    x, y, random, x_test, y_test = digits(noise, seed)
    model = network(seed, name)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    batches = torch.Generator().manual_seed(seed)
    plain = arm == "plain"

    def compute(x, y):
        return nn.functional.cross_entropy(model(x), y)

    with gradlens.Recorder(
        model,
        optimizer,
        out,
        name=f"{name}, {arm}, b = {b}, lr {lr:g}, noise {noise:g}, seed {seed}",
        clip=ARMS[arm],
        norms=gradlens.every(every),
        update=gradlens.never,
        smoothness=gradlens.every(every) if plain else gradlens.never,
        frozen_weights=gradlens.every(every) if plain else gradlens.never,  # one plain run predicts the whole sweep
        micro_batches=gradlens.never if plain else gradlens.every(10 * every),
        include="*bias",  # the norms of a few tensors: the runs are kept in the repository, and stay small
        config={
            "model": name,
            "arm": arm,
            "lr": lr,
            "seed": seed,
            "micro_batch_size": b,
            "noise": noise,
            "steps": steps,
            "draggers": "removed" if arm == "pruned" else "kept",
        },
    ) as recorder:
        for step in range(steps):
            if step % every == 0 or step == steps - 1:
                recorder.full_gradient(compute, [(x, y)])
            chosen = torch.randint(TRAINING, (BATCH,), generator=batches)
            if arm == "pruned":
                chosen = chosen[~random[chosen]]
            optimizer.zero_grad()
            parts = chosen.split(b) if arm in ("clipped", "control") else [chosen]
            for part in parts:
                recorder.loss(compute, x[part], y[part], of=len(parts)).backward()
            optimizer.step()
            if step % 50 == 49:
                print("steps", 50, flush=True)  # the recipe's progress bar reads this
        with torch.no_grad():
            right = model(x_test).argmax(dim=1) == y_test
        recorder.log(test_accuracy=right.float().mean())
    return recorder.path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder of runs")
    parser.add_argument("--model", choices=MODELS, default="mlp")
    parser.add_argument("--arm", choices=ARMS, default="clipped")
    parser.add_argument("--micro-batch", type=int, default=BATCH, help="samples in a micro-batch, a divisor of 64")
    parser.add_argument("--lr", type=float, default=0.5, help="learning rate of SGD")
    parser.add_argument("--noise", type=float, default=0.2, help="share of the training labels that are random")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--every", type=int, default=50, help="steps between measurements")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for each_seed in given.seeds:
        train(
            given.out, given.arm, given.micro_batch, given.lr, given.noise, each_seed, given.steps, name=given.model,
            every=given.every,
        )  # fmt: skip
