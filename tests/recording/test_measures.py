"""What is measured beside norms, against what the training's own code computes in float64."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import ALWAYS, batches, loss_of, norm64, small_net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

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


def test_entries_of_every_kind_are_counted() -> None:
    sparse = torch.sparse_coo_tensor(torch.tensor([[0, 2]]), torch.tensor([0.0, 1.0]), (5,), check_invariants=True)
    whole = torch.tensor([complex(0, 1), complex(math.nan, 0)])
    zero, odd = entry_counts([sparse, whole, torch.ones(0)], torch.device("cpu"))
    assert zero.counts.tolist() == [1.0, 2.0, 0.0]
    assert zero.shares.tolist() == [0.5, 0.5, 0.0]
    assert odd.counts.tolist() == [0.0, 1.0, 0.0]
    assert zero.entries == odd.entries == 6


def test_the_full_gradient_is_that_of_all_samples_and_leaves_no_trace(tmp_path: Path) -> None:
    torch.manual_seed(3)
    data = torch.randn(50, 4), torch.randint(3, (50,))
    loader = DataLoader(TensorDataset(*data), batch_size=16, shuffle=True)  # draws from the global generator

    def train(*, enabled: bool) -> tuple[gradlens.Recorder, list[float], list[torch.Tensor]]:
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.0), nn.Linear(8, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        norms = []
        with gradlens.Recorder(model, optimizer, tmp_path, enabled=enabled, smoothness=gradlens.never) as recorder:
            for x, y in batches(4):
                model.eval()  # so that the loss is a mean over samples
                recorder.full_gradient(loss_of(model), loader)
                gradients = torch.autograd.grad(loss_of(model)(*data), list(model.parameters()))
                norms.append(norm64(list(gradients)))
                model.train()
                optimizer.zero_grad()
                recorder.loss(loss_of(model), x, y).backward()
                optimizer.step()
        return recorder, norms, [*model.state_dict().values(), torch.get_rng_state()]

    torch.manual_seed(5)
    recorder, norms, state = train(enabled=True)
    torch.manual_seed(5)
    assert all(map(torch.equal, state, train(enabled=False)[2]))
    steps, found = gradlens.open_run(recorder.path or "").series("full_grad_norm")
    assert steps.tolist() == [0, 1, 2, 3]
    assert np.allclose(found, norms, rtol=1e-5)


@pytest.mark.parametrize(("nothing", "said"), [([], "at least one batch"), ([("no", 1)], "with a tensor in them")])
def test_a_set_without_samples_is_refused(tmp_path: Path, nothing: list[object], said: str) -> None:
    model = small_net()
    with (
        gradlens.Recorder(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path) as recorder,
        pytest.raises(ValueError, match=said),
    ):
        recorder.full_gradient(loss_of(model), nothing)


def test_the_start_stays_the_start_where_a_group_is_added(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    start = [p.detach().clone() for p in model.parameters()]
    distances = []
    with gradlens.Recorder(model, optimizer, tmp_path, distance=every(1), smoothness=gradlens.never) as recorder:
        for step, (x, y) in enumerate(batches(5)):
            if step == 3:
                optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))]})
            distances.append(norm64([p.detach() - old for p, old in zip(model.parameters(), start, strict=True)]))
            optimizer.zero_grad()
            recorder.loss(loss_of(model), x, y).backward()
            optimizer.step()
    assert np.allclose(gradlens.open_run(recorder.path or "").series("distance")[1], distances, rtol=1e-6)
