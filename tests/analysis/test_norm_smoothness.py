"""A planted tie is found, a shared trend is told from it, and the placebo shows what the clip alone makes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from gradlens import analysis, clipping
from gradlens.analysis import constant_curvature
from gradlens.store import Run

WriteRun = Callable[..., Run]
STEPS = 400


def planted(kind: str, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, STEPS))
    trend = 2 * np.exp(-np.arange(STEPS) / 150)
    if kind == "tie":  # r = 0.8 between the logs
        log_norm, log_smoothness = noise[0], 0.8 * noise[0] + 0.6 * noise[1]
    elif kind == "trend":
        log_norm, log_smoothness = trend + 0.4 * noise[0], trend + 0.4 * noise[1]
    else:
        log_norm, log_smoothness = noise
    return {"grad_norm": np.exp(log_norm), "smoothness": np.exp(log_smoothness)}


def covered(write_run: WriteRun, kind: str, truth: float) -> tuple[int, int]:
    """Of 20 runs, those whose raw and whose detrended interval holds the truth."""
    count = {"raw": 0, "detrended": 0}
    for seed in range(20):
        result = analysis.norm_smoothness(write_run(**planted(kind, seed)), tries=199)
        for part in count:
            low, high = getattr(result, part).pearson_interval
            assert high - low < (0.35 if part == "detrended" or kind != "trend" else 1.0)
            count[part] += low <= truth <= high
    return count["raw"], count["detrended"]


def test_a_planted_tie_is_recovered(write_run: WriteRun) -> None:
    assert min(covered(write_run, "tie", 0.8)) >= 16


def test_no_tie_is_no_tie(write_run: WriteRun) -> None:
    assert min(covered(write_run, "none", 0.0)) >= 16


def test_a_shared_trend_raises_raw_r_only(write_run: WriteRun) -> None:
    raw, detrended = covered(write_run, "trend", 0.0)
    assert raw <= 2
    assert detrended >= 16


def test_phases_are_thirds_in_order(write_run: WriteRun) -> None:
    series = planted("none", 0)
    series["smoothness"][300:] = series["grad_norm"][300:]  # tied at the end only
    result = analysis.norm_smoothness(write_run(**series), tries=99)
    assert [phase.name for phase in result.phases] == ["early", "middle", "late"]
    assert [phase.first for phase in result.phases] == [0, 134, 267]
    assert result.phases[-1].last == 399
    assert abs(result.phases[0].correlation.pearson) < 0.3
    assert result.phases[2].correlation.pearson > 0.7


def test_only_steps_with_both_and_with_a_logarithm_count(write_run: WriteRun) -> None:
    series = planted("tie", 0)
    series["grad_norm"][:10] = np.nan
    series["smoothness"][5:20] = 0.0
    result = analysis.norm_smoothness(write_run(**series), tries=9)
    assert result.steps.tolist() == list(range(20, STEPS))


def test_a_smoothness_that_is_constant_or_noise_has_no_r(write_run: WriteRun) -> None:
    constant = analysis.norm_smoothness(write_run(smoothness=np.full(STEPS, 3.0)), tries=9)
    assert constant.status == "a correlation needs two series that vary; one of them is constant."
    rounding = 3.0 + 1e-6 * np.random.default_rng(0).standard_normal(STEPS)
    noise = np.full(STEPS, 3e-7)
    result = analysis.norm_smoothness(write_run(smoothness=rounding, smoothness_noise=noise), tries=9)
    assert (
        result.status == "run 'run' has a smoothness that does not vary beyond its noise floor: r would be of rounding."
    )


def test_few_independent_blocks_are_named(write_run: WriteRun) -> None:
    rng = np.random.default_rng(0)
    slow = np.exp(lfilter([1.0], [1.0, -0.95], rng.standard_normal((2, STEPS)), axis=1))
    result = analysis.norm_smoothness(write_run(grad_norm=slow[0], smoothness=slow[1]), tries=9)
    assert result.raw.caveat == (
        f"only about {STEPS / result.raw.block:.0f} independent blocks, so its interval is likely too narrow"
    )
    assert analysis.norm_smoothness(write_run(**planted("tie", 0)), tries=9).raw.caveat == ""


def test_an_odd_description_is_no_obstacle(write_run: WriteRun) -> None:
    for optimizer in (None, 3, {"class": None, "defaults": 3}):
        run = write_run(clip={"name": ["a"], "parameters": 3})
        odd = dataclasses.replace(run, environment={"optimizer": optimizer})
        assert analysis.norm_smoothness(odd, tries=9).placebo is not None


def test_successive_batches_support_no_claim_and_their_placebo_shows_why(write_run: WriteRun) -> None:
    run = write_run(clip=clipping.autoclip(10).spec(), **planted("tie", 0))
    noisy = dataclasses.replace(run, environment={"smoothness": "consecutive"})
    result = analysis.norm_smoothness(noisy, tries=9)
    assert result.status == (
        "run 'run' has the smoothness of successive batches, whose noise alone makes r rise with clipping (see its "
        'placebo): it supports no claim. Record with estimator="same_batch".'
    )
    same_batch = analysis.norm_smoothness(run, tries=9)
    assert same_batch.status == ""
    assert result.placebo is not None
    assert same_batch.placebo is not None
    assert result.placebo.raw > same_batch.placebo.raw + 0.3


def test_says_why_it_cannot_answer(write_run: WriteRun) -> None:
    result = analysis.norm_smoothness(write_run(smoothness=[None] * STEPS))
    assert result.status.startswith("run 'run' has 0 smoothness probes with a positive value; r needs at least 16.")
    assert "recorder.loss" in result.status
    assert result.placebo is None
    assert np.isnan(result.raw.pearson)


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_on_constant_curvature_a_clip_moves_consecutive_r_and_not_same_batch_r(optimizer: str) -> None:
    """The reference values are -.61 to .50 for SGD and .47 to .63 for Adam, on another problem of this kind."""
    rule = clipping.autoclip(10)

    def rise(estimator: str) -> tuple[float, float]:
        plain = analysis.constant_curvature(150, 20, None, optimizer, estimator=estimator)  # type: ignore[arg-type]
        clipped = analysis.constant_curvature(150, 20, rule, optimizer, estimator=estimator)  # type: ignore[arg-type]
        return plain.raw, clipped.raw

    before, after = rise("consecutive")
    assert after - before > (0.8 if optimizer == "SGD" else 0.08)
    before, after = rise("same_batch")
    assert abs(after - before) < 0.15
    assert max(abs(before), abs(after)) < 0.35


def test_an_absolute_threshold_acts_on_the_placebo_as_on_the_run() -> None:
    def raw(max_norm: float, scale: float) -> float:
        return analysis.constant_curvature(100, 20, clipping.fixed(max_norm), scale=scale, estimator="consecutive").raw

    assert raw(0.5, 1.0) == pytest.approx(raw(50.0, 100.0))
    assert raw(50.0, 100.0) - raw(50.0, 1.0) > 0.5  # clipping most steps, clipping none


def test_placebo_smoothness_lies_within_its_eigenvalues() -> None:
    from gradlens.analysis.placebo import _trajectories

    _, log_smoothness = _trajectories(60, 5, None, 0.9, 1.0, "same_batch", 0, adam=False)
    assert np.exp(log_smoothness).min() >= 0.01
    assert np.exp(log_smoothness).max() <= 1.0


def test_the_summary_of_a_run(write_run: WriteRun) -> None:
    run = write_run(clip={"name": "fixed", "parameters": {"max_norm": 2.0}})
    frame = run.steps()
    summary = analysis.summarize(run)
    moves = frame["update_norm"].to_numpy()[20:]
    assert summary.steps == 400
    assert summary.final_loss == pytest.approx(frame["loss"][-20:].mean())
    assert summary.step_variation == pytest.approx(moves.std() / moves.mean())
    assert summary.clipped == pytest.approx((frame["grad_norm"] > 2.0).mean())
    assert summary.overhead == pytest.approx(0.005, rel=1e-3)  # 0.05 ms of 10 ms
    assert summary.seconds == pytest.approx(3.99)


def test_a_loss_that_ends_as_nan_is_not_summarised_by_what_came_before(write_run: WriteRun) -> None:
    loss = np.linspace(2, 1, 400)
    loss[395:] = np.nan
    assert np.isnan(analysis.summarize(write_run(loss=loss)).final_loss)


def test_the_summary_of_nothing_is_nothing(write_run: WriteRun) -> None:
    run = write_run(steps=1, loss=[None], update_norm=[None])
    (segment,) = (run.path / "steps").iterdir()
    segment.unlink()
    summary = analysis.summarize(run)
    assert summary.steps == 0
    assert np.isnan([summary.final_loss, summary.step_variation, summary.clipped, summary.overhead]).all()


def test_planted_lines_are_recovered_from_a_run(write_run: WriteRun) -> None:
    rng = np.random.default_rng(0)
    norm = np.exp(0.5 * rng.standard_normal(STEPS))
    smoothness = (2 + 3 * norm) * (0.5 + rng.random(STEPS))  # its mean is 2 + 3 norm, its .9 quantile 1.4 times that
    result = analysis.norm_smoothness(write_run(grad_norm=norm, smoothness=smoothness))
    mean, upper, _, _ = result.fits
    assert [fit.form for fit in result.fits] == ["least squares", "quantile 0.9", "quantile 0.95", "power"]
    for fit, factor in ((mean, 1.0), (upper, 1.4)):
        assert fit.l0_interval[0] < 2 * factor < fit.l0_interval[1]
        assert fit.l1_interval[0] < 3 * factor < fit.l1_interval[1]
        assert np.ptp(fit.l1_interval) < 2.0
    assert analysis.norm_smoothness(write_run(steps=10)).fits == ()


def test_two_independent_series_of_a_common_trend() -> None:
    """The reference value is r = .58, and detrending takes it away."""
    from gradlens.stats import detrend, pearson

    steps = np.arange(4000)
    trend = 2 * np.exp(-steps / 1000)
    noise = np.random.default_rng(0).standard_normal((2, 4000))
    noise *= trend.std() * np.sqrt(1 / 0.58 - 1)  # shares of variance .58 and .42
    raw = pearson(trend + noise[0], trend + noise[1])
    assert raw == pytest.approx(0.58, abs=0.03)
    assert abs(pearson(detrend(trend + noise[0], steps), detrend(trend + noise[1], steps))) < 0.05


def test_a_long_run_costs_its_probes_not_its_steps() -> None:
    """The placebo stops at 500 probes and 2,000 steps, whatever the run has."""
    from gradlens.analysis.placebo import MOST_PROBES, MOST_STEPS

    long = analysis.constant_curvature(5000, 200)
    assert long.probes == MOST_PROBES
    assert len(long.raw_each) == long.trajectories
    assert long.raw == pytest.approx(analysis.constant_curvature(MOST_PROBES, MOST_STEPS // MOST_PROBES).raw)


@pytest.mark.parametrize(("rule", "same"), [(clipping.autoclip(10), True), (clipping.fixed(0.5), False)])
def test_a_placebo_is_simulated_anew_only_where_the_scale_of_the_norms_matters(rule: Any, same: bool) -> None:
    one, other = (constant_curvature(20, 2, rule, scale=scale) for scale in (1.0, 3.7))
    assert (one is other) == same
    assert constant_curvature(20, 2, rule, scale=3.7) is other
