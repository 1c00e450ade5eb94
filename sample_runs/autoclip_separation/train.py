"""Train a network that separates two speakers, with gradlens attached.

    python train.py --out runs --percentile 10 --seeds 0 1 2
    python train.py --out runs --percentile 10 --size paper --device cuda --train wav8k/min/tr --test wav8k/min/tt

Without --train and --test the speakers are synthesised voices, and those of the test are never trained on.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from mixtures import Drawn, Kept, open_folder
from network import HOP, LOSSES, Separator, best_si_sdr, separate, stft
from sizes import SIZES
from speech import synthesised, synthetic

import gradlens
from gradlens import clipping

RATE = 1e-3  # of Adam
EVERY = 20  # as the paper records


@dataclass(frozen=True)
class Data:
    """What is trained on, what is tested on (other mixtures of the same speakers, others' mixtures), and its name."""

    training: object
    trained_voices: object
    held_out: object
    source: str
    key: str


def data(size, speech="auto", train=None, test=None):
    """Folders of a data set where they are given, else drawn from voices.

    Args:
        size: of the training.
        speech: ``"synthesised"`` or ``"synthetic"``; ``"auto"`` is the first where its programs are installed.
        train: folder of the training mixtures.
        test: folder of the test mixtures; both or neither.
    """
    if (train is None) != (test is None):
        raise ValueError("--train and --test belong together: the folders of the training and of the test mixtures.")
    if train is not None:
        training = open_folder(train)
        return Data(training, training, open_folder(test), "a folder of mixtures", "folder")
    if speech == "synthetic":
        voices = synthetic()
    else:
        try:
            voices = synthesised()
        except RuntimeError as missing:
            if speech == "synthesised":
                raise
            print(f"{missing} Training on synthetic voices.")
            voices = synthetic()
    trained, held_out = Drawn(voices.training), Drawn(voices.held_out)
    training = Kept(trained, size.mixtures) if size.mixtures else trained
    return Data(training, trained, held_out, voices.source, voices.key)


def separation(model, mixtures, size, device):
    """Mean SI-SDR in dB over test mixtures, after and before the separation."""
    rng = np.random.default_rng(2020)  # the same mixtures for every run
    after, before = [], []
    model.eval()
    for _ in range(0, size.tested, 20):
        s, x = (part.to(device) for part in mixtures.batch(rng, 20, (size.tested_frames - 1) * HOP))
        heard = s.square().sum(dim=-1).amin(dim=1) > 0  # a stretch in which one is silent has no SI-SDR
        after.append(best_si_sdr(separate(model, x), s)[heard])
        before.append(best_si_sdr(x[:, None].expand_as(s), s)[heard])
    model.train()
    return torch.cat(after).mean(), torch.cat(before).mean()


def train(out, percentile, seed, size, loss, given, device="cpu"):
    rng = np.random.default_rng(seed)  # of the batches: the same for every percentile
    samples = (size.frames - 1) * HOP
    torch.manual_seed(seed)
    model = Separator(size.layers, size.hidden, loss)
    model.standardise(stft(given.training.batch(np.random.default_rng(0), 64, samples)[1]))
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def compute(mixture, sources):
        spectra = stft(mixture)
        return LOSSES[loss](model(spectra), spectra, stft(sources))

    clip = None if percentile is None else clipping.autoclip(percentile=percentile)
    arm = "no clipping" if clip is None else f"AutoClip p = {percentile:g}"
    with gradlens.Recorder(
        model,
        optimizer,
        out,
        name=f"{arm}, {loss}, seed {seed}",
        clip=clip,
        norms=gradlens.every(EVERY),
        update=gradlens.every(EVERY),
        smoothness=gradlens.every(EVERY),
        include="head.bias",  # one tensor's norms: the runs are kept in the repository, and stay small
        config={"arm": arm, "loss": loss, "seed": seed, "lr": RATE, "data": given.source, "voices": given.key}
        | size.settings(),
    ) as recorder:
        for step in range(size.steps):
            sources, mixture = given.training.batch(rng, size.batch, samples)
            optimizer.zero_grad()
            recorder.loss(compute, mixture.to(device), sources.to(device)).backward()
            optimizer.step()
            if step % 50 == 49:
                print("steps", 50, flush=True)  # the recipe's progress bar reads this
        after, before = separation(model, given.held_out, size, device)
        seen, _ = separation(model, given.trained_voices, size, device)
        recorder.log(si_sdr=after, si_sdr_of_mixtures=before, si_sdr_trained_voices=seen)
    return recorder.path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder of runs")
    parser.add_argument("--percentile", type=float, help="AutoClip's p; without it nothing is clipped")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--size", choices=SIZES, default="cpu", help="the paper's wants a GPU (default: %(default)s)")
    parser.add_argument("--loss", choices=LOSSES, default="mi", help="default: %(default)s, mask inference")
    parser.add_argument("--speech", choices=("auto", "synthesised", "synthetic"), default="auto")
    parser.add_argument("--train", help="folder of training mixtures: mix, s1, s2")
    parser.add_argument("--test", help="folder of test mixtures, of other speakers")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)  # the network is small: two trainings side by side beat one on two cores
    chosen = data(SIZES[options.size], options.speech, options.train, options.test)
    for each_seed in options.seeds:
        train(options.out, options.percentile, each_seed, SIZES[options.size], options.loss, chosen, options.device)
