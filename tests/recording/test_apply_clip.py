"""A clip on real gradients is the naive float64 computation, and the row says what was done."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens import clipping
from gradlens.clipping import ClipRule, over_parameters
from gradlens.clipping.members import Members, matching_names
from gradlens.recording.apply_clip import Clipper
from gradlens.recording.cpu_norms import row_norms
from gradlens.recording.device_rules import device_rule
from gradlens.recording.scaling import scale_gradients

CPU = torch.device("cpu")
NAMES = ["enc.weight", "enc.bias", "head.weight", "head.bias", "table", "wave", "gain", "unused"]
GROUPS = {"enc": "enc.*", "head": ["head.weight", "head.bias"], "never": "unused"}
RATE, STEPS = 0.05, 8
Array = NDArray[Any]


def weights() -> list[Tensor]:
    """Single, half, double precision, complex, one that gets sparse gradients, a number, and one left out."""
    rng = torch.Generator().manual_seed(0)
    shapes: list[tuple[tuple[int, ...], torch.dtype]] = [
        ((4, 3), torch.float32), ((5,), torch.bfloat16), ((3, 2, 2), torch.float64), ((3,), torch.float32),
        ((6, 2), torch.float32), ((2, 2), torch.complex64), ((), torch.float32), ((3,), torch.float32),
    ]  # fmt: skip
    return [torch.nn.Parameter(torch.randn(shape, generator=rng, dtype=dtype)) for shape, dtype in shapes]


def set_gradients(parameters: list[Tensor], step: int, scale: float = 1.0) -> None:
    """Fresh gradients; those of the table name a row twice."""
    rng = torch.Generator().manual_seed(step)
    size = scale * (0.2, 1.0, 0.05, 3.0)[step % 4]
    for name, parameter in zip(NAMES, parameters, strict=True):
        if name == "table":
            values = size * torch.randn((4, 2), generator=rng)
            parameter.grad = torch.sparse_coo_tensor(
                torch.tensor([[0, 3, 3, 5]]), values, (6, 2), check_invariants=True
            )
        elif name != "unused":
            parameter.grad = size * torch.randn(parameter.shape, generator=rng, dtype=parameter.dtype)


def wide(tensor: Tensor) -> Array:
    dense = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    found: Array = dense.to(torch.complex128 if dense.is_complex() else torch.float64).numpy().copy()
    return found


def gradients(parameters: list[Tensor]) -> list[Array]:
    return [wide(parameter.grad) for parameter in parameters if parameter.grad is not None]


def norm(*arrays: Array) -> float:
    return math.sqrt(sum(float((np.abs(array) ** 2).sum()) for array in arrays))


def norms_of(parameters: list[Tensor], scale: float = 1.0) -> Tensor:
    found = [math.nan if p.grad is None else norm(wide(p.grad)) / scale for p in parameters]
    return torch.tensor(found, dtype=torch.float64)


class Done(NamedTuple):
    """What a naive rule did to the gradients of a step."""

    after: list[Array]
    clipped: bool
    mean: float | None = None
    threshold: float | None = None


Naive = Callable[[list[Array], list[Array]], Done]
"""(gradients, their parameters) -> what is done, in float64; without what has no gradient."""


def globally(decide: Callable[[float], tuple[float, float]]) -> Naive:
    """A rule on the global norm, from norm -> (norm after, threshold)."""

    def naive(grads: list[Array], params: list[Array]) -> Done:
        before = norm(*grads)
        after, threshold = decide(before)
        return Done([g * (after / before) for g in grads], before > threshold, threshold=threshold)

    return naive


def fixed(c: float) -> Callable[[], Naive]:
    return lambda: globally(lambda n: (min(n, c), c))


def autoclip(p: float) -> Naive:
    seen: list[float] = []

    def decide(n: float) -> tuple[float, float]:
        seen.append(n)
        threshold = float(np.percentile(seen, p))
        return min(n, threshold), threshold

    return globally(decide)


def zclip() -> Naive:
    """With alpha = .9, z = 1, no eps to speak of, a cap of 6 and two steps to watch."""
    first: list[float] = []
    mean = variance = 0.0

    def decide(n: float) -> tuple[float, float]:
        nonlocal mean, variance
        if len(first) < 2:
            first.append(n)
            mean, variance = float(np.mean(first)), float(np.var(first))
            return min(n, 6.0), 6.0
        sigma = math.sqrt(variance)
        onset = mean + sigma + 1e-6
        used = mean + sigma * (sigma + 1e-6) / (n - mean) if n > onset else n
        mean = 0.9 * mean + 0.1 * used
        variance = 0.9 * variance + 0.1 * (used - mean) ** 2
        return min(used, 6.0), min(onset, 6.0)

    return globally(decide)


def per_parameter() -> Naive:
    def naive(grads: list[Array], params: list[Array]) -> Done:
        factors = [min(1.0, 0.7 / norm(g)) for g in grads]
        after = [c * g for c, g in zip(factors, grads, strict=True)]
        return Done(after, min(factors) < 1, float(np.mean(factors)))

    return naive


def per_group() -> Naive:
    """Medians for the encoder (the first two) and the head (the next two); the others are left alone."""
    seen: list[list[float]] = [[], []]

    def naive(grads: list[Array], params: list[Array]) -> Done:
        factors = []
        for history, group in zip(seen, (grads[:2], grads[2:4]), strict=True):
            history.append(norm(*group))
            factors.append(min(1.0, float(np.median(history)) / history[-1]))
        each = [factors[0]] * 2 + [factors[1]] * 2 + [1.0] * (len(grads) - 4)
        return Done([c * g for c, g in zip(each, grads, strict=True)], min(factors) < 1, float(np.mean(factors)))

    return naive


def clamped(g: Array, v: float) -> Array:
    return g.real.clip(-v, v) + 1j * g.imag.clip(-v, v) if np.iscomplexobj(g) else g.clip(-v, v)


def value() -> Naive:
    def naive(grads: list[Array], params: list[Array]) -> Done:
        after = [clamped(g, 0.5) for g in grads]
        return Done(after, any((a != g).any() for a, g in zip(after, grads, strict=True)))

    return naive


def value_then_fixed() -> Naive:
    def naive(grads: list[Array], params: list[Array]) -> Done:
        by_value = value()(grads, params)
        by_norm = fixed(2.0)()(by_value.after, params)
        return Done(by_norm.after, by_value.clipped or by_norm.clipped)

    return naive


def matched() -> Naive:
    def naive(grads: list[Array], params: list[Array]) -> Done:
        reference = value()(grads, params)
        target, before = norm(*reference.after), norm(*grads)
        return Done([g * (target / before) for g in grads], reference.clipped, threshold=target)

    return naive


def agc() -> Naive:
    """What is stored in half precision, the bias of the encoder, is rounded before its norm counts."""

    def naive(grads: list[Array], params: list[Array]) -> Done:
        after, factors = [], []
        for g, w in zip(grads, params, strict=True):
            rows = zip(g, w, strict=True) if g.ndim > 1 else [(g, w)]
            own = [min(1.0, 0.1 * max(norm(row), 1e-3) / norm(of)) if norm(of) else 1.0 for of, row in rows]
            after.append(g * np.array(own).reshape(-1, *[1] * (g.ndim - 1)) if g.ndim else g * own[0])
            factors += own
        after[1] = torch.tensor(after[1]).bfloat16().double().numpy()
        return Done(after, min(factors) < 1, float(np.mean(factors)))

    return naive


def adagc() -> Naive:
    """With one step of warm-up, c = 1, lambda = 1.05 and beta = .5."""
    gamma: list[float] = []

    def naive(grads: list[Array], params: list[Array]) -> Done:
        if not gamma:
            factors = [min(1.0, 1.0 / norm(*grads))] * len(grads)
            gamma.extend(c * norm(g) for c, g in zip(factors, grads, strict=True))
        else:
            factors = [min(1.0, 1.05 * average / norm(g)) for average, g in zip(gamma, grads, strict=True)]
            gamma[:] = [0.5 * average + 0.5 * c * norm(g)
                        for average, c, g in zip(gamma, factors, grads, strict=True)]  # fmt: skip
        return Done([c * g for c, g in zip(factors, grads, strict=True)], min(factors) < 1, float(np.mean(factors)))

    return naive


CASES: list[tuple[ClipRule, Callable[[], Naive]]] = [
    (clipping.fixed(1.5), fixed(1.5)),
    (clipping.autoclip(30), lambda: autoclip(30)),
    (clipping.per_parameter(clipping.fixed(0.7)), per_parameter),
    (clipping.per_group(clipping.autoclip(50), GROUPS), per_group),
    (clipping.value(0.5), value),
    (clipping.normalize(), lambda: globally(lambda n: (n / (n + 1e-6), 1.0))),
    (clipping.agc(lam=0.1), agc),
    (clipping.zclip(alpha=0.9, z_threshold=1.0, max_norm=6.0, warmup=2), zclip),
    (clipping.adagc(beta=0.5, warmup=1), adagc),
    (clipping.soft(0.3), lambda: globally(lambda n: (n / (1 + RATE * n / 0.3), 0.3 / RATE))),
    (clipping.rescale(1.0, 4.0), lambda: globally(lambda n: (min(4.0, max(1.0, n)), 4.0))),
    (clipping.chain(clipping.value(0.5), clipping.fixed(2.0)), value_then_fixed),
    (clipping.match_step(clipping.value(0.5)), matched),
]
every_rule = pytest.mark.parametrize("rule", [rule for rule, _ in CASES], ids=repr)


@pytest.mark.parametrize(("rule", "make"), CASES, ids=lambda case: repr(case) if isinstance(case, ClipRule) else "")
def test_gradients_and_row_are_the_naive_computation(rule: ClipRule, make: Callable[[], Naive]) -> None:
    clipper, parameters, naive = Clipper(rule, NAMES, CPU), weights(), make()
    clipped = set()
    for step in range(STEPS):
        set_gradients(parameters, step)
        before = gradients(parameters)
        expected = naive(before, [wide(parameter) for parameter in parameters[:-1]])
        row = clipper.clip(parameters, norms_of(parameters), RATE)
        for name, found, wanted in zip(NAMES, gradients(parameters), expected.after, strict=False):
            once = 1.001 * 2.0**-8  # what rounding to half precision changes
            tolerance = once if name == "enc.bias" else 1e-6
            assert np.allclose(found, wanted, rtol=tolerance, atol=1e-9), name
        assert parameters[-1].grad is None
        after = norm(*expected.after)
        assert row["grad_norm_clipped"].item() == pytest.approx(after, rel=1e-6)
        assert row["clip_coef"].item() == pytest.approx(after / norm(*before), rel=1e-6)
        assert row["clipped"].item() == expected.clipped
        assert row["clip_source"] == "observed"
        for column, wanted in (("clip_coef_mean", expected.mean), ("clip_threshold", expected.threshold)):
            assert (column in row) == (wanted is not None), column
            assert wanted is None or row[column].item() == pytest.approx(wanted, rel=1e-6), column
        clipped.add(expected.clipped)
    assert True in clipped  # the gradients put it to work


@every_rule
def test_under_a_loss_scale_the_true_gradient_is_clipped(rule: ClipRule) -> None:
    plain, scaled = Clipper(rule, NAMES, CPU), Clipper(rule, NAMES, CPU)
    parameters, others = weights(), weights()
    for step in range(STEPS):
        set_gradients(parameters, step)
        set_gradients(others, step, scale=1024.0)
        expected = plain.clip(parameters, norms_of(parameters), RATE)
        row = scaled.clip(others, norms_of(others, 1024.0), RATE, scale=torch.tensor(1024.0))
        for one, other in zip(gradients(parameters), gradients(others), strict=True):
            assert np.allclose(other, 1024.0 * one, rtol=1e-6, atol=0)
        for column in expected.keys() - {"clip_source"}:
            assert row[column].item() == pytest.approx(expected[column].item(), rel=1e-6), column


@every_rule
def test_without_any_gradient_nothing_happens(rule: ClipRule) -> None:
    clipper, parameters = Clipper(rule, NAMES, CPU), weights()
    before = clipper.state_dict()["state"]
    assert clipper.clip(parameters, norms_of(parameters), RATE) == {}
    after = clipper.state_dict()["state"]
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_is_left_as_it_is(bad: float) -> None:
    together, alone = weights(), weights()
    for parameters, rule in ((together, clipping.fixed(0.1)), (alone, clipping.per_parameter(clipping.fixed(0.1)))):
        set_gradients(parameters, 1)
        assert parameters[0].grad is not None
        parameters[0].grad[0, 0] = bad
        before = gradients(parameters)
        row = Clipper(rule, NAMES, CPU).clip(parameters, norms_of(parameters), RATE)
        after = gradients(parameters)
        assert np.array_equal(after[0], before[0], equal_nan=True)
        assert not math.isfinite(row["grad_norm_clipped"].item())
        if parameters is together:
            assert not row["clipped"].item()
            assert all((a == b).all() for a, b in zip(after[1:], before[1:], strict=True))
        else:
            assert [norm(g) for g in after[2:]] == pytest.approx([0.1] * len(after[2:]), rel=1e-6)


def in_device_form(rule: ClipRule) -> Clipper:
    """A clipper as it is on an accelerator, on tensors that a test can read."""
    clipper = Clipper(rule, NAMES, CPU)
    clipper._xp, clipper._form, groups = torch, device_rule(rule, CPU), len(NAMES)
    if rule.scope == "global":
        groups = 1
    elif rule.name == "per_group":
        found = matching_names(rule.parameters["groups"], NAMES)
        clipper._members, groups = Members(found, len(NAMES), torch.as_tensor), len(found)
    else:
        clipper._form = over_parameters(clipper._form, NAMES, torch.as_tensor)
    clipper._state = clipper._form.init(groups)
    return clipper


@pytest.mark.parametrize(
    "rule",
    [rule for rule, _ in CASES] + [
        clipping.autoclip(60, window=3, ema=0.5, exclude_current=True),
        clipping.chain(clipping.per_group(clipping.autoclip(10), GROUPS), clipping.zclip(warmup=2)),
        clipping.match_step(clipping.per_parameter(clipping.autoclip(10))),
    ],
    ids=repr,
)  # fmt: skip
def test_a_state_goes_from_the_host_to_the_device_and_back(rule: ClipRule) -> None:
    straight, moved, moved_last = Clipper(rule, NAMES, CPU), Clipper(rule, NAMES, CPU), "host"
    one, other = weights(), weights()
    for step in range(12):
        if step in (3, 8):
            there = in_device_form(rule) if moved_last == "host" else Clipper(rule, NAMES, CPU)
            assert there.load_state_dict(moved.state_dict())
            moved, moved_last = there, "device" if moved_last == "host" else "host"
        set_gradients(one, step)
        set_gradients(other, step)
        expected = straight.clip(one, norms_of(one), RATE)
        row = moved.clip(other, norms_of(other), RATE)
        assert all(np.allclose(a, b, rtol=1e-6, atol=0)
                   for a, b in zip(gradients(one), gradients(other), strict=True))  # fmt: skip
        for column in expected.keys() - {"clip_source"}:
            assert row[column].item() == pytest.approx(expected[column].item(), rel=1e-9), column


def test_a_state_of_another_memory_is_not_loaded() -> None:
    clipper = Clipper(clipping.autoclip(10, window=5), NAMES, CPU)
    for rule in (clipping.autoclip(10), clipping.fixed(1.0), clipping.per_parameter(clipping.autoclip(10, window=5))):
        assert not clipper.load_state_dict(Clipper(rule, NAMES, CPU).state_dict())
    assert clipper.load_state_dict(Clipper(clipping.autoclip(90, window=5), NAMES, CPU).state_dict())
    fewer = Clipper(clipping.adagc(), NAMES[:3], CPU)
    assert not Clipper(clipping.adagc(), NAMES, CPU).load_state_dict(fewer.state_dict())


@pytest.mark.parametrize(
    ("rule", "remembers"),
    [
        (clipping.autoclip(40), True),
        (clipping.per_parameter(clipping.autoclip(40)), True),
        (clipping.adagc(warmup=2), True),
        (clipping.fixed(1.0), True),
        (clipping.chain(clipping.value(1.0), clipping.autoclip(40)), False),
        (clipping.chain(clipping.autoclip(40), clipping.soft(1.0)), False),
    ],
    ids=repr,
)
def test_seeing_recorded_norms_is_having_clipped(rule: ClipRule, remembers: bool) -> None:
    straight, resumed, parameters = Clipper(rule, NAMES, CPU), Clipper(rule, NAMES, CPU), weights()
    recorded = []
    for step in range(6):
        set_gradients(parameters, step)
        norms = norms_of(parameters)
        recorded.append(np.sqrt(np.nansum(norms.numpy() ** 2)) if rule.scope == "global" else norms.numpy())
        straight.clip(parameters, norms, RATE)
    assert resumed.see(np.array(recorded)) == remembers
    if remembers:
        own, expected = resumed.state_dict()["state"], straight.state_dict()["state"]
        assert own.keys() == expected.keys()
        assert all(torch.allclose(own[key], expected[key], rtol=1e-12, atol=0) for key in own)


@pytest.mark.parametrize("rule", [clipping.micro_batch(), clipping.per_sample(1.0)], ids=repr)
def test_micro_batches_are_not_clipped_after_backward(rule: ClipRule) -> None:
    sentence = (
        f"{rule} clips the micro-batches of a step before they are added up; between backward and the update there is "
        "only their sum."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Clipper(rule, NAMES, CPU)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("each", [False, True])
def test_half_precision_is_rounded_once(dtype: torch.dtype, each: bool) -> None:
    rng = torch.Generator().manual_seed(1)
    unit = torch.finfo(dtype).eps / 2
    for factor in torch.rand(20, generator=rng, dtype=torch.float64) + 0.25:
        dense, double = torch.rand(500, generator=rng).add(0.5).to(dtype), torch.ones(3, dtype=torch.float64)
        sparse = torch.sparse_coo_tensor(torch.arange(500)[None], dense.clone(), (500,), check_invariants=True)
        exact = dense.double() * factor
        scale_gradients([dense, double, sparse], factor.expand(3) if each else factor)
        for found in (dense, sparse.to_dense()):
            assert ((found.double() - exact).abs() <= 1.001 * unit * exact).all()
        assert (double == factor).all()


@pytest.mark.parametrize("rule", [clipping.value(1e3), clipping.agc(lam=1e3, eps=1.0)], ids=repr)
def test_what_clips_nothing_reports_exactly_that(rule: ClipRule) -> None:
    for whole in (rule, clipping.match_step(rule), clipping.chain(rule, clipping.fixed(1e3))):
        parameters = weights()
        set_gradients(parameters, 1)
        before = gradients(parameters)
        norms = norms_of(parameters)
        row = Clipper(whole, NAMES, CPU).clip(parameters, norms, RATE)
        assert row["clip_coef"].item() == 1.0
        assert not row["clipped"].item()
        assert row["grad_norm_clipped"].item() == pytest.approx(norm(*before), rel=1e-12)
        assert all((a == b).all() for a, b in zip(gradients(parameters), before, strict=True))


def test_rows_of_zeros_cost_no_second_look() -> None:
    """Embeddings and dead units have many; those that vanish in single precision are still told apart from them."""
    matrix = torch.zeros(1000, 64)
    matrix[3], matrix[5] = 1e-25, 1e25
    with pytest.MonkeyPatch.context() as watched:
        looked: list[int] = []
        norm = torch.linalg.vector_norm
        watched.setattr(torch.linalg, "vector_norm", lambda x, *a, **k: (looked.append(len(x)), norm(x, *a, **k))[1])
        found = row_norms(matrix)
    assert looked == [2]
    assert found[[0, 3, 5]].tolist() == pytest.approx([0.0, 8e-25, 8e25], rel=1e-6)
