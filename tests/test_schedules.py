"""Schedules are due when they say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlens import every, log_spaced, never, on_spike
from gradlens.schedules import Watching


@given(st.integers(1, 1000), st.integers(0, 10**9))
def test_every_is_due_at_the_multiples_from_step_zero(k: int, step: int) -> None:
    assert every(k)(step) == (step % k == 0)


@given(st.integers(1, 50), st.integers(1, 10**8))
def test_log_spaced_is_due_when_the_logarithm_passes_a_mark(per_decade: int, step: int) -> None:
    marks = per_decade * math.log10(step)
    if abs(marks - round(marks)) > 1e-6:  # away from the rounding of log10
        before = per_decade * math.log10(step - 1) if step > 1 else -1.0
        assert log_spaced(per_decade)(step) == (math.floor(marks) != math.floor(before) or step == 1)


@pytest.mark.parametrize("per_decade", [1, 7, 20])
def test_log_spaced_costs_the_same_in_every_decade(per_decade: int) -> None:
    due = [step for step in range(100_000) if log_spaced(per_decade)(step)]
    assert sum(1000 <= step < 10_000 for step in due) == sum(10_000 <= step < 100_000 for step in due) == per_decade


def test_never_is_never_due() -> None:
    assert not any(map(never, range(100)))


@pytest.mark.parametrize("schedule", [every, log_spaced])
@pytest.mark.parametrize("spacing", [0, -1, 2.0, True, "3"])
def test_spacings_that_are_none_are_refused(schedule: object, spacing: object) -> None:
    with pytest.raises(ValueError, match=r"takes a whole number( of steps)?, 1 or more; got"):
        schedule(spacing)  # type: ignore[operator]


def test_a_spike_makes_the_steps_after_it_due() -> None:
    schedule = on_spike("loss", factor=2.0, window=10, hold=3)
    assert isinstance(schedule, Watching)
    values = [1.0] * 9 + [5.0] + [1.0] * 5 + [2.1] + [1.0] * 3 + [math.nan, math.inf] + [1.0] * 4
    due = []
    for step, value in enumerate(values):
        if schedule(step):
            due.append(step)
        schedule.see(step + 1, {"loss": value, "grad_norm": 100.0})
    # The 5 comes before there are ten values to compare with; the infinite one prolongs what the NaN began.
    assert due == [16, 17, 18, 20, 21, 22, 23]


def test_a_spike_that_arrives_late_makes_the_steps_after_its_arrival_due() -> None:
    schedule = on_spike(hold=2)
    assert isinstance(schedule, Watching)
    for step in range(12):
        schedule.see(step + 5, {"grad_norm": 1.0})
    schedule.see(17, {"grad_norm": 10.0})
    schedule.see(18, {})
    assert [step for step in range(40) if schedule(step)] == [17, 18]


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((3,), {}, r'on_spike takes the name of a column, such as "grad_norm"; got 3\.'),
        ((), {"factor": 1.0}, r"factor must be more than 1; got 1\.0\."),
        ((), {"window": 9}, r"window takes a whole number, 10 or more; got 9\."),
        ((), {"hold": 0}, r"hold takes a whole number, 1 or more; got 0\."),
    ],
)
def test_wrong_spikes_are_refused(arguments: tuple[object, ...], options: dict[str, object], why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        on_spike(*arguments, **options)  # type: ignore[arg-type]
