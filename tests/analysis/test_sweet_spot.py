"""The sweet spot from one run: planted moments give the planted floor, and the run's unrest is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlens.analysis import hit_rate, predict_sweet_spot
from gradlens.analysis.ladders import ladder, tail_mean
from gradlens.analysis.sweet_spot import _interval
from gradlens.analysis.trainings import Training
from gradlens.stats.micro_batch_estimator import predicted_floor
from gradlens.store import Run

WriteRun = Callable[..., Run]
SIZES = np.array([1, 2, 4, 8])
ALPHA, BIAS, NOISE = np.array([0.2, 0.5, 0.8, 1.0]), np.array([0.3, 0.15, 0.05, 0.0]), np.array([0.05, 0.2, 0.4, 2.0])
STEPS, LR, L = 400, 0.5, 2.0


def columns(noise: float = 0.05, falls: float = 0.0, every: int = 1, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    t = np.arange(STEPS)
    found: dict[str, Any] = {
        "loss": np.exp(-falls * t / STEPS) * (1 + 0.1 * rng.standard_normal(STEPS)),
        "grad_norm": 1 + 0.1 * rng.standard_normal(STEPS),
        "lr": np.full(STEPS, LR),
        "smoothness": L * np.exp(0.1 * rng.standard_normal(STEPS)),
        "smoothness_method": ["same_batch"] * STEPS,
    }
    for index, b in enumerate(SIZES):
        for name, values in (("alpha", ALPHA), ("bias", BIAS), ("noise", NOISE)):
            measured = values[index] * (1 + noise * rng.standard_normal(STEPS))
            found[f"micro_batch_{name}[{b}]"] = [v if step % every == 0 else None for step, v in enumerate(measured)]
    return found


def test_planted_moments_give_the_planted_floor(write_run: WriteRun) -> None:
    """With 20 probes of 10 % noise the jackknife's intervals cover it, for most sizes of several runs."""
    truth = predicted_floor(ALPHA, BIAS, NOISE, LR, L)
    covered = []
    for seed in range(4):
        found = predict_sweet_spot(write_run(steps=STEPS, **columns(0.1, every=10, seed=seed)))
        assert (found.best, found.status) == (4, "")
        assert found.floor == pytest.approx(truth, rel=0.15)
        assert found.smoothness == pytest.approx(L, rel=0.05)
        covered += list((found.low < truth) & (truth < found.high))
    assert np.mean(covered) > 0.8
    assert len(found.steps) == 20  # step 200 to 390, and none of the first half
    assert found.near == (4,)
    assert found.bias_part == pytest.approx(BIAS / ALPHA, rel=0.15, abs=1e-9)


def test_at_a_small_rate_noise_counts_for_nothing(write_run: WriteRun) -> None:
    run = write_run(steps=STEPS, **columns())
    assert predict_sweet_spot(run, lr=1e-6).best == 8
    assert predict_sweet_spot(run, lr=20.0).floor.argmin() < 3


def test_a_loss_that_falls_is_said(write_run: WriteRun) -> None:
    found = predict_sweet_spot(write_run(steps=STEPS, **columns(falls=2.0)))
    assert found.best == 4
    assert found.status.startswith("not stationary: loss changes by -")
    assert [rest.holds for rest in found.rests] == [False, True]
    assert found.rests[0].low < -0.5 < found.rests[0].high  # a quarter of 2, from half to half of the last half


def test_rest_holds_on_the_whole_interval(write_run: WriteRun) -> None:
    """A loss with a slow wave: the halves' means agree within a fifth, their interval does not."""
    found = 0
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = columns(seed=seed)
        values["loss"] = np.abs(1 + np.cumsum(0.08 * rng.standard_normal(STEPS))) + 0.1
        rest = predict_sweet_spot(write_run(steps=STEPS, **values)).rests[0]
        assert not (rest.holds and (rest.low < -0.2 or rest.high > 0.2))
        found += abs(rest.change) <= 0.2 and not rest.holds
    assert found


def test_the_jackknife_leaves_out_one_probe_at_a_time() -> None:
    """The fast path against the slow twin, and in time that does not grow with the square of the probes."""
    moments = np.random.default_rng(0).uniform(0.5, 1.5, (3, 40, 4))
    low, high = _interval(moments, LR, L)
    alone = [np.delete(moments, probe, axis=1).mean(axis=1) for probe in range(40)]
    logs = np.log([predicted_floor(alpha, np.sqrt(squared), trace, LR, L) for alpha, squared, trace in alone])
    error = np.sqrt(39 / 40 * ((logs - logs.mean(axis=0)) ** 2).sum(axis=0))
    assert np.log(high / low) == pytest.approx(2 * 1.96 * error)


def test_no_size_descends(write_run: WriteRun) -> None:
    values = columns()
    for b in SIZES:
        values[f"micro_batch_alpha[{b}]"] = np.full(STEPS, -0.1)
    found = predict_sweet_spot(write_run(steps=STEPS, **values))
    assert (found.best, found.near) == (0, ())
    assert found.status == "run 'run': at no size does the update descend."
    for lr in (-1.0, 0.0, np.nan, np.inf):
        with pytest.raises(ValueError, match=r"^expected a learning rate that is finite and above 0; got"):
            predict_sweet_spot(write_run(steps=5), lr=lr)


def test_a_size_that_does_not_descend_has_no_floor(write_run: WriteRun) -> None:
    values = columns()
    values["micro_batch_alpha[1]"] = np.full(STEPS, -0.1)
    found = predict_sweet_spot(write_run(steps=STEPS, **values))
    assert np.isinf(found.floor[0])
    assert 1 not in found.near


def test_what_is_missing_is_named(write_run: WriteRun) -> None:
    none = predict_sweet_spot(write_run(steps=50))
    assert none.status == (
        "run 'run' has no estimates at frozen weights where they are looked for; record it with "
        "Recorder(..., frozen_weights=gradlens.every(100))."
    )
    assert (none.best, len(none.floor)) == (0, 0)
    blind = {name: values for name, values in columns().items() if not name.startswith("smoothness")}
    blind["smoothness"] = [None] * STEPS
    assert predict_sweet_spot(write_run(steps=STEPS, **blind)).status.startswith("run 'run' has no smoothness where")
    broken = columns()
    broken["micro_batch_noise[4]"] = np.full(STEPS, np.nan)
    assert predict_sweet_spot(write_run(steps=STEPS, **broken)).status.startswith("run 'run' has no estimates")
    few = predict_sweet_spot(write_run(steps=STEPS, **columns(every=399)))
    assert few.status == "1 probe supports no interval; take three at least, better ten."
    assert np.isnan(few.low).all()
    assert predict_sweet_spot(write_run(steps=0)).best == 0
    with pytest.raises(ValueError, match=r"^expected a share in \(0, 1\] and a factor of 1 or more; got 0 and 1.1\.$"):
        predict_sweet_spot(write_run(steps=5), share=0)


def test_predictions_are_judged_by_sweeps(write_run: WriteRun) -> None:

    norms = dict(zip(SIZES.tolist(), (0.6, 0.3, 0.25, 0.4), strict=True))
    at = np.array([100])
    cells = {
        b: {seed: Training("", "clipped", b, 8, LR, False, seed, at, np.array([norm])) for seed in range(3)}
        for b, norm in norms.items()
    }
    sweep = ladder("full gradient norm", cells, tail_mean)
    good = predict_sweet_spot(write_run(steps=STEPS, **columns()))
    bad = predict_sweet_spot(write_run(steps=STEPS, **columns(falls=2.0)), lr=20.0)
    found = hit_rate([good, bad], [sweep, sweep])
    assert [each.hit for each in found.agreements] == [True, bad.best in (2, 4, 8)]
    assert (found.n, found.n_believed, found.rate_believed) == (2, 1, 1.0)
    assert (found.constant, found.constant_hits) == (2, 2)  # within a factor of two of the swept 4
    assert found.agreements[0].rank_correlation > 0.7
    assert np.isnan(hit_rate([], []).rate)
    both = hit_rate([good, good], [sweep, sweep])
    assert (both.hits, both.high) == (2, 1.0)
    assert both.low == pytest.approx(0.025**0.5)  # Clopper and Pearson, two of two
    assert np.isnan(hit_rate([], []).low)
    with pytest.raises(ValueError, match=r"^hit_rate takes a sweep for each prediction; got 1 and 0\.$"):
        hit_rate([good], [])
