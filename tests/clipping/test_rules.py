"""Clip rules equal their formulas, and obey the laws they promise."""

import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlens import clipping
from gradlens.clipping import Measured

PERCENTILES = (0, 1, 10, 50, 90, 100)
NORMS = st.lists(st.floats(0, 1e150), min_size=1, max_size=50)
RULES = st.one_of(
    st.floats(0, 1e150).map(clipping.fixed),
    st.floats(0, 100).map(clipping.autoclip),
    st.tuples(st.floats(0, 100), st.integers(1, 9)).map(lambda a: clipping.autoclip(a[0], window=a[1])),
)


@pytest.mark.parametrize("percentile", PERCENTILES)
def test_autoclip_is_numpy_at_every_one_of_ten_thousand_steps(percentile: float) -> None:
    norms = np.random.default_rng(7).lognormal(size=10_000)
    thresholds = clipping.replay(clipping.autoclip(percentile), norms).thresholds
    expected = np.array([np.percentile(norms[: t + 1], percentile) for t in range(len(norms))])
    assert (thresholds == expected).all()


@pytest.mark.parametrize("percentile", PERCENTILES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_nonfinite_norm_changes_no_later_threshold_and_is_counted(percentile: float, bad: float) -> None:
    norms = np.random.default_rng(0).lognormal(size=300)
    rule = clipping.autoclip(percentile)
    clean = clipping.replay(rule, norms)
    dirty = clipping.replay(rule, np.insert(norms, [0, 150], bad))
    kept = np.delete(np.arange(302), [0, 151])
    assert (dirty.thresholds[kept] == clean.thresholds).all()
    assert (dirty.coefficients[[0, 151]] == 1).all()
    assert dirty.thresholds[0] == math.inf  # nothing to go by yet
    assert (dirty.nonfinite, clean.nonfinite) == (2, 0)
    assert dirty.rate == clean.rate


def test_replay_of_a_million_steps_takes_seconds() -> None:
    norms = np.random.default_rng(0).lognormal(size=1_000_000)
    begin = time.perf_counter()
    result = clipping.replay(clipping.autoclip(10), norms)
    assert time.perf_counter() - begin < 10
    assert result.thresholds[-1] == np.percentile(norms, 10)


@given(RULES, NORMS)
def test_replay_equals_the_rule_step_by_step(rule: clipping.ClipRule, norms: list[float]) -> None:
    replayed = clipping.replay(rule, norms)
    state = rule.init(1)
    for t, norm in enumerate(norms):
        clip, state = rule.update(Measured(np.array([norm])), state)
        assert clip.thresholds[0] == replayed.thresholds[t]
        assert clip.coefficients[0] == replayed.coefficients[t]
        assert replayed.clipped[t] == (norm > replayed.thresholds[t])


@given(RULES, NORMS)
def test_never_lengthens_a_gradient_and_meets_its_threshold(rule: clipping.ClipRule, norms: list[float]) -> None:
    result = clipping.replay(rule, norms)
    after = np.array(norms) * result.coefficients
    assert (result.coefficients <= 1).all()
    one_denormal = np.array(norms) * 5e-324  # the coefficient is rounded to a multiple of it
    assert (after <= result.thresholds * (1 + 1e-12) + one_denormal).all()
    gap = np.abs(after - result.thresholds)[result.clipped]
    assert (gap <= (1e-12 * result.thresholds + one_denormal)[result.clipped]).all()
    assert (result.coefficients[~result.clipped] == 1).all()


@given(st.floats(0, 100), NORMS, st.floats(1e-6, 1e6))
def test_autoclip_follows_the_gradients_scale(percentile: float, norms: list[float], scale: float) -> None:
    rule = clipping.autoclip(percentile)
    one = clipping.replay(rule, norms).thresholds
    other = clipping.replay(rule, np.array(norms) * scale).thresholds
    assert np.allclose(other, scale * one, rtol=1e-9)


def test_the_ends_of_the_scale() -> None:
    norms = [3.0, 1.0, 2.0]
    assert clipping.replay(clipping.autoclip(100), norms).clipped.any() == np.False_
    assert clipping.replay(clipping.autoclip(0), norms).thresholds.tolist() == [3.0, 1.0, 1.0]
    assert clipping.replay(clipping.fixed(math.inf), norms).coefficients.tolist() == [1.0, 1.0, 1.0]
    assert clipping.replay(clipping.fixed(0.0), norms).coefficients.tolist() == [0.0, 0.0, 0.0]


def test_groups_keep_histories_of_their_own() -> None:
    rule = clipping.autoclip(0)
    state = rule.init(2)
    for norms, thresholds in (((3.0, 5.0), [3.0, 5.0]), ((4.0, 1.0), [3.0, 1.0])):
        clip, state = rule.update(Measured(np.array(norms)), state)
        assert clip.thresholds.tolist() == thresholds


@given(RULES)
def test_a_spec_makes_the_same_rule(rule: clipping.ClipRule) -> None:
    again = clipping.from_spec(rule.spec())
    assert again == rule
    norms = [2.0, 1.0, 4.0]
    assert (clipping.replay(again, norms).thresholds == clipping.replay(rule, norms).thresholds).all()
    assert hash(clipping.from_spec(rule.spec())) == hash(rule)  # equal values are one key of a mapping


def test_refuses_specs_of_no_rule() -> None:
    with pytest.raises(
        ValueError, match=r"expected one of the clip rules adagc, agc, autoclip, .*, zclip; got 'magic'\."
    ):
        clipping.from_spec({"name": "magic"})
    with pytest.raises(ValueError, match=r"the clip rule fixed does not take these parameters: {'p': 1}\."):
        clipping.from_spec({"name": "fixed", "parameters": {"p": 1}})


@pytest.mark.parametrize("max_norm", [-1.0, math.nan, "1", None, True])
def test_fixed_refuses_what_is_no_norm(max_norm: object) -> None:
    with pytest.raises(ValueError, match="max_norm must be a number, 0 or more; got"):
        clipping.fixed(max_norm)  # type: ignore[arg-type]


def test_replay_refuses_what_is_no_series_of_norms() -> None:
    with pytest.raises(ValueError, match=r"norms must be one series of shape \(steps,\); got shape \(1, 1\)\."):
        clipping.replay(clipping.fixed(1.0), [[1.0]])
    with pytest.raises(ValueError, match=r"a norm cannot be negative; got np\.float64\(-1\.0\)\."):
        clipping.replay(clipping.fixed(1.0), [-1.0])
    undetermined = clipping.ClipRule("value", {"v": 1.0}, lambda groups: None, lambda m, s: (None, s), None)  # type: ignore[arg-type,return-value]
    with pytest.raises(
        ValueError, match=r"recorded norms do not determine this rule: value\(v=1\.0\) cannot be replayed"
    ):
        clipping.replay(undetermined, [1.0])


def test_an_empty_run_replays_to_nothing() -> None:
    result = clipping.replay(clipping.autoclip(10), [])
    assert len(result.thresholds) == 0
    assert math.isnan(result.rate)
