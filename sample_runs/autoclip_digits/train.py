"""Train a plain recurrent network on handwritten digits, read pixel by pixel, with gradlens attached.

python train.py --out runs --lr 0.1 --percentile 10 --seeds 0 1 2
"""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

import gradlens
from gradlens import clipping

HIDDEN, BATCH, TRAINING = 64, 32, 1500


class PixelReader(nn.Module):
    """A tanh recurrent network that reads an image as 64 grey values, one a step, and names the digit at the end."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.RNN(input_size=1, hidden_size=HIDDEN, batch_first=True)
        self.classify = nn.Linear(HIDDEN, 10)

    def forward(self, pixels):
        states, _ = self.recurrent(pixels)
        return self.classify(states[:, -1])


def digits():
    """scikit-learn's 1,797 digits of 8 x 8 pixels as sequences (n, 64, 1); the last 297 are held out."""
    data = load_digits()
    pixels = torch.tensor(data.data / 16, dtype=torch.float32).unsqueeze(-1)
    return pixels, torch.tensor(data.target)


def train(out, lr, percentile, seed, steps):
    pixels, targets = digits()
    torch.manual_seed(seed)
    model = PixelReader()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    batches = torch.Generator().manual_seed(seed)

    def compute(x, y):
        return nn.functional.cross_entropy(model(x), y)

    clip = None if percentile is None else clipping.autoclip(percentile=percentile)
    arm = "no clipping" if clip is None else f"AutoClip p = {percentile:g}"
    with gradlens.Recorder(
        model,
        optimizer,
        out,
        name=f"{arm}, lr {lr:g}, seed {seed}",
        clip=clip,
        update=gradlens.every(1),
        smoothness=gradlens.every(20),
        config={"arm": arm, "lr": lr, "seed": seed, "batch": BATCH, "hidden": HIDDEN, "steps": steps},
    ) as recorder:
        for step in range(steps):
            chosen = torch.randint(TRAINING, (BATCH,), generator=batches)
            optimizer.zero_grad()
            recorder.loss(compute, pixels[chosen], targets[chosen]).backward()
            optimizer.step()
            if step % 50 == 49:
                print("steps", 50, flush=True)  # the recipe's progress bar reads this
        with torch.no_grad():
            right = model(pixels[TRAINING:]).argmax(dim=1) == targets[TRAINING:]
        recorder.log(test_accuracy=right.float().mean())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="folder of runs")
    parser.add_argument("--lr", type=float, required=True, help="learning rate of SGD")
    parser.add_argument("--percentile", type=float, help="AutoClip's p; without it nothing is clipped")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=1800)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the network is small: two trainings side by side beat one on two cores
    for each_seed in given.seeds:
        train(given.out, given.lr, given.percentile, each_seed, given.steps)
