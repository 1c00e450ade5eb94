"""Where each threshold would have acted, against a naive count."""

import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlens import analysis, clipping
from gradlens.cli import main
from gradlens.store import Run

WriteRun = Callable[..., Run]


@pytest.mark.parametrize("percentile", [0, 1, 10, 50, 90, 100])
def test_autoclip_on_a_recorded_run_is_numpys_percentile(write_run: WriteRun, percentile: float) -> None:
    run = write_run()
    norms = run.series("grad_norm")[1]
    result = analysis.thresholds(run, clipping.autoclip(percentile))
    expected = [np.percentile(norms[: t + 1], percentile) for t in range(len(norms))]
    assert result.thresholds.tolist() == expected
    assert result.clipped.tolist() == (norms > expected).tolist()
    assert result.rate == np.mean(norms > expected)
    thirds = np.array_split(norms > expected, 3)
    assert result.rate_by_phase == tuple(part.mean() for part in thirds)
    assert result.note == analysis.COUNTERFACTUAL


def test_nonfinite_norms_are_counted_and_not_clipped(write_run: WriteRun) -> None:
    norms = np.full(400, 2.0)
    norms[[0, 399]] = np.nan, np.inf
    result = analysis.thresholds(write_run(grad_norm=norms), clipping.fixed(1.0))
    assert (result.nonfinite, result.rate) == (2, 1.0)
    assert not result.clipped[[0, 399]].any()


@pytest.mark.parametrize(
    ("norm", "why"),
    [
        (np.nan, "none of the 50 gradient norms of run 'run' is finite; see gradlens analyze stability."),
        (-1.0, "run 'run' has 50 negative values of grad_norm among 50: those are no norms. Was something else logged "
         "under that name?"),
    ],
)  # fmt: skip
def test_norms_that_are_none_give_no_answer(write_run: WriteRun, norm: float, why: str) -> None:
    run = write_run(steps=50, grad_norm=np.full(50, norm))
    assert analysis.thresholds(run, clipping.autoclip(10)).status == why
    assert analysis.threshold_sweep(run, clipping.fixed, [1.0]).status == why
    assert main(["analyze", "thresholds", str(run.path), "--max-norm", "1"]) == 1


def test_a_run_without_norms_says_so(write_run: WriteRun) -> None:
    run = write_run(grad_norm=[None] * 400)
    result = analysis.thresholds(run, clipping.fixed(1.0))
    assert result.status == "run 'run' has no gradient norms; record them with norms=gradlens.every(1)."
    assert math.isnan(result.rate)
    assert all(math.isnan(rate) for rate in result.rate_by_phase)


def test_gaps_in_the_history_are_named(write_run: WriteRun) -> None:
    norms = [float(step) if step % 10 == 0 else None for step in range(400)]
    result = analysis.thresholds(write_run(grad_norm=norms), clipping.autoclip(10))
    assert result.n == 40
    assert "Norms were not recorded at every step" in result.note


def test_the_effective_learning_rate_is_lr_times_coefficient(write_run: WriteRun) -> None:
    """Planted: norms 1, 2, 4 by thirds under a threshold of 1, learning rates .1 but for a warm-up and a hole."""
    norms = np.repeat([1.0, 2.0, 4.0], 100)
    lr: list[float | None] = [0.1] * 300
    lr[0], lr[1] = 0.01, None
    norms[250] = np.nan
    result = analysis.thresholds(write_run(steps=300, grad_norm=norms, lr=lr), clipping.fixed(1.0))
    assert result.coefficient_by_phase == (1.0, 0.5, 0.25)
    assert result.effective_lr_by_phase == pytest.approx((0.1, 0.05, 0.025))
    assert result.effective_lr[0] == 0.01
    assert np.isnan(result.effective_lr[1])
    assert result.clipped_steps.tolist() == [step for step in range(100, 300) if step != 250]
    none = analysis.thresholds(write_run(steps=300, lr=[None] * 300), clipping.fixed(1.0))
    assert np.isnan(none.lr).all()
    assert all(map(math.isnan, none.effective_lr_by_phase))


def test_a_rule_that_needs_the_learning_rate_gets_it(write_run: WriteRun) -> None:
    run = write_run(steps=60)
    result = analysis.thresholds(run, clipping.soft(1.0))
    assert result.coefficients == pytest.approx(1 / (1 + 0.1 * run.series("grad_norm")[1]))
    with pytest.raises(ValueError, match="needs the learning rate"):
        analysis.thresholds(write_run(steps=60, lr=[None] * 60), clipping.soft(1.0))


def test_a_threshold_that_acts_in_one_phase_only_is_named(write_run: WriteRun) -> None:
    falling = np.exp(-np.arange(300) / 60)
    result = analysis.thresholds(write_run(steps=300, grad_norm=falling), clipping.fixed(0.2))
    assert result.rate_by_phase[0] > 0.9
    assert result.warnings == (
        "100% of the clipped steps are early: the threshold acts in one phase only. The median norm is 0.438 in the "
        "first third, 0.0828 in the second, 0.0156 in the last.",
    )
    assert analysis.thresholds(write_run(steps=300), clipping.fixed(2.0)).warnings == ()
    assert analysis.thresholds(write_run(steps=300, grad_norm=falling), clipping.autoclip(50)).rate < 0.01


def test_a_long_run_takes_a_few_arrays(series: Callable[..., Any]) -> None:
    norms = np.exp(np.random.default_rng(0).standard_normal(2_000_000))
    run = series(grad_norm=norms, lr=np.full(len(norms), 0.1))
    tracemalloc.start()
    result = analysis.thresholds(run, clipping.fixed(2.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.n == len(norms)
    assert peak < 16 * norms.nbytes  # arrays, of which the result keeps five; a data frame of objects would be 60
