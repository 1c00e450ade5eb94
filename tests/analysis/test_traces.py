"""A curve at any zoom: held to the recorded values, from afar and close up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradlens.analysis import Detail, clocks, reach, span, spread, steps_shown, trace
from gradlens.stats import ema
from gradlens.store import Run

STEPS = 3000
COARSE = Detail(stretches=8)


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    values = np.exp(rng.normal(size=STEPS)) + np.linspace(3, 0, STEPS)
    values[1234] = 99.0
    values[[700, 701, 2999]] = [np.nan, np.inf, np.nan]
    return {"probe": values, "epoch": np.arange(STEPS) // 500 * 1.0, "samples": 32 * (np.arange(STEPS) + 1)}


@pytest.fixture
def run(write_run: Callable[..., Run], truth: dict[str, np.ndarray]) -> Run:
    return write_run(steps=STEPS, **truth)


@pytest.mark.parametrize("window", [None, (0.0, 1500.0), (1100.0, 2300.0), (690.0, 710.0)])
@pytest.mark.parametrize("detail", [Detail(), COARSE, Detail(stretches=8, rows=100)])
def test_no_spike_and_no_nan_is_lost_at_any_zoom(
    run: Run, truth: dict[str, np.ndarray], window: tuple[float, float] | None, detail: Detail
) -> None:
    first, last = (0, STEPS - 1) if window is None else (int(window[0]), int(window[1]))
    inside = truth["probe"][first : last + 1]
    found = trace(run, "probe", window=window, detail=detail)
    finite = inside[np.isfinite(inside)]
    if found.whole:
        np.testing.assert_array_equal(found.y, finite)
        np.testing.assert_array_equal(found.x, np.arange(first, last + 1)[np.isfinite(inside)])
    # Whole blocks may reach over the window's ends, so that its extremes are at least as far out.
    assert found.y.max() >= finite.max()
    assert found.y.min() <= finite.min()
    assert (found.x >= first).all()
    assert (found.x <= last).all()
    assert found.nonfinite >= (~np.isfinite(inside)).sum()
    if (~np.isfinite(inside)).any():
        assert first + int(np.flatnonzero(~np.isfinite(inside))[0]) in found.odd_x
    assert found.drawn <= max(2 * detail.stretches, len(finite) if found.whole else 0)


def test_a_close_up_shows_the_average_of_the_overview(run: Run, truth: dict[str, np.ndarray]) -> None:
    values = truth["probe"]
    smooth = ema(values, 1 - 1 / (0.02 * np.isfinite(values).sum()))
    whole = trace(run, "probe")
    np.testing.assert_allclose(whole.smooth_y, smooth[whole.smooth_x.astype(int)], rtol=1e-9)
    close = trace(run, "probe", window=(1024, 1300))
    np.testing.assert_allclose(close.smooth_y, smooth[1024:1301], rtol=1e-3)
    far = trace(run, "probe", detail=COARSE)
    np.testing.assert_allclose(far.smooth_y[2:-1], smooth[far.smooth_x.astype(int)][2:-1], rtol=0.25)


def test_the_same_curve_on_every_clock(run: Run, truth: dict[str, np.ndarray]) -> None:
    by_step = trace(run, "probe", detail=COARSE)
    by_samples = trace(run, "probe", clock="samples", detail=COARSE)
    np.testing.assert_allclose(by_samples.x, 32 * (by_step.x + 1))
    np.testing.assert_array_equal(by_samples.y, by_step.y)
    by_time = trace(run, "probe", clock="time")
    np.testing.assert_allclose(by_time.x, 0.01 * trace(run, "probe").x, atol=1e-6)
    zoomed = trace(run, "probe", clock="samples", window=(32 * 101, 32 * 200))
    np.testing.assert_allclose(zoomed.x, 32 * (np.arange(100, 200) + 1))
    assert clocks([run]) == ("step", "epoch", "time", "samples")
    assert span(run, "samples") == (32, 32 * STEPS)
    assert span(run) == (0, STEPS - 1)
    assert steps_shown(run, "samples", (32 * 101, 32 * 200), None) == (100, 199)
    assert steps_shown(run, "step", None, reach([span(run)], None, 0.5)) == (0, 1499)
    assert steps_shown(run, "step", None, None) is None


def test_what_is_not_there_is_said(run: Run, write_run: Callable[..., Run]) -> None:
    assert trace(run, "nothing").status == "run 'run' recorded no nothing."
    assert trace(run, "probe", clock="tokens").status == (
        "run 'run' recorded no tokens, so its probe has no place on this axis."
    )
    assert trace(run, "clip_source").status
    beyond = trace(run, "probe", window=(1e9, 2e9))
    assert (beyond.points, beyond.drawn, beyond.status) == (0, 0, "")
    empty = write_run(name="empty", steps=0)
    assert span(empty) == (0.0, 0.0)
    assert trace(empty, "loss").status


def test_a_window_reads_what_the_series_holds(run: Run) -> None:
    steps, values = run.series("loss")
    for first, last in ((0, 0), (255, 257), (1000, 2999), (2999, 9999), (5000, 6000)):
        inside = (steps >= first) & (steps <= last)
        got = run.series("loss", (first, last))
        np.testing.assert_array_equal(got[0], steps[inside])
        np.testing.assert_array_equal(got[1], values[inside])


def test_a_spread_holds_each_of_its_traces(write_run: Callable[..., Run]) -> None:
    made = [write_run(name=str(k), steps=200 + 100 * k, probe=np.full(500, float(k))) for k in range(3)]
    found = spread([trace(each, "probe", smoothing=0.0) for each in made], points=100)
    assert (found.x[0], found.x[-1]) == (0, 399)
    early, late = found.x < 199, found.x > 300
    np.testing.assert_allclose(found.mean[early], 1.0)
    np.testing.assert_allclose(found.low[early], 0.0)
    np.testing.assert_allclose(found.high, 2.0)
    np.testing.assert_allclose(found.mean[late], 2.0)
    assert set(found.count.tolist()) == {1, 2, 3}
    assert len(spread([]).x) == 0
