"""The separation sample's transform, losses and score: closed forms and naive twins."""

import itertools
import math
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gradlens
from gradlens.store import Run

BINS = 129


def spectra(batch: int, frames: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Mixtures and their two sources in float64."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randn(batch, 2, frames, BINS, dtype=torch.complex128, generator=generator)
    return sources.sum(dim=1), sources


def test_the_transform_has_an_inverse(separation: SimpleNamespace) -> None:
    signals = torch.randn(3, 2, 640, dtype=torch.float64)
    transformed = separation.network.stft(signals.float())
    assert transformed.shape == (3, 2, 11, BINS)
    assert torch.allclose(separation.network.istft(transformed, 640), signals.float(), atol=1e-5)


def test_mask_inference_is_the_sum_written_out(separation: SimpleNamespace) -> None:
    mixture, sources = spectra(2, 3)
    masks = torch.rand(2, 2, 3, BINS, dtype=torch.float64)
    total = 0.0
    for b in range(2):
        candidates = []
        for order in itertools.permutations((0, 1)):
            error = 0.0
            for s, t, f in np.ndindex(2, 3, BINS):
                x, y = complex(mixture[b, t, f]), complex(sources[b, s, t, f])
                angle = np.angle(y) - np.angle(x)
                target = min(max(abs(y) * math.cos(angle), 0.0), abs(x))
                error += abs(float(masks[b, order[s], t, f]) * abs(x) - target)
            candidates.append(error / (2 * 3 * BINS))
        total += min(candidates) / 2
    assert float(separation.network.mask_inference(masks, mixture, sources)) == pytest.approx(total, rel=1e-10)
    # Each mixture has an assignment of its own.
    swapped = torch.stack([masks[0].flip(0), masks[1]])
    assert float(separation.network.mask_inference(swapped, mixture, sources)) == pytest.approx(total, rel=1e-10)


def test_whitened_kmeans_is_the_trace_written_out_and_forgets_the_basis(separation: SimpleNamespace) -> None:
    mixture, sources = spectra(1, 4)
    embeddings = torch.randn(1, 4 * BINS, 5, dtype=torch.float64)
    loss = float(separation.network.whitened_kmeans(embeddings, mixture, sources))
    weights = np.abs(mixture[0].numpy()).ravel()
    root = np.sqrt(weights / weights.sum())[:, None]
    owner = np.abs(sources[0].numpy()).reshape(2, -1).argmax(axis=0)
    v, y = root * embeddings[0].numpy(), root * np.eye(2)[owner]
    vv, yy = v.T @ v + separation.network.RIDGE * np.eye(5), y.T @ y
    explained = np.trace(np.linalg.inv(vv) @ v.T @ y @ np.linalg.inv(yy) @ y.T @ v)
    assert loss == pytest.approx(5 - explained, rel=1e-9)
    turned = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    assert float(separation.network.whitened_kmeans(embeddings @ turned, mixture, sources)) == pytest.approx(loss)
    # One point for each speaker explains both, but for the ridge.
    perfect = torch.eye(5, dtype=torch.float64)[torch.from_numpy(owner)][None]
    assert float(separation.network.whitened_kmeans(perfect, mixture, sources)) == pytest.approx(3, abs=1e-3)


def test_si_sdr_of_known_noise(separation: SimpleNamespace) -> None:
    time = torch.arange(8000, dtype=torch.float64) / 8000
    a, b = torch.sin(2 * math.pi * 100 * time), torch.sin(2 * math.pi * 300 * time)
    mixed = 3.0 * a + 0.3 * b + 0.7  # 20 dB, whatever the gain and the mean
    assert float(separation.network.si_sdr(mixed, a)) == pytest.approx(20, abs=1e-6)
    estimates, sources = torch.stack([b, mixed])[None], torch.stack([a, b])[None]
    expected = (float(separation.network.si_sdr(mixed, a)) + float(separation.network.si_sdr(b, b))) / 2
    assert float(separation.network.best_si_sdr(estimates, sources)[0]) == pytest.approx(expected)


class Oracle(torch.nn.Module):
    """Knows who owns each bin: gives masks, or embeddings that lie on two points with some noise."""

    def __init__(self, owner: torch.Tensor, loss: str) -> None:
        super().__init__()
        self.owner, self.loss = owner, loss

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        masks = torch.nn.functional.one_hot(self.owner, 2).movedim(-1, 1).float()
        if self.loss == "mi":
            return masks
        points = torch.eye(20)[self.owner.flatten(1)]
        return points + 0.1 * torch.randn(points.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("loss", ["mi", "wkm"])
def test_who_knows_the_owner_of_each_bin_separates(separation: SimpleNamespace, loss: str) -> None:
    voices = separation.speech.synthetic(voices=1, held_out=1, seconds=2)
    sources, mixture = separation.mixtures.Drawn(voices.training).batch(np.random.default_rng(0), 2, 8000)
    owner = separation.network.stft(sources).abs().argmax(dim=1)
    estimates = separation.network.separate(Oracle(owner, loss), mixture)
    assert float(separation.network.best_si_sdr(mixture[:, None].expand_as(sources), sources).mean()) < 3
    assert float(separation.network.best_si_sdr(estimates, sources).min()) > 8


@pytest.fixture
def recorded(separation: SimpleNamespace, tmp_path: Path) -> Run:
    """Two steps of the paper's network, on few and short mixtures."""
    voices = separation.speech.synthetic(voices=1, held_out=1, seconds=2)
    drawn = separation.mixtures.Drawn(voices.training)
    given = separation.train.Data(drawn, drawn, drawn, voices.source, voices.key)
    small = replace(separation.sizes.SIZES["paper"], batch=2, frames=4, steps=2, tested=20, tested_frames=4)
    return gradlens.open_run(separation.train.train(tmp_path, 10, 0, small, "mi", given))


def test_the_papers_size_is_the_papers(separation: SimpleNamespace, recorded: Run) -> None:
    paper = asdict(separation.sizes.SIZES["paper"])
    assert {name: paper[name] for name in ("layers", "hidden", "batch", "frames", "steps", "mixtures")} == {
        "layers": 2, "hidden": 300, "batch": 25, "frames": 400, "steps": 80_000, "mixtures": 20_000,
    }  # fmt: skip
    gates = sum(2 * 4 * 300 * (inputs + 300 + 2) for inputs in (BINS, 600))  # two directions, two biases
    assert recorded.environment["parameters"] == gates + (600 + 1) * 2 * BINS
    assert recorded.series("loss")[0].tolist() == [0, 1]
    assert (recorded.clip or {})["parameters"]["percentile"] == 10
    assert np.isfinite([recorded.series(name)[1][0] for name in ("smoothness", "update_norm", "si_sdr")]).all()
    assert separation.train.EVERY == 20
    assert (separation.network.WINDOW, separation.network.HOP) == (0.032 * 8000, 0.008 * 8000)


def test_training_on_embeddings_lowers_their_loss(separation: SimpleNamespace, tmp_path: Path) -> None:
    voices = separation.speech.synthetic(voices=1, held_out=1, seconds=2)
    drawn = separation.mixtures.Drawn(voices.training)
    given = separation.train.Data(drawn, drawn, drawn, voices.source, voices.key)
    small = replace(separation.sizes.SIZES["fast"], frames=15, steps=40, tested=20, tested_frames=10)
    run = gradlens.open_run(separation.train.train(tmp_path, None, 0, small, "wkm", given))
    _, losses = run.series("loss")
    assert 18 < losses[:10].mean() < 20
    assert losses[-10:].mean() < losses[:10].mean() - 0.05
    assert run.clip is None
