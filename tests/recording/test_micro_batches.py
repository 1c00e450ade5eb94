"""Micro-batches of a step: what is recorded of each, and clipping them one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import batches, loss_of, same, small_net
from torch import nn

import gradlens
from gradlens import clipping, every, never

BATCH = 16


def flat(gradients: Any) -> torch.Tensor:
    return torch.cat([g.reshape(-1).double() for g in gradients])


def naive(model: nn.Module, x: torch.Tensor, y: torch.Tensor, size: int) -> torch.Tensor:
    """The gradients of the micro-batches of a batch, (K, entries) float64: from those of single samples, two passes."""
    twin = small_net().double()
    twin.load_state_dict(model.state_dict())
    single = [
        flat(torch.autograd.grad(loss_of(twin)(x[i : i + 1].double(), y[i : i + 1]), list(twin.parameters())))
        for i in range(len(x))
    ]
    return torch.stack(single).reshape(len(x) // size, size, -1).mean(1)


def clipped(gradients: torch.Tensor) -> torch.Tensor:
    """Algorithm 1: every micro-batch's gradient brought to the smallest norm, then the mean."""
    norms = gradients.norm(dim=1)
    return (norms.min() / norms)[:, None].mul(gradients).mean(0)


def train(
    root: Path | None,
    size: int,
    rule: clipping.ClipRule | None,
    check: Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor], None] = lambda *_: None,
    *,
    by_hand: bool = False,
    scaled: bool = False,
    clip_norm: float | None = None,
    **options: Any,
) -> tuple[gradlens.Recorder, list[Any]]:
    """Train; ``check`` sees the model, the batch and the gradient that the optimizer takes."""
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, enabled=scaled)
    options = {"smoothness": never, "micro_batches": every(1), **options}
    recorder = gradlens.Recorder(
        model, optimizer, root or "unused", clip=rule, scaler=scaler, enabled=root is not None, **options
    )
    of = BATCH // size
    for x, y in batches(5, BATCH):
        optimizer.zero_grad()
        for j, (one_x, one_y) in enumerate(zip(x.split(size), y.split(size), strict=True)):
            loss = recorder.loss(
                loss_of(model), one_x, one_y, of=1 if by_hand else of, domain=f"domain {j % 2}" if j else None
            )
            scaler.scale(loss / of if by_hand else loss).backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        handle = optimizer.register_step_pre_hook(
            lambda *_, x=x, y=y: check(model, x, y, flat([p.grad for p in model.parameters()]))
        )
        scaler.step(optimizer)
        handle.remove()
        scaler.update()
    recorder.close()
    return recorder, [*model.state_dict().values(), torch.get_rng_state()]


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaler"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["of=K", "by hand"])
@pytest.mark.parametrize("size", [1, 2, 8, BATCH])
def test_micro_batch_clipping_is_algorithm_1(tmp_path: Path, size: int, by_hand: bool, scaled: bool) -> None:
    plain: list[torch.Tensor] = []
    applied: list[torch.Tensor] = []

    def check(model: nn.Module, x: torch.Tensor, y: torch.Tensor, taken: torch.Tensor) -> None:
        plain.append(naive(model, x, y, size))
        applied.append(taken)
        expected = clipped(plain[-1])
        assert (taken - expected).norm() <= 1e-6 * expected.norm()

    options = {"by_hand": by_hand, "scaled": scaled}
    recorder, state = train(tmp_path, size, clipping.micro_batch(), check, **options)
    assert recorder.skipped == 0
    assert len(applied) == 5
    run = gradlens.open_run(recorder.path or "")
    frame = run.steps()
    norms = [each.norm(dim=1) for each in plain]
    means = [each.mean(0).norm().item() for each in plain]
    assert np.allclose(frame["grad_norm"], means, rtol=1e-5)
    assert np.allclose(frame["grad_norm_clipped"], [a.norm().item() for a in applied], rtol=1e-5)
    assert np.allclose(frame["rho"], [n.min().item() for n in norms], rtol=1e-5)
    assert np.allclose(frame["clip_coef_mean"], [(n.min() / n).mean().item() for n in norms], rtol=1e-5)
    assert set(frame["clip_source"]) == {"observed"}
    assert frame["clipped"].tolist() == [size < BATCH] * 5
    table = run.micro_batches()
    assert np.allclose(table["grad_norm"], torch.cat(norms), rtol=1e-5)
    assert np.allclose(table["clip_coef"], torch.cat([n.min() / n for n in norms]), rtol=1e-5)
    per_tensor = run.tensors("grad_norm").groupby("step")["value"].apply(lambda v: math.sqrt((v**2).sum()))
    assert np.allclose(per_tensor, means, rtol=1e-5)
    # The clip is part of the training, the recording is not; and so whether norms are due.
    assert same(state, train(None, size, clipping.micro_batch(), **options)[1])
    quiet = {"norms": never, "micro_batches": never}
    assert same(state, train(tmp_path, size, clipping.micro_batch(), **options, **quiet)[1])


@pytest.mark.parametrize("by_hand", [False, True], ids=["of=K", "by hand"])
def test_per_sample_clipping_is_the_mean_of_clipped_samples(tmp_path: Path, by_hand: bool) -> None:
    def check(model: nn.Module, x: torch.Tensor, y: torch.Tensor, taken: torch.Tensor) -> None:
        gradients = naive(model, x, y, 1)
        factors = (11.0 / gradients.norm(dim=1)).clamp(max=1.0)
        assert 0 < (factors < 1).sum() < BATCH
        expected = (factors[:, None] * gradients).mean(0)
        assert (taken - expected).norm() <= 1e-6 * expected.norm()

    train(tmp_path, 1, clipping.per_sample(11.0), check, by_hand=by_hand)


def test_a_matched_step_has_the_plain_direction_and_the_clipped_length(tmp_path: Path) -> None:
    def check(model: nn.Module, x: torch.Tensor, y: torch.Tensor, taken: torch.Tensor) -> None:
        gradients = naive(model, x, y, 2)
        mean = gradients.mean(0)
        expected = mean * clipped(gradients).norm() / mean.norm()
        assert (taken - expected).norm() <= 1e-6 * expected.norm()

    train(tmp_path, 2, clipping.match_step(clipping.micro_batch()), check)


@pytest.mark.parametrize("by_hand", [False, True], ids=["of=K", "by hand"])
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "scaler"])
def test_each_micro_batch_is_a_row_and_observing_changes_no_bit(tmp_path: Path, by_hand: bool, scaled: bool) -> None:
    plain: list[torch.Tensor] = []
    size, of = 2, BATCH // 2
    options: dict[str, Any] = {"by_hand": by_hand, "scaled": scaled, "clip_norm": 5.0}
    recorder, state = train(
        tmp_path, size, None, lambda model, x, y, _: plain.append(naive(model, x, y, size)), **options
    )
    assert recorder.skipped == 0
    table = gradlens.open_run(recorder.path or "").micro_batches()
    assert table["step"].tolist() == [step for step in range(5) for _ in range(of)]
    assert table["micro_batch"].tolist() == [*range(of)] * 5
    assert np.allclose(table["grad_norm"], torch.cat([g.norm(dim=1) for g in plain]), rtol=1e-5)
    assert np.allclose(table["scale"], 1 / of)
    cosines = []
    for gradients in plain:
        rest = gradients.sum(0) - gradients
        cosines.append(torch.nn.functional.cosine_similarity(gradients, rest, dim=1))
    assert np.allclose(table["cosine"], torch.cat(cosines), atol=2e-5)
    assert set(table["samples"]) == {size}
    assert table["domain"].fillna("none").tolist() == (["none", *["domain 1", "domain 0"] * of][:of]) * 5
    assert table["clip_coef"].isna().all()
    frame = gradlens.open_run(recorder.path or "").steps()
    assert np.allclose(table.groupby("step")["loss"].mean(), frame["loss"], rtol=1e-6)
    assert same(state, train(None, size, None, **options)[1])


def test_the_noise_scale_of_a_recorded_run_can_be_had(tmp_path: Path) -> None:
    from gradlens import analysis

    recorder, _ = train(tmp_path, 2, None)
    result = analysis.noise_scale(gradlens.open_run(recorder.path or ""))
    assert len(result.steps) == 5


def test_only_due_steps_have_rows(tmp_path: Path) -> None:
    recorder, _ = train(tmp_path, 4, None, micro_batches=every(2))
    assert sorted(set(gradlens.open_run(recorder.path or "").micro_batches()["step"])) == [0, 2, 4]
    probe = recorder._steps.probes._micro_batches
    assert probe._found == []


@pytest.mark.parametrize(
    ("summands", "point", "gradient"),
    [((-3, 3), -2, 0), ((-3, 3), 0.7, 0), ((-3, 3), 2, 0), ((-3, -3, 9), -2.5, 0), ((-3, -3, 9), 1, 1 / 3)],
)
def test_the_exact_bias_of_clipping_each_sample(
    tmp_path: Path, summands: tuple[float, ...], point: float, gradient: float
) -> None:
    """Summands (x - a)^2 / 2, clipped at 1: every x in [-2, 2] is stationary, or -2.5 where the optimum is 1."""
    x = nn.Parameter(torch.tensor([point], dtype=torch.float64))
    optimizer = torch.optim.SGD([x], lr=0.1)
    with gradlens.Recorder(
        nn.ParameterList([x]), optimizer, tmp_path, clip=clipping.per_sample(1.0), smoothness=never
    ) as recorder:
        for a in summands:
            recorder.loss(lambda a: (x - a).square().sum() / 2, a, of=len(summands)).backward()
        optimizer.step()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(gradient, abs=1e-6)


def test_a_step_that_was_given_up_leaves_nothing_to_the_next(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    units = torch.eye(2)
    with gradlens.Recorder(
        nn.ParameterList([weight]), optimizer, tmp_path, clip=clipping.micro_batch(), smoothness=never
    ) as recorder:
        recorder.loss(lambda: 100 * (weight @ units[0]), of=2).backward()
        optimizer.zero_grad()  # given up
        for factor, unit in zip((2.0, 8.0), units, strict=True):
            recorder.loss(lambda f=factor, u=unit: f * (weight @ u), of=2).backward()
        optimizer.step()
    assert weight.grad is not None
    assert weight.grad.tolist() == pytest.approx([1.0, 1.0])


def test_a_clip_that_would_not_act_is_refused(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    options: dict[str, Any] = {"clip": clipping.micro_batch(), "smoothness": never}
    with gradlens.Recorder(nn.ParameterList([weight]), optimizer, tmp_path, **options) as recorder:
        weight.square().sum().backward()
        with pytest.raises(
            RuntimeError, match=r"tells them apart by recorder\.loss, which this step did not go through"
        ):
            optimizer.step()
        weight.grad = None
        weight.register_post_accumulate_grad_hook(lambda _: optimizer.step())
        with pytest.raises(RuntimeError, match="this training steps inside backward, before a micro-batch's gradient"):
            recorder.loss(lambda: weight.square().sum()).backward()


def test_what_cannot_be_told_apart_is_refused(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    with gradlens.Recorder(
        nn.ParameterList([weight]), optimizer, tmp_path, clip=clipping.micro_batch(), smoothness=never
    ) as recorder:
        loss = recorder.loss(lambda: weight.square().sum())
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match="two backward passes in one micro-batch"):
            loss.backward()
        with pytest.raises(TypeError, match='domain takes text, such as domain="web", or None; got 3'):
            recorder.loss(lambda: weight.sum(), domain=3)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="domain takes printable text of at most 255 bytes; got 'ééé"):
            recorder.loss(lambda: weight.sum(), domain="é" * 200)


@pytest.mark.parametrize("rule", [None, clipping.micro_batch(), clipping.match_step(clipping.micro_batch())], ids=str)
def test_micro_batches_of_sparse_complex_and_missing_gradients(tmp_path: Path, rule: clipping.ClipRule | None) -> None:
    torch.manual_seed(1)
    words = nn.Embedding(6, 2, sparse=True)
    turn, late = nn.Parameter(torch.ones(2, dtype=torch.complex64)), nn.Parameter(torch.ones(2))
    parameters = [words.weight, turn, late]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    singles, expected = [], []
    with gradlens.Recorder(
        nn.ParameterList(parameters), optimizer, tmp_path, clip=rule, smoothness=never, micro_batches=every(1)
    ) as recorder:
        for j in range(3):

            def compute(j: int = j) -> torch.Tensor:
                found = (words(torch.tensor([j, j + 1])) * turn).abs().square().sum()
                return found + (late.square().sum() if j else 0.0)

            recorder.loss(compute, of=3).backward()
            gradients = torch.autograd.grad(compute(), parameters, allow_unused=True)
            dense = [torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g
                     for g, p in zip(gradients, parameters, strict=True)]  # fmt: skip
            singles.append(flat([torch.view_as_real(g) if g.is_complex() else g for g in dense]))
        optimizer.step()
        for p in parameters:
            assert p.grad is not None
            expected.append(torch.view_as_real(p.grad) if p.grad.is_complex() else p.grad.to_dense())
    together = torch.stack(singles)
    wanted = together.mean(0)
    if rule is not None:
        wanted = clipped(together) if rule.name == "micro_batch" else wanted * clipped(together).norm() / wanted.norm()
    assert np.allclose(flat(expected), wanted, rtol=1e-5, atol=1e-6)
    assert recorder.skipped == 0
    table = gradlens.open_run(recorder.path or "").micro_batches()
    assert np.allclose(table["grad_norm"], together.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("divided_by", ["of", "hand"])
def test_the_noise_scale_of_a_recorded_training_is_that_of_its_data(tmp_path: Path, divided_by: str) -> None:
    """Summands ||theta - a||^2 / 2 with a ~ N(0, s^2 I): g = theta and tr Cov = d s^2; lr 0 keeps theta where it is."""
    d, s, k, size, steps = 20, 0.5, 4, 4, 300
    model = nn.Linear(d, 1, bias=False)
    nn.init.constant_(model.weight, 0.15)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    generator = torch.Generator().manual_seed(0)

    def compute(a: torch.Tensor) -> torch.Tensor:
        return 0.5 * (model.weight - a).square().sum(dim=1).mean()

    options = {"update": never, "smoothness": never, "micro_batches": every(1)}
    with gradlens.Recorder(model, optimizer, tmp_path, **options) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            for _ in range(k):
                a = s * torch.randn(size, d, generator=generator)
                if divided_by == "of":
                    recorder.loss(compute, a, of=k).backward()
                else:
                    (recorder.loss(compute, a) / k).backward()
            optimizer.step()
    found = gradlens.analysis.noise_scale(gradlens.open_run(recorder.path or ""))
    trace, squared = d * s**2, d * 0.15**2
    assert found.status == ""
    assert found.overall.trace == pytest.approx(trace, rel=0.03)
    assert found.overall.interval[0] < trace / squared < found.overall.interval[1]
    assert found.overall.interval[1] / found.overall.interval[0] < 1.7


def linear(entries: int = 2) -> nn.Linear:
    """Its gradient is the mean of its inputs."""
    return nn.Linear(entries, 1, bias=False)


class Applied:
    """A training of a linear function, and what its optimizer took at each step."""

    def __init__(self, root: Path, rule: clipping.ClipRule, **options: Any) -> None:
        self.model = linear()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.taken: list[list[float]] = []
        self.recorder = gradlens.Recorder(self.model, self.optimizer, root, clip=rule, smoothness=never, **options)
        self.optimizer.register_step_pre_hook(lambda *_: self.taken.append(self.gradient()))

    def gradient(self) -> list[float]:
        gradient = self.model.weight.grad
        return [math.nan] if gradient is None else gradient[0].tolist()

    def loss(self, *samples: list[float], of: int = 1) -> torch.Tensor:
        loss: torch.Tensor = self.recorder.loss(lambda x: self.model(x).mean(), torch.tensor(samples), of=of)
        return loss


@pytest.mark.parametrize("left_out", [None, 0, 1, 2])
def test_a_micro_batch_that_the_training_leaves_out_takes_nothing_from_the_others(
    tmp_path: Path, left_out: int | None
) -> None:
    run = Applied(tmp_path, clipping.per_sample(100.0), micro_batches=every(1))
    gradients = [[1.0, 0.0], [0.0, 2.0], [4.0, 0.0]]
    for _ in range(2):
        run.optimizer.zero_grad()
        for index, gradient in enumerate(gradients):
            loss = run.loss(gradient, of=3)
            if index != left_out:
                loss.backward()
        run.optimizer.step()
    run.recorder.close()
    made = [gradient for index, gradient in enumerate(gradients) if index != left_out]
    expected = (torch.tensor(made).sum(0) / 3).tolist()
    assert run.taken == [pytest.approx(expected, rel=1e-6)] * 2
    opened = gradlens.open_run(run.recorder.path or "")
    assert opened.steps()["stepped"].tolist() == [True, True]
    assert opened.micro_batches()["grad_norm"].tolist() == pytest.approx([np.linalg.norm(g) for g in made] * 2)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_a_step_that_was_given_up_either_way_is_forgotten(tmp_path: Path, set_to_none: bool) -> None:
    run = Applied(tmp_path, clipping.micro_batch())
    run.loss([math.inf, 7.0]).backward()
    run.optimizer.zero_grad(set_to_none=set_to_none)
    run.loss([3.0, 4.0]).backward()
    run.optimizer.step()
    assert run.taken == [[3.0, 4.0]]
    run.recorder.close()


def test_a_backward_pass_that_failed_leaves_what_there_was(tmp_path: Path) -> None:
    run = Applied(tmp_path, clipping.per_sample(100.0))
    run.loss([1.0, 0.0], of=2).backward()
    loss = run.loss([0.0, 1.0], of=2)
    run.model.weight.register_hook(lambda _: (_ for _ in ()).throw(MemoryError("out of memory")))
    with pytest.raises(MemoryError):
        loss.backward()
    run.model.weight._backward_hooks.clear()
    run.optimizer.step()
    assert run.taken == [[0.5, 0.0]]
    run.recorder.close()


@pytest.mark.parametrize("sizes", [(4, 4, 1), (1, 2, 5)])
def test_micro_batches_of_different_sizes_are_weighted_by_hand_and_clipped_by_their_own_norms(
    tmp_path: Path, sizes: tuple[int, ...]
) -> None:
    same, different = Applied(tmp_path, clipping.micro_batch()), Applied(tmp_path, clipping.micro_batch())
    for run, factor in ((same, 1.0), (different, 2.0)):
        for index, size in enumerate(sizes):
            scale = factor if index == 1 else 1.0
            (run.loss(*[[3.0 * scale, 4.0 * scale]] * size) * size / sum(sizes)).backward()
        run.optimizer.step()
        run.recorder.close()
        assert run.taken == [pytest.approx([3.0, 4.0], rel=1e-6)]  # alike in direction, and the shortest is 5 long
        assert gradlens.open_run(run.recorder.path or "").series("rho")[1].tolist() == pytest.approx([5.0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rule", [clipping.micro_batch(), clipping.match_step(clipping.micro_batch())], ids=str)
def test_one_micro_batch_is_no_clipping_to_the_last_bit(
    tmp_path: Path, rule: clipping.ClipRule, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    model = nn.Linear(40, 30).to(dtype)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(8, 40).to(dtype)
    with gradlens.Recorder(model, optimizer, tmp_path, clip=rule, smoothness=never) as recorder:
        model(x).square().mean().backward()
        expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        optimizer.zero_grad()
        recorder.loss(lambda x: model(x).square().mean(), x).backward()
        assert all(map(torch.equal, expected, [p.grad for p in model.parameters()]))
        optimizer.step()


def test_norms_near_the_end_of_single_precision_overflow_nothing(tmp_path: Path) -> None:
    run = Applied(tmp_path, clipping.micro_batch())
    for gradient in ([1.0, 0.0], [1e-39, 0.0]):
        run.loss(gradient, of=2).backward()
    run.optimizer.step()
    assert run.taken == [[pytest.approx(1e-39, rel=1e-3), 0.0]]
    run.recorder.close()


def test_what_would_be_lost_is_refused(tmp_path: Path) -> None:
    """A penalty with a backward pass of its own, and a clip between two micro-batches."""
    for write in (
        lambda run: (10 * run.model.weight.sum()).backward(),
        lambda run: nn.utils.clip_grad_norm_(run.model.parameters(), 0.1),
    ):
        run = Applied(tmp_path, clipping.per_sample(100.0))
        run.loss([1.0, 0.0], of=2).backward()
        write(run)
        with pytest.raises(RuntimeError, match=r"^the gradient that clipped micro-batches have left was written to"):
            run.loss([0.0, 1.0], of=2)
        run.recorder.close()


def test_a_term_beside_the_loss_in_one_pass_stays_in_it(tmp_path: Path) -> None:
    run = Applied(tmp_path, clipping.per_sample(100.0))
    other = nn.Parameter(torch.ones(1))
    run.optimizer.add_param_group({"params": [other]})
    run.recorder.close()
    recorder = gradlens.Recorder(
        nn.ModuleDict({"a": run.model, "b": nn.ParameterList([other])}),  # type: ignore[dict-item]
        run.optimizer, tmp_path, clip=clipping.per_sample(100.0), smoothness=never,
    )  # fmt: skip
    x = torch.tensor([[1.0, 0.0]])
    for _ in range(3):
        (recorder.loss(lambda x: run.model(x).mean(), x, of=3) + 0.5 * other.sum()).backward()
    run.optimizer.step()
    assert other.grad is not None
    assert other.grad.item() == pytest.approx(1.5)
    assert run.taken == [pytest.approx([1.0, 0.0])]
    recorder.close()


def test_a_gradient_without_backward_is_no_micro_batch(tmp_path: Path) -> None:
    run = Applied(tmp_path, clipping.per_sample(1.0))
    loss = run.loss([30.0, 40.0])
    torch.autograd.grad(loss, run.model.weight, retain_graph=True)  # a look at the saliency, say
    loss.backward()
    run.optimizer.step()
    assert run.taken == [pytest.approx([0.6, 0.8])]
    run.optimizer.zero_grad()
    (run.model.weight.grad,) = torch.autograd.grad(run.loss([30.0, 40.0]), run.model.weight)
    with pytest.raises(RuntimeError, match="which this step did not go through"):
        run.optimizer.step()
    run.recorder.close()


def test_losses_that_are_all_evaluated_first_are_told_apart(tmp_path: Path) -> None:
    run = Applied(tmp_path, clipping.per_sample(10.0), micro_batches=every(1))
    losses = [run.loss([3.0, 4.0], of=2), run.loss([30.0, 40.0], of=2)]
    for loss in losses:
        loss.backward()
    run.optimizer.step()
    run.recorder.close()
    assert run.taken == [pytest.approx([(3 + 6) / 2, (4 + 8) / 2])]
    table = gradlens.open_run(run.recorder.path or "").micro_batches()
    assert table["grad_norm"].tolist() == pytest.approx([5.0, 50.0])
    assert table["clip_coef"].tolist() == pytest.approx([1.0, 0.2])


def test_sparse_gradients_stay_sparse(tmp_path: Path) -> None:
    table = nn.Embedding(20, 3, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
    with gradlens.Recorder(table, optimizer, tmp_path, clip=clipping.micro_batch(), smoothness=never) as recorder:
        for row in (1, 7):
            recorder.loss(lambda i: table(i).sum(), torch.tensor([row]), of=2).backward()
        optimizer.step()
        assert table.weight.grad is not None
        assert table.weight.grad.is_sparse
        assert sorted(table.weight.grad.coalesce().indices()[0].tolist()) == [1, 7]
