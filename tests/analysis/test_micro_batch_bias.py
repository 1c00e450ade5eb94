"""The micro-batch size: planted sweeps are read as planted, and nothing is claimed that seeds do not show."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gradlens import clipping
from gradlens.analysis import micro_batch_bias
from gradlens.analysis.micro_batch_bias import MicroBatchBias
from gradlens.analysis.trainings import Training, early_spread, how_it_ended, of_one_task, training
from gradlens.store import Run

SIZES = (1, 2, 4, 8, 16, 32, 64)
U = dict(zip(SIZES, (0.59, 0.32, 0.25, 0.28, 0.39, 0.42, 0.42), strict=True))
ACCURACY = dict(zip(SIZES, (0.898, 0.949, 0.967, 0.965, 0.945, 0.940, 0.935), strict=True))
T = np.arange(0, 2001, 25)
WriteRun = Callable[..., Run]


def planted(
    lr: float = 0.5,
    arm: str = "clipped",
    sizes: tuple[int, ...] = SIZES,
    seeds: int = 10,
    falls: float = 0.0,
    accuracy: dict[int, float] = ACCURACY,
    noise: float = 0.2,
    decays: bool = False,
    bias: float | None = None,
) -> list[Training]:
    """Norms rest at the planted floor after a start, or go on falling as T^-falls; seeds differ more than sizes do."""
    found = []
    for seed in range(seeds):
        own = np.random.default_rng(seed).normal()
        for b in sizes:
            rng = np.random.default_rng(1000 * seed + b)
            floor = U[b] if bias is None else np.sqrt(bias**2 + 0.1 * lr)
            curve = floor * (1 + 5 * np.exp(-T / 50)) * (1.0 + T) ** -falls
            norms = curve * np.exp(noise * rng.standard_normal(len(T)) + 0.3 * own)
            value = accuracy[b] + 0.02 * own + 0.001 * rng.standard_normal()
            loss = 2.3 / (1 + T / (100 * b))
            found.append(
                Training(f"{arm} {b} {lr} {seed}", arm, b, 64, lr, decays, seed, T, norms, loss, value)  # type: ignore[arg-type]
            )
    return found


def test_planted_minima_are_found_with_what_is_not_distinguishable() -> None:
    found = micro_batch_bias(planted())
    (sweep,) = found.sweeps
    assert (found.status, found.n) == ("", 10)
    assert sweep.norm.minimum.best in (4, 8)
    assert sweep.norm.minimum.interior
    assert set(sweep.norm.minimum.ties) <= {4, 8}
    assert sweep.metric is not None
    assert sweep.metric.minimum.best == 4
    assert sweep.metric.minimum.interior
    assert sweep.metric.interval.mean.argmax() == 2
    assert sweep.speed is not None
    assert sweep.speed.minimum.best == 1
    assert found.doubts == ("one learning rate only: the best size may be another at another rate.",)


def test_a_floor_is_claimed_only_of_a_task_at_rest_that_cannot_be_memorised() -> None:
    assert micro_batch_bias(planted(), can_memorise=False).sweeps[0].is_floor
    memorising = micro_batch_bias(planted()).sweeps[0]
    assert memorising.status == "the model can memorise its training set: this is the gradient norm at T, not a floor."
    falling = micro_batch_bias(planted(falls=1.0, noise=0.05), can_memorise=False).sweeps[0]
    assert not falling.is_floor
    assert falling.status.startswith("not stationary, or not shown to be, at b = 1, b = 2, ")
    assert all(rest.falls for rest in falling.stationary)


def biases_of(found: MicroBatchBias) -> dict[int, str]:
    return {each.micro_batch_size: each.status for each in found.biases}


def test_the_constant_bias_from_several_rates() -> None:
    """floor^2 = bias^2 + .1 lr: covered for sizes that have a bias, not identified for one that has none."""
    some = [each for lr in (0.1, 0.3, 1.0) for each in planted(lr, sizes=(1, 4), bias=0.3)]
    none = [each for lr in (0.1, 0.3, 1.0) for each in planted(lr, sizes=(64,), bias=0.0)]
    found = micro_batch_bias(some + none, can_memorise=False)
    said = biases_of(found)
    assert said[1] == said[4] == ""
    assert said[64] == "not identified: the interval touches zero."
    for each in found.biases[:2]:
        assert each.low < 0.3 < each.high
    assert micro_batch_bias(planted(0.1) + planted(0.3)).biases == ()


def test_a_floor_read_from_a_falling_tail_is_no_bias() -> None:
    """Norms that still fall look like floors that grow with the rate: they must not be extrapolated."""
    falling = [each for lr in (0.1, 0.3, 1.0) for each in planted(lr, sizes=(4,), bias=0.3, falls=1.0, noise=0.02)]
    (each,) = micro_batch_bias(falling, can_memorise=False).biases
    assert each.status == "not identified: not shown to be stationary at learning rate 0.1, 0.3, 1."
    decaying = micro_batch_bias(planted(1.0, sizes=(1, 64), falls=0.4, decays=True, noise=0.05), can_memorise=False)
    assert all(status.startswith("not identified") for status in biases_of(decaying).values())
    resting = planted(1.0, sizes=(1, 64), decays=True, noise=0.05)
    assert biases_of(micro_batch_bias(resting, can_memorise=False)) == {1: "", 64: ""}
    memorising = biases_of(micro_batch_bias(resting))
    assert all(status.startswith("not identified: the model can memorise") for status in memorising.values())


def test_the_pruning_effect_is_paired_by_seed_and_simultaneous() -> None:
    control = {b: value - 0.0064 * (b == 4) for b, value in ACCURACY.items()}
    pruned = planted(arm="pruned", sizes=(64,), accuracy={64: 0.98})
    found = micro_batch_bias(planted() + planted(arm="control", sizes=SIZES[:-1], accuracy=control) + pruned)
    effects = {(each.quantity, each.versus): each for each in found.effects}
    assert set(effects) == {
        ("full gradient norm", "control"), ("test_accuracy", "control"), ("test_accuracy", "pruned"),
    }  # fmt: skip
    effect = effects["test_accuracy", "control"]
    assert effect.sizes.tolist() == [1, 2, 4, 8, 16, 32]
    assert effect.difference.mean[2] == pytest.approx(0.0064)  # the planted noise is the same in both arms
    assert effects["test_accuracy", "pruned"].difference.below[2]
    unpaired = [replace(each, seed=(each.seed + 1) % 10) for each in planted(arm="control", sizes=SIZES[:-1])]
    wide = micro_batch_bias(planted() + unpaired).effects[1].difference
    assert (wide.high - wide.low)[2] > 0.02


def test_effects_by_domain() -> None:
    def split(arm: str, gain: float) -> list[Training]:
        many = planted(arm=arm, sizes=(4,))
        return [replace(t, domains={"python": t.metric + gain, "prose": t.metric - gain}) for t in many]

    effects = micro_batch_bias(split("clipped", 0.01) + split("control", 0.0)).effects
    means = {each.quantity: float(each.difference.mean[0]) for each in effects}
    assert means["test_accuracy[python]"] == pytest.approx(0.01)
    assert means["test_accuracy[prose]"] == pytest.approx(-0.01)


def test_each_size_has_its_own_learning_rate_and_a_rate_that_broke_a_seed_is_not_chosen() -> None:
    better = {b: value + 0.01 for b, value in ACCURACY.items()}
    trainings = planted(0.1) + planted(0.5, accuracy=better)
    dead = planted(1.0, accuracy=dict.fromkeys(SIZES, 0.99))
    dead[0] = replace(dead[0], excluded="it diverged: a loss or a gradient norm is not finite.")
    found = micro_batch_bias(trainings + dead)
    assert found.own is not None
    assert dict(zip(found.own.values.sizes, found.own.lr, strict=True)) == {1: 0.5} | dict.fromkeys(SIZES[1:], 1.0)
    assert found.own.at_edge.all()  # at size 1 only two rates are left, and any is an edge
    assert sum("another seed of its size and rate" in each for each in found.excluded) == 9
    at_one = next(sweep for sweep in found.sweeps if sweep.lr == 1.0)
    assert at_one.norm.sizes.tolist() == list(SIZES[1:])


def test_few_seeds_say_little() -> None:
    two = micro_batch_bias(planted(seeds=2))
    assert two.doubts[0] == "2 seeds support no interval; take three at least, better ten."
    assert two.sweeps[0].norm.status == "not identified: 2 seeds support no interval; take three at least, better ten."
    assert two.sweeps[0].norm.minimum.ties == SIZES
    assert micro_batch_bias(planted(seeds=4)).doubts[0].startswith("4 seeds: intervals are wide")


def test_how_a_training_ended() -> None:
    fine = np.ones(3)
    assert how_it_ended(fine, 2.3, 0.5) == ""
    assert how_it_ended(np.array([1.0, np.inf]), 2.3, 0.5).startswith("it diverged: a loss or a gradient")
    assert how_it_ended(fine, 2.3, 9.0) == "it diverged: the loss ends at 9, from 2.3."
    assert how_it_ended(fine, 2.3, 2.3).startswith("it is at chance level: the loss ends at 2.3")
    assert how_it_ended(fine, 2.3, 1.0, 0.1, 0.1) == "it is at chance level: the metric ends at 0.1, chance is 0.1."


def test_runs_are_read_by_clip_rule_config_and_columns(write_run: WriteRun, tmp_path: Path) -> None:
    steps = 40
    columns = {
        "full_grad_norm": np.linspace(1, 0.5, steps), "full_loss": np.linspace(2, 1, steps),
        "batch_size": np.full(steps, 64), "micro_batches": np.full(steps, 16),
        "test_accuracy": np.linspace(0.1, 0.9, steps), "test_accuracy[python]": np.linspace(0.1, 0.8, steps),
    }  # fmt: skip
    clip = clipping.micro_batch().spec()
    config = {"seed": 3, "lr": 0.1, "noise": 0.2}
    run = write_run(steps=steps, config=config, clip=clip, loss=np.linspace(2, 1, steps), **columns)
    found = training(run)
    assert (found.arm, found.micro_batch_size, found.batch_size, found.lr, found.seed) == ("clipped", 4, 64, 0.1, 3)
    assert (found.metric, found.domains, found.excluded) == (0.9, {"python": 0.8}, "")
    assert found.steps[-1] == steps - 1
    assert training(run, chance=0.95).excluded.startswith("it is at chance level: the metric")
    control = clipping.match_step(clipping.micro_batch()).spec()
    assert (
        training(write_run(steps=steps, config=config | {"micro_batch_size": 2}, clip=control, **columns)).arm
        == "control"
    )
    fixed = training(write_run(steps=steps, config=config, clip=clipping.fixed(1.0).spec(), **columns))
    assert fixed.excluded == "its clip is neither micro_batch() nor match_step(micro_batch())."
    assert training(write_run(steps=5, config=config)).excluded.startswith("it has no full_grad_norm")
    unnamed = write_run(steps=steps, clip=clip, **columns)
    assert training(unnamed).excluded == "its config has no seed."
    empty = training(write_run(steps=0, config=config))
    assert empty.excluded.startswith("it has no full_grad_norm")
    diverged = np.linspace(2, 1, steps)
    diverged[-1] = np.nan
    assert training(write_run(steps=steps, config=config, loss=diverged, **columns)).excluded.startswith("it diverged")
    other = write_run(steps=steps, config=config | {"noise": 0.0}, clip=clip, **columns)
    assert micro_batch_bias([run, other]).status == (
        "the runs are not of one task: their config differs in noise ('0.0', '0.2'). Give those of one."
    )
    none = micro_batch_bias([write_run(steps=5, config=config)])
    assert none.status == (
        "there are no runs of micro-batch clipping that count: 1 of 1 runs are left out, and none of the others is "
        "clipped by micro_batch()."
    )
    assert len(none.excluded) == 1
    assert of_one_task([]) == ""


def test_routes_that_exclude_each_other_identify_nothing() -> None:
    rates = [each for lr in (0.1, 0.3, 1.0) for each in planted(lr, sizes=(4, 64), bias=0.3)]
    other = planted(1.0, sizes=(4,), bias=0.5, decays=True, noise=0.02)
    same = planted(1.0, sizes=(64,), bias=0.0, decays=True, noise=0.02)
    found = micro_batch_bias(rates + other + same, can_memorise=False)
    said = {(each.micro_batch_size, each.route): each.status for each in found.biases}
    assert said[4, "decaying learning rate"] == "not identified: the routes disagree."
    assert said[4, "several learning rates"] == "not identified: the routes disagree."
    assert said[64, "decaying learning rate"] == said[64, "several learning rates"] == ""  # sqrt(.1) and .3 do not


def test_a_second_run_of_the_same_is_named_and_the_first_counts() -> None:
    trainings = planted(seeds=3)
    again = replace(trainings[0], name="again", grad_norm=9 * trainings[0].grad_norm)
    found = micro_batch_bias([*trainings, again])
    assert found.excluded == (f"again: {trainings[0].name} has its arm, size, rate and seed, and counts instead.",)
    assert (found.sweeps[0].norm.values == micro_batch_bias(trainings).sweeps[0].norm.values).all()


def test_a_run_without_a_rate_or_a_size_has_no_place() -> None:
    trainings = planted(seeds=3)
    for lr in (np.nan, np.inf, 0.0):
        lost = micro_batch_bias([*trainings, *(replace(each, lr=lr, name="lost") for each in trainings[:2])])
        assert len(lost.sweeps) == 1
        assert lost.excluded[0] == (
            f"lost: its learning rate is {lr:g}: record lr, or put it into the config, finite and above 0."
        )
    sizeless = micro_batch_bias([*trainings, replace(trainings[0], micro_batch_size=0, name="lost")])
    assert 0 not in sizeless.sweeps[0].norm.sizes
    assert sizeless.excluded[0].startswith("lost: its micro-batch size is not known")


@pytest.mark.parametrize("size", [float("inf"), 0, -4])
def test_a_config_whose_size_is_none(size: float, write_run: WriteRun) -> None:
    rule = clipping.micro_batch().spec()
    norms = {"full_grad_norm": np.ones(30), "batch_size": np.array([64.0] * 29 + [np.nan])}
    run = write_run(steps=30, config={"seed": 0, "lr": 0.1, "micro_batch_size": size}, clip=rule, **norms)
    assert training(run).micro_batch_size == 0
    assert "its micro-batch size is not known" in micro_batch_bias([run]).excluded[0]


def test_a_loss_below_zero_is_judged_by_its_spread_not_by_ratios() -> None:
    """A log-likelihood: -10 to -15 is learning; ratios would call it chance or divergence."""
    fine = np.ones(3)
    assert how_it_ended(fine, -10.0, -15.0, spread=0.1) == how_it_ended(fine, -10.0, -15.0) == ""
    assert how_it_ended(fine, -10.0, -10.01, spread=0.1).startswith("it is at chance level: the loss ends at -10, ")
    assert how_it_ended(fine, -10.0, -8.0, spread=0.1) == "it diverged: the loss ends at -8, from -10."
    assert how_it_ended(fine, 0.5, -3.0) == how_it_ended(fine, 0.0, -3.0, spread=0.1) == ""
    losses = -10 - np.arange(40.0) / 8 + 0.1 * np.random.default_rng(0).standard_normal(40)
    assert early_spread(losses) == pytest.approx(0.1, rel=0.3)
    assert np.isnan(early_spread(losses[:5]))


def test_the_common_level_of_losses_below_zero_is_reached_by_all() -> None:
    trainings = [replace(each, loss=each.loss - 5) for each in planted(seeds=3)]
    (sweep,) = micro_batch_bias(trainings).sweeps
    assert sweep.level > max(each.loss.min() for each in trainings)
    assert sweep.speed is not None
    assert np.isfinite(sweep.speed.values).all()


def test_a_run_that_ended_early_is_left_out() -> None:
    trainings = planted(seeds=3)
    short = trainings[0]
    trainings[0] = replace(short, steps=short.steps[:40], grad_norm=short.grad_norm[:40], loss=short.loss[:40])
    found = micro_batch_bias(trainings)
    assert found.excluded == (f"{short.name}: it ends at step 975; most others end at 2,000.",)
    assert found.sweeps[0].norm.seeds == (1, 2)
