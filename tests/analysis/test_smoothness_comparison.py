"""Two runs: the difference of r, beside its placebo; smoothness at equal loss."""

from collections.abc import Callable

import numpy as np
import pytest

from gradlens import analysis, clipping
from gradlens.analysis.smoothness_comparison import local_loss
from gradlens.store import Run

WriteRun = Callable[..., Run]
STEPS = 400


def columns(
    seed: int, tie: float, factor: float = 1.0, fall: float = 150.0, floor: float = 1.0
) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, STEPS))
    smooth = floor + 2 * np.exp(-np.arange(STEPS) / fall)
    trend = -np.log(smooth)  # smoothness grows as loss falls
    return {
        "loss": smooth + 0.2 * rng.standard_normal(STEPS),
        "grad_norm": np.exp(x),
        "smoothness": factor * np.exp(trend + 0.3 * (tie * x + np.sqrt(1 - tie**2) * y)),
    }


def test_planted_differences_are_recovered(write_run: WriteRun) -> None:
    first = write_run(name="a", **columns(0, 0.2, fall=300))
    second = write_run(name="b", clip=clipping.autoclip(10).spec(), **columns(1, 0.8, factor=0.6, fall=100))
    found = analysis.compare_smoothness(first, second, tries=299)
    assert found.status == ""
    assert found.detrended.interval[0] < 0.6 < found.detrended.interval[1]
    assert np.ptp(found.detrended.interval) < 0.35
    assert found.raw.interval[0] > 0
    assert found.matched.interval[0] < 0.6 < found.matched.interval[1]
    assert np.ptp(found.matched.interval) < 0.2
    assert np.median(found.second.smoothness) / np.median(found.first.smoothness) > 0.75  # over the whole runs it hides
    assert found.placebo_raw.range[0] <= found.placebo_raw.value <= found.placebo_raw.range[1]
    assert found.first.placebo is not None
    assert found.second.placebo is not None
    assert found.placebo_raw.value == pytest.approx(found.second.placebo.raw - found.first.placebo.raw)


def test_a_run_against_itself_does_not_differ(write_run: WriteRun) -> None:
    run = write_run(**columns(0, 0.5))
    answer = analysis.norm_smoothness(run, tries=99)
    found = analysis.compare_smoothness(run, run, tries=199, answers=(answer, answer))
    assert found.raw.value == found.placebo_raw.value == 0
    assert found.matched.ratio == 1
    for low, high in (found.raw.interval, found.placebo_raw.range):
        assert low < 0 < high
    assert found.matched.interval[0] < 1 < found.matched.interval[1]


def test_losses_that_never_meet_are_a_sentence(write_run: WriteRun) -> None:
    high, low = write_run(**columns(0, 0.5, floor=5.0)), write_run(**columns(1, 0.5))
    found = analysis.compare_smoothness(high, low, tries=49)
    assert found.matched.status.startswith("training losses: the levels do not meet: ")
    assert found.raw.status == ""  # r needs no loss
    blind = write_run(**columns(1, 0.5) | {"loss": np.full(STEPS, np.nan)})
    found = analysis.compare_smoothness(high, blind, tries=49)
    assert found.matched.status == "run 'run' has no smoothness probe near a finite training loss."


def test_a_run_without_an_answer_leaves_none(write_run: WriteRun) -> None:
    run, empty = write_run(**columns(0, 0.5)), write_run(smoothness=[None] * STEPS)
    found = analysis.compare_smoothness(run, empty, tries=49)
    assert "has 0 smoothness probes" in found.status
    assert np.isnan([found.raw.value, found.detrended.value, found.placebo_raw.value, found.matched.ratio]).all()
    assert found.matched.status
    noise = write_run(smoothness=np.full(STEPS, 3.0) + 1e-6 * np.sin(np.arange(STEPS)), smoothness_noise=np.ones(STEPS))
    assert "noise floor" in analysis.compare_smoothness(run, noise, tries=49).raw.status


def test_the_loss_at_a_probe_is_the_mean_around_it(write_run: WriteRun) -> None:
    loss = np.random.default_rng(0).standard_normal(STEPS)
    loss[7] = np.nan
    run = write_run(loss=loss)
    steps = np.array([0, 5, 200, 399])
    half = 0.01 * 399
    known = np.arange(STEPS)
    naive = [np.nanmean(loss[np.abs(known - step) <= half]) for step in steps]
    assert local_loss(run, steps) == pytest.approx(naive)
