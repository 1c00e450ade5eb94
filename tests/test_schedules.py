"""Schedules are due when they say."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlens import every, log_spaced, never


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
