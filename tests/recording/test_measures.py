"""What is measured beside norms, against what the training's own code computes in float64."""

import math
from pathlib import Path

import numpy as np
import torch
from nets import ALWAYS, batches, loss_of, norm64, small_net

import gradlens
from gradlens import every
from gradlens.recording.entries import entry_counts


def test_distance_ratio_and_fractions(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    model.get_parameter("2.bias").register_hook(lambda g: torch.cat([g[:1] * math.inf, g[1:]]) if poisoned else g)
    model.get_parameter("0.weight").register_hook(lambda g: g * (torch.arange(g.numel()).view_as(g) % 4 > 0))
    distances, ratios = [], []
    start = [p.detach().clone() for p in model.parameters()]
    with gradlens.Recorder(
        model, optimizer, tmp_path, distance=every(2), fractions=every(3), groups={"all": "*"}, **ALWAYS
    ) as recorder:
        for step, (x, y) in enumerate(batches(7)):
            poisoned = step == 6
            before = [p.detach().clone() for p in model.parameters()]
            distances.append(norm64([a - b for a, b in zip(before, start, strict=True)]))
            optimizer.zero_grad()
            recorder.loss(loss_of(model), x, y).backward()
            optimizer.step()
            moves = [p.detach() - old for p, old in zip(model.parameters(), before, strict=True)]
            ratios.append(norm64(moves) / norm64(before))
    run = gradlens.open_run(recorder.path or "")
    assert recorder.skipped == 0
    steps, values = run.series("distance")
    assert steps.tolist() == [0, 2, 4, 6]
    assert np.allclose(values, distances[::2], rtol=1e-6)
    assert np.allclose(run.series("update_ratio")[1][:6], ratios[:6], rtol=1e-6)
    steps, zero = run.series("zero_fraction")
    assert steps.tolist() == [0, 3, 6]
    total = sum(p.numel() for p in model.parameters())
    assert np.allclose(zero, 700 / total)
    assert run.series("nonfinite_fraction")[1].tolist() == [0.0, 0.0, 1 / total]
    frame = run.tensors("zero_fraction")
    assert frame[frame["name"] == "0.weight"]["value"].tolist() == [0.25] * 3
    odd = run.tensors("nonfinite_fraction")
    assert odd[(odd["name"] == "2.bias") & (odd["step"] == 6)]["value"].tolist() == [np.float32(1 / 3)]
    assert "grad_norm[all]" in run.columns
    assert "zero_fraction[all]" not in run.columns


def test_counting_entries_reads_nothing_on_a_device() -> None:
    meta = torch.device("meta")
    zero, odd = entry_counts([torch.empty(3, device=meta), torch.empty(2, 2, dtype=torch.complex64, device=meta)], meta)
    assert zero.shape == odd.shape == (2,)
