"""Norms against float64, and nothing on the device path that reads the host."""

import gc
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import norm64

from gradlens import clipping
from gradlens.recording.device_rules import device_rule
from gradlens.recording.norms import copy_and_norms, difference_norms, global_norm, tensor_norms
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


def test_a_copy_and_its_norms_are_those_of_the_tensors() -> None:
    tensors = [torch.randn(70_000), torch.randn(64, 64).t()[::3], torch.randn(5).bfloat16(), torch.full((9,), 1e30)]
    copies = [torch.empty_like(tensor) for tensor in tensors]
    norms = copy_and_norms(tensors, copies, CPU)
    assert norms.tolist() == tensor_norms(tensors, CPU).tolist()
    assert all(map(torch.equal, copies, tensors))


def test_tensors_that_did_not_move_are_not_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.randn(1000), torch.full((1000,), 1e25)]
    monkeypatch.setattr(torch.Tensor, "double", None)
    assert difference_norms(tensors, [tensor.clone() for tensor in tensors], CPU).tolist() == [0.0, 0.0]


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
    assert global_norm(tensor_norms(gradients, meta)).shape == ()


@pytest.mark.parametrize("percentile", [0, 1, 10, 50, 90, 100])
def test_autoclip_on_a_device_is_the_host_rule(percentile: float) -> None:
    norms = np.random.default_rng(0).lognormal(size=2_500)  # the buffer grows twice
    norms[[0, 1, 500, 2000]] = np.nan, np.inf, np.nan, np.inf
    expected = clipping.replay(clipping.autoclip(percentile), norms)
    twin = device_rule(clipping.autoclip(percentile), CPU)
    state = twin.init(1)
    for t, norm in enumerate(torch.from_numpy(norms)):
        clip, state = twin.update(clipping.Measured(norm.reshape(1), xp=torch), state)
        assert clip.thresholds.item() == pytest.approx(expected.thresholds[t], rel=1e-12)
        assert clip.coefficients.item() == pytest.approx(expected.coefficients[t], rel=1e-12)


@pytest.mark.parametrize("size", [1, 255, 365 * 365, 10_007, 300_000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_norm_of_a_difference_is_float64s(size: int, dtype: torch.dtype) -> None:
    new, old = torch.randn(2, size).to(dtype).unbind()
    found = difference_norms([new, old], [old, old], CPU)
    assert found[0].item() == pytest.approx(norm64([new.double() - old.double()]), rel=1e-6)
    assert found[1].item() == 0.0


def test_the_norm_of_a_difference_beyond_the_range_of_float32_squares() -> None:
    for scale in (1e-25, 1e25):
        new, old = scale * torch.tensor([[3.0, 4.0], [0.0, 0.0]])
        assert difference_norms([new], [old], CPU).item() == pytest.approx(5 * scale, rel=1e-6)


def test_memory_that_is_used_again_is_looked_at_anew() -> None:
    buffer = torch.zeros(6000)
    whole = [tensor_norms([buffer[:size].fill_(value)], CPU).item() for size, value in ((6000, 1.0), (6000, 2.0))]
    assert whole == pytest.approx([math.sqrt(6000), 2 * math.sqrt(6000)])
    assert tensor_norms(
        [buffer[:100], buffer[100:5000], buffer.view(torch.float64)[:0]], CPU
    ).tolist() == pytest.approx([20.0, 140.0, 0.0])
    for step in range(50):
        parts = [torch.full((size,), float(step)) for size in (17, 4096, 10_007)]
        assert tensor_norms(parts, CPU).tolist() == pytest.approx([step * math.sqrt(p.numel()) for p in parts])


def test_nothing_of_a_measurement_outlives_it() -> None:
    """What stays between gradients that come and go breaks up the heap: a training then grows step by step."""
    tensors = [torch.randn(3 + index % 50) for index in range(200)]
    tensor_norms(tensors, CPU)  # what is made once for each size is made
    others = [[tensor.clone() for tensor in tensors] for _ in range(5)]  # at other addresses
    tracemalloc.start()
    for each in others:
        tensor_norms(each, CPU)
    gc.collect()
    own = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*/gradlens/recording/*")])
    tracemalloc.stop()
    assert sum(each.size for each in own.statistics("filename")) < 2_000


class LateEvent:
    """A copy that finishes only when told to."""

    def __init__(self) -> None:
        self.done = False

    def query(self) -> bool:
        return self.done

    def synchronize(self) -> None:
        self.done = True


def test_the_ring_waits_only_when_full_and_keeps_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = RowRing(CPU, slots=4)
    ring._device = torch.device("cuda")  # where numbers are packed; all else of it stays away from the card here
    monkeypatch.setattr(torch.Tensor, "to", lambda self, _device, dtype: self.type(dtype))
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
