"""What went wrong in a planted training is found, and nothing in a calm one."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlens import analysis
from gradlens.store import Run

WriteRun = Callable[..., Run]


def test_planted_trouble_is_found(write_run: WriteRun) -> None:
    rng = np.random.default_rng(0)
    norms, loss = np.exp(0.3 * rng.standard_normal(600)), 2.0 + 0.05 * rng.standard_normal(600)
    norms[[100, 101, 102, 300]] = 40.0
    norms[[400, 401]] = np.nan, 0.0
    loss[[300, 500]] = 5.0
    loss[450] = np.inf
    run = write_run(
        steps=600, grad_norm=norms, loss=loss, nonfinite=[1 if s in (400, 410) else 0 for s in range(600)],
        stepped=[s not in (400, 20) for s in range(600)], clip={"name": "fixed", "parameters": {"max_norm": 1.0}},
        clipped=(norms > 1.0).tolist(),
    )  # fmt: skip
    found = analysis.stability(run)
    assert found.grad_norm.spike_steps.tolist() == [100, 101, 102, 300]
    assert found.grad_norm.spike_values.tolist() == [40.0] * 4
    assert found.grad_norm.episodes == 2
    assert (found.grad_norm.scores > 6).all()
    assert found.grad_norm.scored == 600 - 2 - 64
    assert found.grad_norm.rate == 4 / 534
    assert found.loss.spike_steps.tolist() == [300, 500]
    assert found.nonfinite_steps.tolist() == [400, 410, 450]
    assert found.skipped_steps.tolist() == [20, 400]
    assert found.clipped == (norms > 1.0).mean()
    assert (found.n, found.status, found.layer_status) == (600, "", "")
    assert found.layers == ()


def test_spikes_of_norms_are_of_their_logarithm(write_run: WriteRun) -> None:
    """Log-normal norms of a spread of 1: scored as they are, which would be wrong, one in sixty would be a spike."""
    norms = np.exp(np.random.default_rng(1).standard_normal(3000))
    run = write_run(steps=3000, grad_norm=norms, loss=norms)
    found = analysis.stability(run)
    assert len(found.grad_norm.spike_steps) == 0
    assert len(found.loss.spike_steps) > 30


def test_a_layer_that_explodes_is_in_the_answer(write_layers: Callable[..., Run]) -> None:
    rows = np.exp(0.1 * np.random.default_rng(2).standard_normal((4, 800)))
    rows[2, 500:] *= 30
    names = ("a.weight", "a.bias", "b.weight", "c.weight")
    (found,) = analysis.stability(write_layers(dict(zip(names, rows, strict=True)))).layers
    assert (found.name, found.direction, found.first, found.last) == ("b.weight", "explodes", 500, 799)
    assert analysis.stability(write_layers(dict(zip(names, rows, strict=True))), factor=100.0).layers == ()


def test_a_run_without_norms_or_losses_or_too_short_says_so(write_run: WriteRun, series: Callable[..., Any]) -> None:
    none = analysis.stability(write_run(steps=10, grad_norm=[None] * 10, loss=[None] * 10))
    assert none.status == "run 'run' recorded neither gradient norms nor losses."
    assert np.isnan(none.grad_norm.rate)
    assert np.isnan(none.clipped)
    short = analysis.stability(series(grad_norm=np.ones(50)))
    assert short.note == (
        "grad_norm has 50 finite values; a spike is judged by the 64 before it. The run has no loss. The first 64 "
        "steps of a series are not judged, nor is a fall."
    )
    assert short.layer_status == "run 'long' names no parameters."


def test_a_long_run_takes_a_few_arrays(series: Callable[..., Any]) -> None:
    norms = np.exp(np.random.default_rng(3).standard_normal(1_000_000))
    run = series(grad_norm=norms)
    tracemalloc.start()
    found = analysis.stability(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.n == len(norms)
    assert peak < 12 * norms.nbytes  # a window for each value would be 64 of them
