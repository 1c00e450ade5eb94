"""Norms against float64, and nothing on the device path that reads the host."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradlens import clipping
from gradlens.recording.apply_clip import scale_gradients
from gradlens.recording.device_rules import DeviceAutoClip, device_rule
from gradlens.recording.norms import global_norm, tensor_norms
from gradlens.recording.row_finisher import RowFinisher
from gradlens.recording.row_ring import RowRing
from gradlens.recording.step_row import Part

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 511, 512, 513, 5000, 3_000_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["random", "constant"])
def test_norm_is_float64s_to_a_millionth(size: int, dtype: torch.dtype, kind: str) -> None:
    tensor = (torch.randn(size) if kind == "random" else torch.full((size,), 1 / 3)).to(dtype)
    (norm,) = tensor_norms([tensor], CPU)
    assert math.isclose(norm.item(), tensor.double().norm().item(), rel_tol=1e-6)


@pytest.mark.parametrize("value", [1e20, 1e-30, 0.0, math.nan, math.inf])
@pytest.mark.parametrize("size", [10, 2000])
def test_norms_beyond_the_range_of_float32_squares(value: float, size: int) -> None:
    tensor = torch.full((size,), value)
    (norm,) = tensor_norms([tensor], CPU)
    assert np.isclose(norm.item(), tensor.double().norm().item(), rtol=1e-6, equal_nan=True)


def test_views_empties_sparse_and_complex() -> None:
    base = torch.randn(64, 64)
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[1, 1, 4]]), torch.tensor([3.0, 1.0, 3.0]), (9,), check_invariants=True
    )
    tensors = [base.t()[::3], torch.zeros(0), sparse, torch.tensor([3 + 4j]), torch.tensor(-2.0)]
    expected = [base.t()[::3].double().norm().item(), 0.0, 5.0, 5.0, 2.0]
    assert np.allclose(tensor_norms(tensors, CPU), expected, rtol=1e-7)
    assert tensor_norms([], CPU).tolist() == []


@given(st.lists(st.floats(1e-100, 1e100), min_size=1, max_size=20))
def test_global_norm_is_the_norm_of_norms(norms: list[float]) -> None:
    assert math.isclose(global_norm(torch.tensor(norms, dtype=torch.float64)).item(), math.hypot(*norms), rel_tol=1e-12)


def test_nothing_on_the_device_path_reads_the_host() -> None:
    """On meta tensors every host read raises: a tensor there has no value to read."""
    meta = torch.device("meta")
    gradients = [
        torch.ones(shape, device=meta, dtype=dtype)
        for shape, dtype in (((3, 4), torch.float32), ((5,), torch.bfloat16))
    ]
    with pytest.raises(RuntimeError, match="meta"):
        gradients[0].sum().item()
    norms = tensor_norms(gradients, meta)
    for rule in (clipping.fixed(1.0), clipping.autoclip(10)):
        twin = device_rule(rule)
        for _ in range(3):
            coefficient, threshold = twin(global_norm(norms))
            assert coefficient.shape == threshold.shape == ()
            scale_gradients(gradients, coefficient)


def test_a_rule_without_a_device_twin_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"autoclip\(percentile=10\.0, window=5\) has no form that runs on an accelerator"
    ):
        device_rule(clipping.autoclip(10, window=5))


@pytest.mark.parametrize("percentile", [0, 1, 10, 50, 90, 100])
def test_device_autoclip_is_the_host_rule(percentile: float) -> None:
    norms = np.random.default_rng(0).lognormal(size=2_500)  # the buffer grows twice
    norms[[0, 1, 500, 2000]] = np.nan, np.inf, np.nan, np.inf
    expected = clipping.replay(clipping.autoclip(percentile), norms)
    twin = DeviceAutoClip(percentile)
    for t, norm in enumerate(torch.from_numpy(norms)):
        coefficient, threshold = twin(norm)
        assert threshold.item() == pytest.approx(expected.thresholds[t], rel=1e-12)
        assert coefficient.item() == pytest.approx(expected.coefficients[t], rel=1e-12)


def test_device_fixed_is_the_host_rule() -> None:
    norms = np.array([0.5, 2.0, np.nan, np.inf, 0.0])
    expected = clipping.replay(clipping.fixed(1.0), norms)
    twin = device_rule(clipping.fixed(1.0))
    got = [twin(norm) for norm in torch.from_numpy(norms)]
    assert [c.item() for c, _ in got] == expected.coefficients.tolist()
    assert [t.item() for _, t in got] == expected.thresholds.tolist()


class LateEvent:
    """A copy that finishes only when told to."""

    def __init__(self) -> None:
        self.done = False

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self.done = True


def test_the_ring_waits_only_when_full_and_keeps_the_order() -> None:
    ring = RowRing(CPU, slots=4)
    events = []

    def late(packed: torch.Tensor) -> tuple[torch.Tensor, LateEvent]:
        events.append(LateEvent())
        ring._free.setdefault(len(packed), [])
        return packed, events[-1]

    ring._to_host = late  # type: ignore[method-assign]
    arrived: list[float] = []
    for step in range(6):
        ring.push({"step": step, "loss": torch.tensor(float(step))}, {"grad_norm": torch.full((2,), step)})
        arrived += [row.scalars["loss"] for row in ring.drain()]
        assert arrived == [float(s) for s in range(max(0, step - 2))]  # waits for the oldest when four are pending
    rest = list(ring.drain(everything=True))
    assert [row.scalars for row in rest] == [{"step": s, "loss": float(s)} for s in (3, 4, 5)]
    assert rest[-1].tensors["grad_norm"].tolist() == [5.0, 5.0]


def test_a_loss_that_does_not_repeat_is_doubted_until_it_does() -> None:
    finish = RowFinisher(epsilon=1e-7)
    base = {"grad_norm": 1.0, "smoothness_method": "same_batch", Part.MOVED: 0.5, Part.CHANGE: 1.0}
    rows = [finish(base | noise)[0] for noise in ({Part.NOISE: 0.9}, {}, {Part.NOISE: 0.05}, {})]
    assert [row.get("smoothness") for row in rows] == [None, None, 2.0, 2.0]
    assert [row.get("smoothness_noise") for row in rows] == [None, None, 0.1, 2e-7]
    assert [row["smoothness_method"] for row in rows] == ["none: loss does not repeat"] * 2 + ["same_batch"] * 2


def test_a_measured_tensor_may_be_resized_afterwards() -> None:
    tensor = torch.randn(5000)
    tensor_norms([tensor], CPU)
    assert tensor.untyped_storage().resizable()
