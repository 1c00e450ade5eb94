"""Trainings of several optimizers or several models: each step is one row, with the numbers of all that stepped."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import batches, norm64, same
from torch import nn

import gradlens
from gradlens import clipping, every, never

STEPS = 9
PERCENTILE = 40.0


class Sentence(nn.Module):
    """An embedding with sparse gradients, and a dense head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.words = nn.Embedding(12, 5, sparse=True)
        self.head = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.words((x.abs() * 5).long() % 12).mean(1))
        return found


def grads(parameters: list[nn.Parameter]) -> list[torch.Tensor]:
    found = [p.grad for p in parameters if p.grad is not None]
    return [g.coalesce().values() if g.is_sparse else g for g in found]


class Truth:
    """What the optimizers' own steps see, in float64, step by step; registers before any recorder does."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.norms: list[float] = []
        self.moved: list[float] = []
        self._before: list[torch.Tensor] = []

    def begin(self) -> None:
        self._before = [p.detach().clone() for p in self.parameters]

    def end(self) -> None:
        moves = [p.detach() - old for p, old in zip(self.parameters, self._before, strict=True)]
        self.moved.append(norm64(moves))


Iteration = Callable[[gradlens.Recorder, Truth, int, torch.Tensor, torch.Tensor], None]


def in_turn(model: nn.Module) -> tuple[list[torch.optim.Optimizer], Iteration]:
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.SparseAdam(model.words.parameters(), lr=0.05),  # type: ignore[union-attr, arg-type]
        torch.optim.AdamW(model.head.parameters(), lr=0.02),  # type: ignore[union-attr]
    ]

    def iteration(recorder: gradlens.Recorder, truth: Truth, step: int, x: torch.Tensor, y: torch.Tensor) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        recorder.loss(lambda x, y: nn.functional.cross_entropy(model(x), y), x, y).backward()
        truth.norms.append(norm64(grads(truth.parameters)))
        truth.begin()
        for optimizer in optimizers[:: 1 if step % 2 else -1]:
            optimizer.step()
        truth.end()

    return optimizers, iteration


def now_and_then(model: nn.Module) -> tuple[list[torch.optim.Optimizer], Iteration]:
    """The second steps in every third iteration only, on what has gathered until then."""
    optimizers, _ = in_turn(model)

    def iteration(recorder: gradlens.Recorder, truth: Truth, step: int, x: torch.Tensor, y: torch.Tensor) -> None:
        optimizers[0].zero_grad()
        recorder.loss(lambda x, y: nn.functional.cross_entropy(model(x), y), x, y).backward()
        both = step % 3 == 2
        truth.norms.append(norm64(grads(truth.parameters if both else truth.parameters[:1])))
        truth.begin()
        optimizers[0].step()
        if both:
            optimizers[1].step()
            optimizers[1].zero_grad()
        truth.end()

    return optimizers, iteration


def inside_backward(model: nn.Module) -> tuple[list[torch.optim.Optimizer], Iteration]:
    """Gradient release: each parameter is stepped, and its gradient let go of, as soon as backward has it."""
    parameters = list(model.parameters())
    optimizers: dict[nn.Parameter, torch.optim.Optimizer] = {p: torch.optim.SGD([p], lr=0.1) for p in parameters}
    squares: list[float] = []

    def release(parameter: torch.Tensor) -> None:
        squares.append(norm64(grads([parameter])) ** 2)  # type: ignore[list-item]
        optimizers[parameter].step()  # type: ignore[index]
        optimizers[parameter].zero_grad()  # type: ignore[index]

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(release)

    def iteration(recorder: gradlens.Recorder, truth: Truth, step: int, x: torch.Tensor, y: torch.Tensor) -> None:
        squares.clear()
        truth.begin()
        recorder.loss(lambda x, y: nn.functional.cross_entropy(model(x), y), x, y).backward()
        truth.norms.append(math.sqrt(sum(squares)))
        truth.end()

    return list(optimizers.values()), iteration


KINDS = {each.__name__: each for each in (in_turn, now_and_then, inside_backward)}


def train(
    root: Path | None, kind: str, rule: clipping.ClipRule | None = None, **options: Any
) -> tuple[gradlens.Recorder, Truth, list[Any]]:
    model = Sentence()
    optimizers, iteration = KINDS[kind](model)
    truth = Truth(list(model.parameters()))
    options = {"update": every(1), "smoothness": never, "fractions": every(1), "distance": every(1), **options}
    recorder = gradlens.Recorder(model, optimizers, root or "unused", clip=rule, enabled=root is not None, **options)
    for step, (x, y) in enumerate(batches(STEPS)):
        iteration(recorder, truth, step, x, y)
    recorder.close()
    return recorder, truth, [*model.state_dict().values(), *(o.state_dict() for o in optimizers), torch.get_rng_state()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_of_several_optimizers_is_one_row_with_the_right_numbers(tmp_path: Path, kind: str) -> None:
    recorder, truth, recorded = train(tmp_path, kind)
    assert recorder.skipped == 0
    run = gradlens.open_run(recorder.path or "")
    frame = run.steps()
    assert frame["step"].tolist() == list(range(STEPS))
    assert frame["stepped"].tolist() == [True] * STEPS
    for name, values in (("grad_norm", truth.norms), ("grad_norm_clipped", truth.norms), ("update_norm", truth.moved)):
        assert np.allclose(frame[name], values, rtol=1e-5, atol=0), name
    start = norm64([p.detach() for p in Sentence().parameters()])
    assert frame["param_norm"][0] == pytest.approx(start, rel=1e-6)
    assert frame["distance"][0] == 0.0
    per_tensor = run.tensors("grad_norm").groupby("step")["value"].apply(lambda v: math.sqrt(np.nansum(np.square(v))))
    assert np.allclose(per_tensor, truth.norms, rtol=1e-5)
    assert set(run.tensors("update_norm")["name"]) == {name for name, _ in Sentence().named_parameters()}
    assert ((frame["zero_fraction"] >= 0) & (frame["zero_fraction"] < 1)).all()
    assert same(recorded, train(None, kind)[2])


def test_learning_rates_are_counted_over_all_optimizers_and_the_run_says_which(tmp_path: Path) -> None:
    run = gradlens.open_run(train(tmp_path, "in_turn")[0].path or "")
    assert set(run.series("lr")[1]) == {0.05}
    assert set(run.series("lr[1]")[1]) == {0.02}
    assert run.optimizer["class"] == "SparseAdam + AdamW"
    assert run.optimizer["count"] == 2


@pytest.mark.parametrize("kind", ["in_turn", "now_and_then"])
def test_one_clip_acts_on_the_gradient_of_all_of_them(tmp_path: Path, kind: str) -> None:
    model = Sentence()
    optimizers, iteration = KINDS[kind](model)
    truth = Truth(list(model.parameters()))
    everything: list[float] = []
    applied: list[float] = []
    for which, optimizer in enumerate(optimizers):
        optimizer.register_step_pre_hook(lambda *_, which=which: before(which))
    stepped: set[int] = set()

    def before(which: int) -> None:
        if not stepped or which in stepped:
            stepped.clear()
            everything.append(norm64(grads(truth.parameters)))
        stepped.add(which)

    with gradlens.Recorder(
        model, optimizers, tmp_path, clip=clipping.autoclip(PERCENTILE), smoothness=never
    ) as recorder:
        optimizers[0].register_step_pre_hook(lambda *_: applied.append(norm64(grads(truth.parameters))))
        for step, (x, y) in enumerate(batches(STEPS)):
            iteration(recorder, truth, step if kind == "now_and_then" else 1, x, y)
            if kind == "in_turn":
                stepped.clear()
    frame = gradlens.open_run(recorder.path or "").steps()
    thresholds = [float(np.percentile(everything[: t + 1], PERCENTILE)) for t in range(STEPS)]
    assert np.allclose(frame["grad_norm"], everything, rtol=1e-5)
    assert np.allclose(frame["clip_threshold"], thresholds, rtol=1e-5)
    assert np.allclose(applied, np.minimum(everything, thresholds), rtol=1e-5)
    assert np.allclose(frame["grad_norm_clipped"], applied, rtol=1e-5)
    assert 0 < frame["clipped"].mean() < 1


def test_what_needs_the_whole_gradient_says_so_where_optimizers_step_inside_backward(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, _, _ = train(tmp_path, "inside_backward", smoothness=every(1), landscape=every(4))
    frame = gradlens.open_run(recorder.path or "").steps()
    assert set(frame["smoothness_method"]) == {"none: the optimizer steps inside backward"}
    assert "smoothness" not in frame
    assert "landscape_beta" not in frame
    assert recorder.skipped == 3
    assert "skipped a landscape probe at step 0 (RuntimeError: the optimizer steps inside backward)" in caplog.text
    with pytest.raises(RuntimeError, match="this training steps inside backward, where the whole gradient is never"):
        train(tmp_path, "inside_backward", clipping.fixed(1.0))


def test_a_parameter_that_backward_did_not_reach_does_not_hold_the_row_up(tmp_path: Path) -> None:
    used, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    optimizers = {p: torch.optim.SGD([p], lr=0.1) for p in (used, unused)}
    for parameter, optimizer in optimizers.items():
        parameter.register_post_accumulate_grad_hook(lambda _, optimizer=optimizer: optimizer.step())
    model = nn.ParameterList([used, unused])
    with gradlens.Recorder(model, optimizers.values(), tmp_path, update=every(1), smoothness=never) as recorder:
        for _ in range(3):
            recorder.loss(lambda: used.square().sum()).backward()
            used.grad = None
    run = gradlens.open_run(recorder.path or "")
    assert np.allclose(run.series("grad_norm")[1], [2 * math.sqrt(3) * 0.8**t for t in range(3)])
    assert np.allclose(run.series("update_norm")[1], [0.2 * math.sqrt(3) * 0.8**t for t in range(3)])
    by_name = run.tensors("update_norm").groupby("name")["value"].apply(list)
    assert np.isnan(by_name["1"]).all()  # not stepped, so not measured


def test_a_scaler_may_leave_out_one_of_them_or_all(tmp_path: Path) -> None:
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizers = [torch.optim.SGD([first], lr=0.1), torch.optim.SGD([second], lr=0.1)]
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=100)
    odd = {2: (math.inf, 1.0), 4: (math.inf, math.inf)}
    with gradlens.Recorder(
        nn.ParameterList([first, second]), optimizers, tmp_path, scaler=scaler, update=every(1), smoothness=never
    ) as recorder:
        for step in range(6):
            for optimizer in optimizers:
                optimizer.zero_grad()
            a, b = odd.get(step, (1.0, 1.0))
            loss = recorder.loss(lambda a=a, b=b: a * first.sum() + b * second.sum())
            scaler.scale(loss).backward()
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
    run = gradlens.open_run(recorder.path or "")
    frame = run.steps()
    assert frame["step"].tolist() == list(range(6))
    assert frame["stepped"].tolist() == [True] * 4 + [False, True]
    both, one = math.sqrt(5), math.sqrt(3)
    expected = [both, both, one, both, np.inf, both]
    assert np.allclose(frame["grad_norm"], expected)
    assert np.allclose(frame["update_norm"].dropna(), [0.1 * n for n in expected if np.isfinite(n)])
    assert recorder.skipped == 0


def test_several_models_are_named_by_their_keys(tmp_path: Path) -> None:
    torch.manual_seed(0)
    models = {"encoder": nn.Linear(4, 3), "the.decoder": nn.Linear(3, 1)}
    optimizer = torch.optim.SGD([p for model in models.values() for p in model.parameters()], lr=0.1)
    with gradlens.Recorder(models, optimizer, tmp_path, groups={"enc": "encoder.*"}, smoothness=every(1)) as recorder:
        for x, _ in batches(2):
            optimizer.zero_grad()
            recorder.loss(lambda x: models["the.decoder"](models["encoder"](x)).square().mean(), x).backward()
            norm = norm64([p.grad for p in models["encoder"].parameters() if p.grad is not None])
            optimizer.step()
    run = gradlens.open_run(recorder.path or "")
    assert sorted(set(run.tensors("grad_norm")["name"])) == [
        "encoder.bias", "encoder.weight", "the_decoder.bias", "the_decoder.weight"
    ]  # fmt: skip
    assert run.series("grad_norm[enc]")[1][-1] == pytest.approx(norm, rel=1e-6)
    assert (run.series("smoothness")[1] > 0).all()
    assert recorder.skipped == 0


def test_a_generator_and_its_critic_have_a_recorder_each(tmp_path: Path) -> None:
    def play(root: Path | None) -> tuple[list[gradlens.Recorder], list[list[float]], list[Any]]:
        torch.manual_seed(0)
        models = [nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, out)) for out in (4, 1)]
        models[1] = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
        generator, critic = models
        optimizers = [torch.optim.Adam(model.parameters(), lr=0.01) for model in models]
        recorders = [
            gradlens.Recorder(model, optimizer, root or "unused", enabled=root is not None, smoothness=every(2))
            for model, optimizer in zip(models, optimizers, strict=True)
        ]
        norms: list[list[float]] = [[], []]
        noise = torch.Generator().manual_seed(1)
        for real, _ in batches(6):
            z = torch.randn(8, 2, generator=noise)
            for which, compute in ((1, lambda z, r: critic(generator(z)).mean() - critic(r).mean()),
                                   (0, lambda z, _: -critic(generator(z)).mean())):  # fmt: skip
                for model in models:
                    model.zero_grad()
                recorders[which].loss(compute, z, real).backward()
                norms[which].append(norm64([p.grad for p in models[which].parameters() if p.grad is not None]))
                optimizers[which].step()
        for recorder in recorders:
            recorder.close()
        return recorders, norms, [*generator.state_dict().values(), *critic.state_dict().values()]

    recorders, norms, state = play(tmp_path)
    for recorder, expected in zip(recorders, norms, strict=True):
        run = gradlens.open_run(recorder.path or "")
        assert np.allclose(run.series("grad_norm")[1], expected, rtol=1e-5)
        assert run.series("smoothness")[0].tolist() == [0, 2, 4]
        assert recorder.skipped == 0
    assert same(state, play(None)[2])


def test_a_checkpoint_between_steps_of_a_training_with_a_rare_optimizer_counts_the_step(tmp_path: Path) -> None:
    model = Sentence()
    optimizers, iteration = now_and_then(model)
    truth = Truth(list(model.parameters()))
    recorder = gradlens.Recorder(model, optimizers, tmp_path, smoothness=never)
    data = batches(3)
    iteration(recorder, truth, 0, *data[0])
    assert recorder.state_dict()["step"] == 1
    iteration(recorder, truth, 1, *data[1])
    recorder.close()
    assert gradlens.open_run(recorder.path or "").series("step")[0].tolist() == [0, 1]


def test_wrong_optimizers_are_refused(tmp_path: Path) -> None:
    two = [nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))]
    model = nn.ParameterList(two)
    with pytest.raises(ValueError, match=r"optimizer takes one torch\.optim\.Optimizer or more; got an empty list\."):
        gradlens.Recorder(model, [], tmp_path)
    optimizers = [torch.optim.SGD(two, lr=0.1), torch.optim.SGD(two[1:], lr=0.1)]
    with pytest.raises(ValueError, match="two optimizers step the same parameter; give each of those a recorder"):
        gradlens.Recorder(model, optimizers, tmp_path)
    assert list(tmp_path.iterdir()) == []
