"""Where each threshold would have acted, against a naive count."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from gradlens import analysis, clipping
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
