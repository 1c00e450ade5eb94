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
        "lr": np.full(STEPS, lr), "loss": losses(end, seed), "test_accuracy": np.linspace(0.1, accuracy, STEPS),
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
    assert found.doubts == ("no clipping: best at the highest rate tried.",)
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
    assert empty.strategies[0].doubt == "no learning rate at which every seed learned"


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
