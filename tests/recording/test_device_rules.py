"""Rules on tensors are the rules on the host, share their states, and read nothing from the device."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens import clipping
from gradlens.clipping import ClipRule, Measured
from gradlens.recording.apply_clip import Clipper
from gradlens.recording.device_rules import device_rule

STEPS, GROUPS = 2_000, 3
CPU, META = torch.device("cpu"), torch.device("meta")
Floats = NDArray[np.float64]


def series() -> tuple[Floats, Floats]:
    """Norms with a trend, spikes, zeros and what is not finite; norms of weights."""
    rng = np.random.default_rng(5)
    norms = rng.lognormal(sigma=0.5, size=(STEPS, GROUPS)) * np.geomspace(5.0, 0.2, STEPS)[:, None]
    norms[rng.random(norms.shape) < 0.01] *= 100.0
    for odd in (0.0, math.nan, math.inf):
        norms[rng.random(norms.shape) < 0.01] = odd
    norms[0] = math.nan, math.inf, 0.0
    return norms, rng.lognormal(size=norms.shape)


NORMS, WEIGHTS = series()
RATES = np.linspace(0.0, 0.1, STEPS)
PARTS = {"a": "a.*", "b": ["b.weight", "b.bias"], "c": "c"}
DETERMINED = [
    clipping.fixed(2.0),
    clipping.autoclip(10),
    clipping.autoclip(0),
    clipping.autoclip(100, ema=0.9),
    clipping.autoclip(50, exclude_current=True),
    clipping.autoclip(33, window=7),
    clipping.autoclip(90, window=50, ema=0.5, exclude_current=True),
    clipping.normalize(),
    clipping.rescale(0.5, 2.0),
    clipping.soft(0.3),
    clipping.zclip(),
    clipping.zclip(max_norm=None),
    clipping.adagc(),
    clipping.agc(lam=0.5, eps=0.7),
    clipping.micro_batch(),
    clipping.per_sample(0.7),
    clipping.per_parameter(clipping.zclip(max_norm=3.0)),
    clipping.per_group(clipping.autoclip(30), PARTS),
    clipping.chain(clipping.zclip(max_norm=None), clipping.autoclip(70), clipping.soft(1.0), clipping.fixed(2.0)),
    clipping.match_step(clipping.per_parameter(clipping.autoclip(10))),
    clipping.match_step(clipping.adagc()),
]
every_rule = pytest.mark.parametrize("rule", DETERMINED, ids=repr)


def tensors(step: int) -> Measured:
    return Measured(torch.from_numpy(NORMS[step]), torch.from_numpy(WEIGHTS[step]), float(RATES[step]), torch)


def arrays(step: int) -> Measured:
    return Measured(NORMS[step], WEIGHTS[step], float(RATES[step]))


@every_rule
def test_a_rule_on_tensors_is_its_replay(rule: ClipRule) -> None:
    form = device_rule(rule, CPU)
    state, found = form.init(GROUPS), np.empty((2, STEPS, GROUPS))
    for step in range(STEPS):
        clip, state = form.update(tensors(step), state)
        found[:, step] = clip.coefficients.numpy(), clip.thresholds.numpy()
    columns = [NORMS[:, group] for group in range(GROUPS)] if rule.scope == "global" else [NORMS]
    runs = [clipping.replay(rule, norms, lr=RATES, param_norms=WEIGHTS if rule.name == "agc" else None)
            for norms in columns]  # fmt: skip
    assert np.allclose(found[0], np.column_stack([run.coefficients for run in runs]), rtol=1e-6, atol=0)
    assert np.allclose(found[1], np.column_stack([run.thresholds for run in runs]), rtol=1e-6, atol=0)


@every_rule
def test_a_state_goes_to_the_device_and_back_without_a_trace(rule: ClipRule) -> None:
    form = device_rule(rule, CPU)
    straight, moved = rule.init(GROUPS), rule.init(GROUPS)
    for step in range(300):
        expected, straight = rule.update(arrays(step), straight)
        if step % 70 in (0, 40):  # also before the first norm
            there = form.load({key: values.copy() for key, values in rule.save(moved).items()})
            found, there = form.update(tensors(step), there)
            moved = rule.load({key: values.copy() for key, values in form.save(there).items()})
        else:
            found, moved = rule.update(arrays(step), moved)
        assert np.allclose(found.coefficients, expected.coefficients, rtol=1e-12, atol=0)
        assert np.allclose(found.thresholds, expected.thresholds, rtol=1e-12, atol=0)


NAMES = ["a.weight", "a.bias", "b.weight", "b.bias", "c"]
APPLIED = [rule for rule in DETERMINED if rule.scope != "micro_batch"] + [
    clipping.value(0.5),
    clipping.chain(clipping.value(0.5), clipping.agc(), clipping.adagc(), clipping.fixed(1.0)),
    clipping.chain(clipping.per_group(clipping.autoclip(10), PARTS), clipping.zclip()),
    clipping.match_step(clipping.value(0.5)),
    clipping.match_step(clipping.agc()),
    clipping.match_step(clipping.per_group(clipping.fixed(1.0), PARTS)),
]


def parameters_on_meta() -> list[Tensor]:
    """Of several dtypes; one without a gradient in every step."""
    shapes = [(4, 3), (4,), (2, 3, 2), (), (5,)]
    dtypes = [torch.float32, torch.bfloat16, torch.float64, torch.float32, torch.complex64]
    made = [torch.nn.Parameter(torch.empty(s, dtype=d, device=META)) for s, d in zip(shapes, dtypes, strict=True)]
    for parameter in made[:-2] + made[-1:]:
        parameter.grad = torch.empty_like(parameter)
    return list(made)


@pytest.mark.parametrize("rule", APPLIED, ids=repr)
@pytest.mark.parametrize("scaled", [False, True])
def test_no_rule_reads_the_device(rule: ClipRule, scaled: bool) -> None:
    clipper, parameters = Clipper(rule, NAMES, META), parameters_on_meta()
    norms = torch.empty(len(NAMES), dtype=torch.float64, device=META)
    rate = torch.empty((), device=META) if scaled else 0.1
    scale = torch.empty((), device=META) if scaled else None
    # A tensor there has no value: .item(), bool() and a copy to the host raise.
    for _ in range(3):
        row = clipper.clip(parameters, norms, rate, scale=scale)
        for column in ("grad_norm_clipped", "clip_coef", "clipped"):
            assert row[column].device == META
            assert row[column].shape == ()


def test_a_tensor_on_meta_cannot_be_read() -> None:
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        bool(torch.empty((), device=META) > 0)
