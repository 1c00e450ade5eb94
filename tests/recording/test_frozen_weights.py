"""The gradients of a step's samples in few dimensions, and what the host makes of them; nothing else is changed."""

import math
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from nets import NoCopies, RestlessNet, batches, everything, loss_of, same, small_net
from torch import Tensor, nn

import gradlens
from gradlens import every, per_sample_gradients
from gradlens.recording import frozen_weights
from gradlens.recording.frozen_weights import FrozenWeightsProbe, estimates
from gradlens.recording.projection import project
from gradlens.stats.micro_batch_estimator import micro_batch_estimates

CPU = torch.device("cpu")
B = 12


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(20, 60), nn.Tanh(), nn.Linear(60, 3)).double()


def task(model: nn.Module) -> partial[Tensor]:
    """A loss and its inputs, as the recorder remembers them."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(B, 20, generator=generator, dtype=torch.float64)
    y = torch.randint(3, (B,), generator=generator)
    return partial(lambda x, target: nn.functional.cross_entropy(model(x), target), x, target=y)


def exact(model: nn.Module) -> np.ndarray:
    call = task(model)
    found = per_sample_gradients(model, call.func, *call.args, **call.keywords)
    return torch.cat([rows.reshape(B, -1) for rows in found.values()], dim=1).numpy()


def probe(model: nn.Module, dimensions: int = 1024) -> FrozenWeightsProbe:
    return FrozenWeightsProbe(model, list(model.parameters()), CPU, dimensions)


def test_where_they_fit_the_rows_are_the_gradients() -> None:
    model = net()
    looking = probe(model, 20 * 60 + 60 + 60 * 3 + 3)
    assert not looking.armed
    looking.remember(task(model))
    assert looking.armed
    assert looking.measure(seed=5).numpy() == pytest.approx(exact(model), rel=1e-12)
    looking.forget()
    assert not looking.armed


def test_estimates_of_projections_are_those_of_the_gradients() -> None:
    """Over 20 projections: alpha is off by few per cent, and on average by less than its spread."""
    model = net()
    looking, truth = probe(model, 512), estimates(exact(model))
    looking.remember(task(model))
    found = [estimates(looking.measure(seed).numpy()) for seed in range(20)]
    assert looking.measure(0).shape == (B, 512)
    for b in (1, 2, 3, 4, 6, 12):
        alphas = np.array([estimate[b].alpha for estimate in found])
        traces = np.array([estimate[b].trace for estimate in found])
        assert np.abs(alphas - truth[b].alpha).max() < 0.1
        assert abs(alphas.mean() - truth[b].alpha) < 0.02
        assert traces / truth[b].trace == pytest.approx(np.ones(20), abs=0.25)
        assert traces.mean() == pytest.approx(truth[b].trace, rel=0.05)


def test_every_divisor_has_its_estimate() -> None:
    rows = np.random.default_rng(0).standard_normal((B, 5)) + 1
    found = estimates(rows, resamples=200, seed=3)
    assert list(found) == [1, 2, 3, 4, 6, 12]
    expected = micro_batch_estimates(rows, B, [4], resamples=200, seed=3)[4]
    assert (found[4].alpha, found[4].trace) == pytest.approx((expected.alpha, expected.trace))
    assert abs(found[12].alpha - 1) < 3 * found[12].alpha_error
    rows[3, 2] = math.inf
    assert estimates(rows) == {}


def test_large_models_are_taken_a_few_samples_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    looking = probe(model, 64)
    looking.remember(task(model))
    whole = looking.measure(seed=1)
    sizes: list[int] = []

    def noting(gradients: list[Tensor], dimensions: int, seed: int, device: torch.device) -> Tensor:
        sizes.append(len(gradients[0]))
        return project(gradients, dimensions, seed, device)

    monkeypatch.setattr(frozen_weights, "project", noting)
    entries = sum(parameter.numel() for parameter in model.parameters())
    for most, expected in ((5 * entries, [5, 5, 2]), (entries - 1, [1] * B)):
        sizes.clear()
        monkeypatch.setattr(frozen_weights, "_ENTRIES", most)
        assert looking.measure(seed=1).numpy() == pytest.approx(whole.numpy(), rel=1e-9, abs=1e-12)
        assert sizes == expected


def test_parameters_that_are_frozen_or_of_another_module() -> None:
    """The optimizer may step what the model does not hold, and hold what is not trained."""
    model, temperature = net(), nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
    model[0].weight.requires_grad_(False)
    call = task(model)
    looking = FrozenWeightsProbe(model, [*model.parameters(), temperature], CPU, 10_000)
    looking.remember(partial(lambda x, target: call.func(x, target) * temperature, *call.args, **call.keywords))
    found = looking.measure(seed=0).numpy()
    losses = [call.func(call.args[0][i : i + 1], call.keywords["target"][i : i + 1]).item() for i in range(B)]
    assert found.shape == (B, 60 + 60 * 3 + 3 + 1)
    assert found[:, -1] == pytest.approx(losses)
    assert found[:, :-1] == pytest.approx(exact(model) / 2)


def test_the_modes_are_those_of_the_step() -> None:
    """A loss that was evaluated without dropout has none here, whatever the model's mode is by then."""
    model = nn.Sequential(nn.Linear(20, 3), nn.Dropout(0.5)).double()
    call = task(model)
    model.eval()
    expected, looking = exact(model), probe(model)
    looking.remember(call)
    model.train()
    assert looking.measure(seed=0).numpy() == pytest.approx(expected)
    assert all(module.training for module in model.modules())


class Planted(Exception):  # noqa: N818 - planted, not met
    """The failure of the user's code."""


@pytest.mark.parametrize("fail", [False, True])
def test_everything_is_as_before(fail: bool) -> None:
    model = RestlessNet()
    model.norm.eval()
    x, y = torch.randn(6, 4), torch.randint(3, (6,))
    nn.functional.cross_entropy(model(x), y).backward()

    def compute(x: Tensor, y: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(model(x), y)
        model.drop.eval()
        if fail:
            raise Planted
        return loss

    looking = probe(model, 8)
    looking.remember(partial(compute, x, y))
    waiting = (model.inner.weight**2).sum()
    before = everything(model)
    if fail:
        with pytest.raises(Planted):
            looking.measure(seed=0)
    else:
        assert looking.measure(seed=0).isfinite().all()
    now = everything(model)
    for part, value in before.items():
        assert same(value, now[part]), part
    waiting.backward()  # autograd refuses it if the weights it saved count as written to


def test_nothing_is_read_by_the_host() -> None:
    model = nn.Sequential(nn.Linear(4, 80), nn.Tanh(), nn.Linear(80, 1)).to("meta")
    looking = FrozenWeightsProbe(model, list(model.parameters()), torch.device("meta"), 16)
    x = torch.ones(5, 4, device="meta")
    with NoCopies():
        looking.remember(partial(lambda x: model(x).square().mean(), x))
        found = looking.measure(seed=0)
    assert (found.shape, found.device.type) == ((5, 16), "meta")


def test_what_cannot_be_measured_is_said() -> None:
    model = net()
    with pytest.raises(ValueError, match=r"^dimensions must be at least 1; got 0\.$"):
        probe(model, 0)
    looking = probe(model)
    with pytest.raises(RuntimeError, match=r"^no loss was remembered for this step$"):
        looking.measure(seed=0)
    x = torch.ones(4, 20, dtype=torch.float64)
    looking.remember(lambda: model(x).mean())
    sentence = "per-sample gradients take inputs with a tensor of samples among them; got none."
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        looking.measure(seed=0)


def test_a_recorder_stores_the_estimates_of_every_size_and_changes_no_bit(tmp_path: Path) -> None:
    def train(root: Path | None) -> tuple[gradlens.Recorder, list[torch.Tensor], list[torch.Tensor]]:
        model = small_net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        singles = []
        with gradlens.Recorder(
            model, optimizer, root or "unused", smoothness=gradlens.never, frozen_weights=every(2), enabled=bool(root)
        ) as recorder:
            for step, (x, y) in enumerate(batches(3)):
                if step == 2:
                    found = gradlens.per_sample_gradients(model, loss_of(model), x, y)
                    singles = [value.flatten(1) for value in found.values()]
                optimizer.zero_grad()
                recorder.loss(loss_of(model), x, y).backward()
                optimizer.step()
        return recorder, singles, [*model.state_dict().values(), torch.get_rng_state()]

    recorder, singles, state = train(tmp_path)
    assert recorder.skipped == 0
    run = gradlens.open_run(recorder.path or "")
    whole = estimates(
        torch.cat(singles, 1).numpy()
    )  # without a projection: the test of test_projection says how far off
    for b in (1, 2, 4, 8):
        steps, alpha = run.series(f"micro_batch_alpha[{b}]")
        assert steps.tolist() == [0, 2]
        assert alpha[1] == pytest.approx(whole[b].alpha, abs=0.05)
        for name in ("bias", "noise"):
            assert (run.series(f"micro_batch_{name}[{b}]")[1] >= 0).all()
    assert run.series("micro_batch_alpha[8]")[1] == pytest.approx([1.0, 1.0], abs=0.1)
    assert all(map(torch.equal, state, train(None)[2]))
