"""The micro-batch samples: the simulator is the recorder's arithmetic, and the training script is one to learn from."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gradlens
from gradlens import analysis

SAMPLES = Path(__file__).parents[2] / "sample_runs"


@pytest.mark.parametrize(("arm", "b"), [("clipped", 1), ("clipped", 8), ("control", 8), ("pruned", 64), ("plain", 64)])
def test_the_simulator_trains_as_the_recorder_does(vision: SimpleNamespace, arm: str, b: int, tmp_path: Path) -> None:
    """Six steps in double precision, weights and full gradient norms, with the sample's own data and rules."""
    train, sweep = vision.train, vision.sweep
    steps, seed = 6, 3
    sizes = [b] if arm in ("plain", "pruned") else [b, 32]
    result = sweep.simulate(
        sweep.task(0.2, [seed]), sizes, arm, sweep.constant(0.5), steps, {0, 3, 5}, dtype=torch.float64
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


def test_the_penalised_simulator_trains_as_autograd_does(convex: SimpleNamespace) -> None:
    """Micro-batches of four, a decaying rate and the penalty in every micro-batch's gradient."""
    sweep = convex.sweep
    result = sweep.simulate(
        sweep.task([1]), [4], "clipped", lambda t: 1 / (1 + t / 5), 8, set(), l2=0.05, dtype=torch.float64
    )
    x, y, _, _ = sweep.split_digits()
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


def test_two_domains_are_the_digits_and_their_negatives(vision: SimpleNamespace) -> None:
    """A fifth of the training digits is inverted, the labels are those of one domain, and both are held out."""
    sweep = vision.sweep
    one, two = sweep.task(0.2, [3]), sweep.task(0.2, [3], domains=True)
    inverted = (two.x == 1 - one.x).all(dim=1)
    assert ((two.x == one.x).all(dim=1) ^ inverted).all()
    assert float(inverted.float().mean()) == pytest.approx(sweep.INVERTED, abs=0.03)
    assert (two.labels == one.labels).all()
    assert (two.x_test[len(one.x_test) :] == 1 - two.x_test[: len(one.x_test)]).all()
    found = vision.sweep.trainings(sweep.Sweep(0.2, 8, (0.5,), domains=True), (0, 1), (32, 64))
    halves = [np.mean(list(each.domains.values())) for each in found]
    assert halves == pytest.approx([each.metric for each in found])


def test_a_sweep_is_read_as_it_was_written(vision: SimpleNamespace, tmp_path: Path) -> None:
    found = vision.sweep.trainings(vision.sweep.Sweep(0.0, 8, (0.5,), domains=True), (0, 1), (32, 64))
    vision.recipe.sweeps.write({"a": found, "b": found[:1]}, tmp_path / "sweeps.parquet")
    read = vision.recipe.sweeps.read(tmp_path / "sweeps.parquet")
    assert [len(each) for each in read.values()] == [4, 1]
    for one, other in zip(found, read["a"], strict=True):
        for name in ("arm", "micro_batch_size", "lr", "seed", "metric", "domains", "excluded", "name"):
            assert getattr(one, name) == getattr(other, name)
        for name in ("steps", "grad_norm", "loss", "accuracy"):
            assert getattr(one, name).tolist() == getattr(other, name).tolist()


def test_the_recorded_runs_predict_the_sweep_and_doubt_themselves_on_clean_data() -> None:
    runs = gradlens.open_runs(SAMPLES / "micro_batch_vision" / "runs")
    plain = [run for run in runs if run.config["arm"] == "plain" and run.config.get("model", "mlp") == "mlp"]
    found = {(run.config["noise"], run.config["lr"]): analysis.predict_sweet_spot(run) for run in plain}
    noisy = found[0.2, 0.5]
    assert noisy.best in (2, 4, 8)
    assert noisy.status == ""
    assert noisy.floor[0] > 1.5 * noisy.floor.min()
    assert 0.2 < noisy.floor.min() < 0.5
    assert found[0.0, 0.5].status.startswith("not stationary: loss changes by -")


@pytest.mark.parametrize("model", ["mlp", "vit"])
def test_the_training_script_records_a_sweep_that_can_be_analysed(vision: SimpleNamespace, model: str) -> None:
    """Some steps of each arm, as a user would run it, then ask."""
    arms = (("plain", 64), ("clipped", 32), ("control", 32), ("pruned", 64))
    seeds, steps = (3, 24) if model == "mlp" else (1, 6)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for arm, b in arms if model == "mlp" else arms[:2]:
                vision.train.train(folder, arm, b, 0.5, 0.2, seed, steps, name=model, every=4)
        found = analysis.micro_batch_bias(gradlens.open_runs(folder))
    if model == "vit":
        assert found.sweeps == () or found.sweeps[0].norm.seeds == (0,)
        return
    assert not found.excluded
    (sweep,) = found.sweeps
    assert sweep.norm.sizes.tolist() == [32, 64]
    assert {(each.versus, each.sizes.tolist()[0]) for each in found.effects} == {("control", 32), ("pruned", 32)}
    assert sweep.norm.seeds == (0, 1, 2)


def test_the_small_transformer_sees_each_patch_in_its_place(vision: SimpleNamespace) -> None:
    """Tokens are the patches row by row, and exchanging two patches changes the answer: positions are learned."""
    train = vision.train
    model = train.network(0, "vit")
    seen: list[torch.Tensor] = []
    model.embed.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    image = torch.arange(64.0).reshape(1, 64) / 64
    before = model(image)
    patches = image.reshape(8, 8).unfold(0, 2, 2).unfold(1, 2, 2).reshape(16, 4)
    assert torch.equal(seen[0][0], patches)
    swapped = image.reshape(8, 8).clone()
    swapped[:2, :2], swapped[6:, 6:] = image.reshape(8, 8)[6:, 6:], image.reshape(8, 8)[:2, :2]
    assert not torch.allclose(model(swapped.reshape(1, 64)), before, atol=1e-4)
