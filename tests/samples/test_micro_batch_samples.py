"""The micro-batch samples: the simulator is the recorder's arithmetic, and small sweeps show what the long ones do."""

import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import gradlens
from gradlens import analysis

SAMPLES = Path(__file__).parents[2] / "sample_runs"


@pytest.fixture
def vision() -> Iterator[ModuleType]:
    yield from _modules("micro_batch_vision")


@pytest.fixture
def convex() -> Iterator[ModuleType]:
    yield from _modules("micro_batch_convex")


def _modules(sample: str) -> Iterator[ModuleType]:
    """The sample's sweep, imported as its command does; both have modules of the same names."""
    path = list(sys.path)
    _forget()
    sys.path.insert(0, str(SAMPLES / sample))
    yield import_module("sweep")
    sys.path[:] = path
    _forget()


def _forget() -> None:
    for name in ("sweep", "train", "simulator", "report"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(("arm", "b"), [("clipped", 1), ("clipped", 8), ("control", 8), ("pruned", 64), ("plain", 64)])
def test_the_simulator_trains_as_the_recorder_does(vision: ModuleType, arm: str, b: int, tmp_path: Path) -> None:
    """Six steps in double precision, weights and full gradient norms, with the sample's own data and rules."""
    simulator, train = sys.modules["simulator"], sys.modules["train"]
    steps, seed = 6, 3
    sizes = [b] if arm in ("plain", "pruned") else [b, 32]
    result = simulator.simulate(
        vision.task(0.2, [seed]), sizes, arm, vision.constant(0.5), steps, {0, 3, 5}, dtype=torch.float64
    )
    x, y, random, _, _ = train.digits(0.2, seed)
    x, model = x.double(), train.network(seed).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    batches = torch.Generator().manual_seed(seed)

    def compute(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(model(x), y)

    with gradlens.Recorder(model, optimizer, tmp_path, clip=train.ARMS[arm], smoothness=gradlens.never) as recorder:
        for step in range(steps):
            if step in (0, 3, 5):
                recorder.full_gradient(compute, [(x, y)])
            chosen = torch.randint(len(x), (64,), generator=batches)
            if arm == "pruned":
                chosen = chosen[~random[chosen]]
            optimizer.zero_grad()
            parts = chosen.split(b) if arm in ("clipped", "control") else [chosen]
            for part in parts:
                recorder.loss(compute, x[part], y[part], of=len(parts)).backward()
            optimizer.step()
    found = [tensor[0] for layer in result["weights"] for tensor in layer]
    for mine, theirs in zip(found, model.parameters(), strict=True):
        assert mine.numpy() == pytest.approx(theirs.detach().numpy(), rel=1e-6, abs=1e-9)
    norms = gradlens.open_run(recorder.path or "").series("full_grad_norm")[1]
    assert result["grad_norm"][0, 0, :3] == pytest.approx(norms, rel=1e-6)


def test_the_penalised_simulator_trains_as_autograd_does(convex: ModuleType) -> None:
    """Micro-batches of four, a decaying rate and the penalty in every micro-batch's gradient."""
    train = convex.own_train()
    simulate = convex.sibling("simulator").simulate
    result = simulate(
        convex.task([1]), [4], "clipped", lambda t: 1 / (1 + t / 5), 8, set(), l2=0.05, dtype=torch.float64
    )
    x, y, _, _ = train.digits()
    torch.manual_seed(1)
    model = torch.nn.Linear(64, 10)
    model, x = model.double(), x.double()
    batches = torch.Generator().manual_seed(1)
    for step in range(8):
        units, norms = [], []
        for part in torch.randint(len(x), (64,), generator=batches).split(4):
            penalty = sum(p.square().sum() for p in model.parameters())
            loss = torch.nn.functional.cross_entropy(model(x[part]), y[part]) + 0.025 * penalty
            flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
            norms.append(flat.norm())
            units.append(flat / norms[-1])
        change = torch.stack(units).mean(0) * min(norms) / (1 + step / 5)
        with torch.no_grad():
            model.weight -= change[:640].reshape(10, 64)
            model.bias -= change[640:]
    assert result["weights"][0][0][0].numpy() == pytest.approx(model.weight.detach().numpy(), rel=1e-6, abs=1e-9)
    assert result["weights"][0][1][0].numpy() == pytest.approx(model.bias.detach().numpy(), rel=1e-6, abs=1e-9)


def test_with_random_labels_small_micro_batches_do_best_after_1500_steps(vision: ModuleType) -> None:
    """Four seeds; of ends and middle, the middle has the least gradient norm and the best accuracy."""
    found = analysis.micro_batch_bias(vision.trainings(0.2, 1500, (0.5,), ("clipped",), range(4), [1, 4, 64], 12))
    (sweep,) = found.sweeps
    assert sweep.norm.minimum.best == 4
    assert sweep.norm.minimum.interior
    assert sweep.metric is not None
    assert sweep.metric.minimum.best in (4, 8)
    assert not sweep.is_floor
    one, four, whole = sweep.norm.interval.mean
    assert one > 1.8 * four
    assert whole > 1.3 * four


def test_on_clean_labels_accuracy_has_no_best_size_inside(vision: ModuleType) -> None:
    (sweep,) = analysis.micro_batch_bias(
        vision.trainings(0.0, 800, (0.5,), ("clipped",), range(3), [1, 8, 64], 8)
    ).sweeps
    assert sweep.metric is not None
    assert (np.diff(sweep.metric.interval.mean) > 0).all()
    assert sweep.metric.status.startswith("no interior maximum: the best size, 64, is an end")


def test_a_network_that_memorises_has_its_least_norm_at_the_largest_size(vision: ModuleType) -> None:
    """After 8,000 steps, where the order at 1,500 was the other; accuracy keeps it."""
    (sweep,) = analysis.micro_batch_bias(vision.trainings(0.2, 8000, (0.5,), ("clipped",), range(2), [4, 64], 8)).sweeps
    assert sweep.norm.minimum.best == 64
    assert sweep.norm.status.startswith("not identified")
    assert sweep.metric is not None
    assert sweep.metric.minimum.best == 4


def test_under_a_decaying_rate_small_sizes_keep_a_constant_bias(convex: ModuleType) -> None:
    found = analysis.micro_batch_bias(convex.trainings(1.0, 100, 3000, range(4), [1, 2, 64], 40), can_memorise=False)
    one, two, whole = found.biases
    assert one.status == ""
    assert 0.2 < one.low < one.high < 0.3
    assert 0.06 < two.low < two.high < 0.12
    assert whole.status.startswith("not identified")


def test_the_recorded_runs_predict_the_sweep_and_doubt_themselves_on_clean_data() -> None:
    runs = [run for run in gradlens.open_runs(SAMPLES / "micro_batch_vision" / "runs") if run.config["arm"] == "plain"]
    found = {(run.config["noise"], run.config["lr"]): analysis.predict_sweet_spot(run) for run in runs}
    noisy = found[0.2, 0.5]
    assert noisy.best in (2, 4, 8)
    assert noisy.status == ""
    assert noisy.floor[0] > 1.5 * noisy.floor.min()
    assert 0.2 < noisy.floor.min() < 0.5
    assert found[0.0, 0.5].status.startswith("not stationary: loss changes by -")


def test_the_training_script_records_a_sweep_that_can_be_analysed(vision: ModuleType) -> None:
    """Three seeds of twenty-one steps: as a user would run it, then ask."""
    train = sys.modules["train"]
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(3):
            for arm, b in (("clipped", 32), ("control", 32), ("plain", 64), ("pruned", 64)):
                train.train(folder, arm, b, 0.5, 0.2, seed, 24, every=4)
        found = analysis.micro_batch_bias(gradlens.open_runs(folder))
    assert not found.excluded
    (sweep,) = found.sweeps
    assert sweep.norm.sizes.tolist() == [32, 64]
    assert {(each.versus, each.sizes.tolist()[0]) for each in found.effects} == {("control", 32), ("pruned", 32)}
    assert sweep.norm.seeds == (0, 1, 2)
