"""Clip rules side by side: each at its own rate, without those that broke, paired by seed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradlens import clipping
from gradlens.analysis import compare_strategies
from gradlens.analysis.strategy_measures import stability_counts
from gradlens.store import Run

WriteRun = Callable[..., Run]
STEPS = 60
CLIP = clipping.fixed(2.0).spec()


def losses(end: float, seed: int = 0) -> np.ndarray:
    return end + (2.3 - end) * np.exp(-np.arange(STEPS) / 10) + 0.002 * np.random.default_rng(seed).random(STEPS)


def write(write_run: WriteRun, clip: Any, lr: float, seed: int, accuracy: float, end: float = 0.5, **more: Any) -> Run:
    columns: dict[str, Any] = {
        "lr": np.full(STEPS, lr), "loss": losses(end, seed + 10 * (clip is not None)),
        "test_accuracy": np.linspace(0.1, accuracy, STEPS),
        "batch_size": np.full(STEPS, 32), "micro_batches": np.full(STEPS, 1),
    } | more  # fmt: skip
    config = {"seed": seed, "lr": lr, "task": "digits"}
    return write_run(name=f"{lr:g} {seed}", steps=STEPS, clip=clip, config=config, seed=seed, **columns)


@pytest.fixture
def runs(write_run: WriteRun) -> list[Run]:
    """Seeds differ by far more than strategies; each strategy is best at another rate; the highest breaks one seed."""
    found = []
    for seed in range(3):
        own = 0.1 * seed
        for lr, gain in ((0.1, 0.0), (0.3, 0.02)):
            found.append(write(write_run, None, lr, seed, 0.6 + own + gain + 0.001 * seed))
        for lr, gain in ((0.1, 0.01), (0.3, 0.05), (1.0, 0.3)):
            broken = {"loss": np.full(STEPS, np.nan)} if (lr, seed) == (1.0, 2) else {}
            found.append(write(write_run, CLIP, lr, seed, 0.6 + own + gain, end=0.4, **broken))
    return found


def test_each_is_judged_at_its_own_rate_and_a_rate_that_broke_a_seed_is_not_chosen(runs: list[Run]) -> None:
    found = compare_strategies(runs)
    plain, clipped = found.strategies
    assert (found.status, found.chosen_by) == ("", "test_accuracy")
    assert (plain.name, plain.lr, plain.rates) == ("no clipping", 0.3, (0.1, 0.3))
    assert (clipped.name, clipped.lr, clipped.rates) == ("fixed norm, c = 2", 0.3, (0.1, 0.3, 1.0))
    assert plain.doubt == "best at the highest rate tried"
    assert clipped.doubt == ""
    assert clipped.excluded == ("1 2: it diverged: a loss or a gradient norm is not finite.",)
    assert found.doubts == (
        "no clipping: best at the highest rate tried.",
        "the strategies were tried at 2 to 3 learning rates: the best of more is better by chance alone, which favours "
        "the larger grid.",
    )
    assert plain.final.mean == pytest.approx(0.721)
    assert plain.best.mean == pytest.approx(0.721)
    assert clipped.loss.mean == pytest.approx(0.405, abs=0.01)
    assert clipped.speed.mean < plain.speed.mean
    assert clipped.ms.mean == pytest.approx(10, rel=1e-3)
    assert clipped.overhead_ms.mean == pytest.approx(0.05)
    assert 0 < clipped.stability.clipped < 1
    assert np.isnan(plain.stability.clipped)
    assert clipped.ran_on.batches == ("32 in 1",)
    assert clipped.ran_on.optimizers == ("SGD",)
    assert clipped.ran_on.runs == 9


def test_differences_are_paired_by_seed(runs: list[Run]) -> None:
    (difference,) = compare_strategies(runs).differences
    assert difference.baseline == "no clipping"
    assert float(difference.final.mean) == pytest.approx(0.029)
    assert difference.final.above  # unpaired, seeds a tenth apart would hide three hundredths
    assert difference.loss.below


def test_the_loss_decides_without_a_metric(runs: list[Run]) -> None:
    found = compare_strategies(runs, metric="wer", larger_is_better=False)
    assert (found.metric, found.chosen_by) == ("", "final training loss")
    assert np.isnan(float(found.strategies[0].final.mean))
    assert found.differences[0].loss.below


def test_what_cannot_be_compared_is_said(write_run: WriteRun, tmp_path: Path) -> None:
    one = write(write_run, None, 0.1, 0, 0.9)
    alone = compare_strategies([one])
    assert alone.doubts == (
        "no clipping: one learning rate only.", "there is one strategy only; nothing is compared.",
    )  # fmt: skip
    assert alone.differences == ()
    clipped = write(write_run, CLIP, 0.1, 0, 0.9)
    assert compare_strategies([one, clipped]).differences[0].status.startswith("1 paired seed supports no interval")
    other = write_run(steps=STEPS, config={"seed": 0, "task": "text"})
    assert compare_strategies([one, other]).status == (
        "the runs are not of one task: their config differs in task ('digits', 'text'). Give those of one."
    )
    empty = compare_strategies([write_run(steps=0)])
    assert empty.strategies[0].excluded[0].endswith("it has no loss.")
    assert empty.status == "none of the 1 runs can be compared: it has no loss."
    assert empty.strategies[0].doubt == "no learning rate at which every seed learned"


def arms(write_run: WriteRun, clipped: Any = None, plain: Any = None, seeds: int = 3) -> list[Run]:
    """A run of each arm for each seed, at one rate; ``clipped`` and ``plain`` are further arguments."""
    found = []
    for clip, more in ((None, plain or {}), (CLIP, clipped or {})):
        for seed in range(seeds):
            given = {"steps": STEPS, "loss": losses(0.5, seed), "config": {"seed": seed, "lr": 0.1}} | more
            end = given["steps"]
            columns = {"loss": given.pop("loss")[:end], "lr": given.pop("lr", np.full(STEPS, 0.1))[:end]}
            given["config"] = {key: value for key, value in given["config"].items() if value is not None}
            found.append(write_run(name=f"{'clipped' if clip else 'plain'} {seed}", clip=clip, **given, **columns))
    return found


def test_runs_that_ended_early_are_not_compared(write_run: WriteRun) -> None:
    """The same curve, cut short: its loss is higher for that alone."""
    found = compare_strategies(arms(write_run, {"steps": 12}))
    plain, clipped = found.strategies
    assert (plain.seeds, clipped.seeds) == ((0, 1, 2), ())
    assert clipped.excluded[0] == "clipped 0: it ends at step 11; most others end at 59."
    assert clipped.doubt == "no learning rate at which every seed learned"
    assert np.isnan(float(found.differences[0].loss.mean))


def test_a_seed_counts_once_and_no_seed_counts_for_none(write_run: WriteRun) -> None:
    again = {"config": {"seed": 7, "lr": 0.1}}
    clipped = compare_strategies(arms(write_run, again, again)).strategies[1]
    assert clipped.seeds == (7,)
    assert clipped.excluded == (
        "clipped 1: it repeats seed 7 of 'clipped 0', which counts.",
        "clipped 2: it repeats seed 7 of 'clipped 0', which counts.",
    )
    assert np.isnan(clipped.loss.low)
    unnamed = compare_strategies(arms(write_run, {"config": {"lr": 0.1}}))
    assert unnamed.strategies[1].seeds == ()
    assert unnamed.strategies[1].excluded[2] == (
        "clipped 2: its config has no seed: nobody knows whether it repeats another run."
    )


def test_equal_differences_have_no_interval(write_run: WriteRun) -> None:
    (found,) = compare_strategies(arms(write_run, {"loss": losses(0.5)}, {"loss": losses(0.6)})).differences
    assert found.status.endswith(
        "the seeds do not differ, so that there is no interval. Does each run set its own seed?"
    )
    assert np.isnan(found.loss.low)
    assert float(found.loss.mean) < 0


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"loss": np.append(losses(0.5)[:-1], np.nan)}, "it diverged: a loss or a gradient norm is not finite."),
        ({"lr": np.full(STEPS, np.nan), "config": {"seed": 0}}, "it has no learning rate, recorded or as a number in "
         "its config."),
    ],
)  # fmt: skip
def test_without_a_run_that_counts_there_is_no_answer(write_run: WriteRun, more: Any, why: str) -> None:
    found = compare_strategies(arms(write_run, more, more))
    assert found.status == f"none of the 6 runs can be compared: {why}"
    assert (found.chosen_by, found.metric, len(found.strategies)) == ("", "", 2)


def test_one_missing_loss_at_the_end_is_named(write_run: WriteRun) -> None:
    long = {"steps": 200, "loss": np.linspace(2, 0.5, 200), "lr": np.full(200, 0.1)}
    gap = np.where(np.arange(200) == 195, np.nan, long["loss"])
    clipped = compare_strategies(arms(write_run, long | {"loss": gap}, long)).strategies[1]
    assert clipped.excluded[0] == (
        "clipped 0: its final loss is not known: a loss in the last 5 % of its steps is NaN or infinite."
    )


def test_losses_below_zero_have_a_common_level(write_run: WriteRun) -> None:
    """Of negative losses too the level lies above the lowest that each strategy reaches."""
    found = compare_strategies(arms(write_run, {"loss": losses(-0.5)}, {"loss": losses(-0.4)}))
    plain, clipped = found.strategies
    assert -0.4 < found.level < -0.3
    assert clipped.speed.mean < plain.speed.mean < STEPS


def test_micro_batch_clipping_is_another_strategy_at_each_size(write_run: WriteRun) -> None:
    rule = clipping.micro_batch().spec()
    many = [write(write_run, rule, 0.1, 0, 0.9, micro_batches=np.full(STEPS, k)) for k in (2, 8)]
    names = [each.name for each in compare_strategies(many).strategies]
    assert names == ["micro-batch clipping, b = 16", "micro-batch clipping, b = 4"]


def test_planted_trouble_is_counted(write_run: WriteRun) -> None:
    steps = 200
    loss, norm = np.full(steps, 0.5), np.ones(steps)
    loss[[100, 140]] = 9.0, np.nan
    norm[[80, 120, 121]] = 1e4, 1e4, np.inf
    clipped = write_run(steps=steps, loss=loss, grad_norm=norm, clip=CLIP, clipped=np.arange(steps) % 4 == 0)
    found = stability_counts([clipped, write_run(steps=100, loss=np.ones(100), grad_norm=np.ones(100))])
    assert (found.steps, found.spikes, found.norm_spikes, found.nonfinite) == (300, 1, 2, 2)
    assert found.clipped == 0.25
