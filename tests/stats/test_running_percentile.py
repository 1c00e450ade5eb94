"""Running percentiles are exactly those of NumPy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlens.stats import RunningPercentile, WindowPercentile

FINITE = st.floats(-1e300, 1e300)


@given(st.lists(FINITE, min_size=1, max_size=60), st.floats(0, 100))
def test_equals_numpy_at_every_length(values: list[float], percentile: float) -> None:
    running = RunningPercentile(percentile)
    for length, value in enumerate(values, start=1):
        pushed = running.push(value)
        assert pushed == np.percentile(values[:length], percentile)
        assert running.value() == pushed
        assert len(running) == length


@given(st.lists(FINITE, max_size=60), st.lists(FINITE, max_size=60), st.floats(0, 100))
def test_many_values_at_once_are_those_one_by_one(before: list[float], values: list[float], percentile: float) -> None:
    one, all_ = RunningPercentile(percentile, before), RunningPercentile(percentile, before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradlens.stats.running_percentile._AT_ONCE", 7)
        found = all_.push_all(values)
    assert found.tolist() == [one.push(value) for value in values]
    assert all_.values == one.values
    with pytest.raises(ValueError, match=r"takes finite values; got nan\."):
        all_.push_all([1.0, math.nan])


@given(st.lists(FINITE, min_size=1, max_size=60), st.floats(0, 100), st.integers(1, 20))
def test_window_equals_numpy_on_the_last_values(values: list[float], percentile: float, window: int) -> None:
    recent = WindowPercentile(percentile, window)
    for length, value in enumerate(values, start=1):
        expected = np.percentile(values[max(0, length - window) : length], percentile)
        assert recent.push(value) == expected
        assert len(recent) == min(length, window)


@given(st.lists(FINITE, min_size=1, max_size=40), st.floats(0, 100))
def test_values_rebuild_the_same_percentile(values: list[float], percentile: float) -> None:
    running = RunningPercentile(percentile, values)
    assert running.values == sorted(values)
    assert RunningPercentile(percentile, running.values).value() == running.value()
    recent = WindowPercentile(percentile, 7, values)
    assert recent.values == values[-7:]
    assert WindowPercentile(percentile, 7, recent.values).value() == recent.value()


def test_empty_is_nan() -> None:
    assert math.isnan(RunningPercentile(10).value())
    assert math.isnan(WindowPercentile(10, 3).value())


@pytest.mark.parametrize("percentile", [-1, 100.5, float("nan"), "10", True])
def test_refuses_what_is_no_percentile(percentile: object) -> None:
    with pytest.raises(ValueError, match=r"percentile must be a number from 0 to 100; got"):
        RunningPercentile(percentile)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", [0, -3, 2.5, True])
def test_refuses_what_is_no_window(window: object) -> None:
    with pytest.raises(ValueError, match=r"window must be a whole number of steps, 1 or more; got"):
        WindowPercentile(10, window)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_what_would_poison_it(value: float) -> None:
    for percentile in (RunningPercentile(10), WindowPercentile(10, 3)):
        with pytest.raises(ValueError, match="a running percentile takes finite values; got"):
            percentile.push(value)
