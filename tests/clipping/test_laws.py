"""Each rule is its formula, written again in plain floats, step by step and in replay, and keeps its promises."""

import inspect
import json
import math
from bisect import insort
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlens import clipping
from gradlens.clipping import ClipRule, Measured
from gradlens.clipping.rule import Floats
from gradlens.clipping.spec import FACTORIES

STEPS, GROUPS = 10_000, 3
Pair = tuple[float, float]
Naive = Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]
"""(steps, groups) norms, (steps,) learning rates, (steps, groups) weight norms -> coefficients, thresholds."""


def series() -> tuple[Floats, Floats, Floats]:
    """Norms with a trend, spikes, zeros and what is not finite; learning rates from 0 on; norms of weights."""
    rng = np.random.default_rng(3)
    norms = rng.lognormal(sigma=0.5, size=(STEPS, GROUPS)) * np.geomspace(5.0, 0.2, STEPS)[:, None]
    for factor in (100.0, 0.0, np.nan, np.inf):
        norms[rng.random(norms.shape) < 0.01] *= factor if math.isfinite(factor) else 1.0
        if not math.isfinite(factor):
            norms[rng.random(norms.shape) < 0.01] = factor
    norms[0] = np.nan, np.inf, 0.0
    return norms, np.linspace(0.0, 0.1, STEPS), rng.lognormal(size=norms.shape)


NORMS, RATES, WEIGHTS = series()


def column(formula: Callable[[list[float], list[float]], Iterator[Pair]]) -> Naive:
    """A rule whose groups are independent, from its formula for one series."""

    def naive(norms: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
        found = np.array([list(formula(norms[:, g].tolist(), rates.tolist())) for g in range(norms.shape[1])])
        return found[:, :, 0].T, found[:, :, 1].T

    return naive


def down(norm: float, threshold: float) -> float:
    return threshold / norm if math.isfinite(norm) and norm > threshold else 1.0


def upto(c: float) -> Naive:
    return column(lambda norms, rates: ((down(n, c), c) for n in norms))


def percentile(ordered: list[float], p: float) -> float:
    at = (len(ordered) - 1) * p / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def autoclip(p: float, window: int | None = None, ema: float | None = None, exclude_current: bool = False) -> Naive:
    def formula(norms: list[float], rates: list[float]) -> Iterator[Pair]:
        past: list[float] = []
        ordered: list[float] = []
        threshold = math.inf
        for n in norms:
            if math.isfinite(n):
                before = percentile(ordered, p) if ordered else math.inf
                past.append(n)
                insort(ordered, n)
                if window is not None and len(past) > window:
                    ordered.remove(past[-window - 1])
                new = before if exclude_current else percentile(ordered, p)
                threshold = new if ema is None or math.isinf(threshold) else ema * threshold + (1 - ema) * new
            yield down(n, threshold), threshold

    return column(formula)


def normalize(norms: list[float], rates: list[float]) -> Iterator[Pair]:
    for n in norms:
        yield (1 / (n + 1e-6) if math.isfinite(n) else 1.0), 1.0


def rescale(norms: list[float], rates: list[float]) -> Iterator[Pair]:
    for n in norms:
        yield (min(2.0, max(0.5, n)) / n if math.isfinite(n) and n > 0 else 1.0), 2.0


def soft(norms: list[float], rates: list[float]) -> Iterator[Pair]:
    for n, lr in zip(norms, rates, strict=True):
        yield (1 / (1 + lr * n / 0.3) if math.isfinite(n) else 1.0), (0.3 / lr if lr else math.inf)


def zclip(cap: float) -> Naive:
    def formula(norms: list[float], rates: list[float]) -> Iterator[Pair]:
        first: list[float] = []
        mean = variance = 0.0
        for n in norms:
            used, onset = n, math.inf
            if len(first) == 25:
                onset = mean + 2.5 * (math.sqrt(variance) + 1e-6)
            if math.isfinite(n):
                if len(first) < 25:
                    first.append(n)
                    mean = sum(first) / len(first)
                    variance = sum((x - mean) ** 2 for x in first) / len(first)
                else:
                    z = (n - mean) / (math.sqrt(variance) + 1e-6)
                    if z > 2.5:
                        used = mean + 2.5 * math.sqrt(variance) / (z / 2.5)
                    mean = 0.97 * mean + 0.03 * used
                    variance = 0.97 * variance + 0.03 * (used - mean) ** 2
            yield (min(used, cap) / n if math.isfinite(n) and n > 0 else 1.0), min(onset, cap)

    return column(formula)


def adagc(norms: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
    gamma = [math.inf] * norms.shape[1]
    steps, factors, thresholds = 0, np.ones_like(norms), np.full_like(norms, math.inf)
    for t, row in enumerate(norms.tolist()):
        total = math.sqrt(sum(n * n for n in row if not math.isnan(n)))
        warm = steps < 100
        for i, n in enumerate(row):
            if warm:
                if math.isfinite(n) and math.isfinite(total):
                    factors[t, i] = down(total, 1.0)
                    gamma[i] = min(gamma[i], factors[t, i] * n)
                    thresholds[t, i] = factors[t, i] * n if total > 1 else math.inf
            else:
                thresholds[t, i] = 1.05 * gamma[i]
                factors[t, i] = down(n, thresholds[t, i])
                if math.isfinite(n):
                    after = factors[t, i] * n
                    gamma[i] = after if math.isinf(gamma[i]) else 0.98 * gamma[i] + 0.02 * after
        steps += math.isfinite(total) and any(math.isfinite(n) for n in row)
    return factors, thresholds


def agc(norms: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
    thresholds = [[0.5 * max(w, 0.7) for w in row] for row in weights.tolist()]
    factors = [
        [down(n, c) for n, c in zip(*rows, strict=True)] for rows in zip(norms.tolist(), thresholds, strict=True)
    ]
    return np.array(factors), np.array(thresholds)


def micro_batch(norms: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
    rho = [min((n for n in row if math.isfinite(n)), default=math.inf) for row in norms.tolist()]
    factors = [[down(n, low) for n in row] for row, low in zip(norms.tolist(), rho, strict=True)]
    return np.array(factors), np.array([[low] * norms.shape[1] for low in rho])


def chained(*links: Naive) -> Naive:
    """One after the other; where none but clips is chained, the threshold is the lowest."""

    def naive(norms: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
        factors, thresholds = np.ones_like(norms), np.full_like(norms, math.inf)
        for link in links:
            more, next_thresholds = link(factors * norms, rates, weights)
            factors, thresholds = factors * more, np.minimum(thresholds, next_thresholds)
        return factors, thresholds

    return naive


def matched(reference: Naive) -> Naive:
    def naive(norms: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
        factors, thresholds = np.ones_like(norms), np.full_like(norms, math.inf)
        clipped = reference(norms, rates, weights)[0] * norms
        for t, row in enumerate(norms.tolist()):
            before = math.sqrt(sum(n * n for n in row if not math.isnan(n)))
            if math.isfinite(before) and before > 0:
                after = math.sqrt(sum(n * n for n in clipped[t].tolist() if not math.isnan(n)))
                for i, n in enumerate(row):
                    if math.isfinite(n):
                        factors[t, i] = after / before
                        thresholds[t, i] = n * after / before if after < before else math.inf
        return factors, thresholds

    return naive


class Case(NamedTuple):
    rule: ClipRule
    naive: Naive


PARTS = {"a": "a.*", "b": ("b.weight", "b.bias"), "c": "c"}
CASES = [
    Case(clipping.fixed(2.0), upto(2.0)),
    Case(clipping.autoclip(10), autoclip(10)),
    Case(clipping.autoclip(10, ema=0.9), autoclip(10, ema=0.9)),
    Case(clipping.autoclip(50, exclude_current=True), autoclip(50, exclude_current=True)),
    Case(
        clipping.autoclip(90, window=50, ema=0.5, exclude_current=True),
        autoclip(90, window=50, ema=0.5, exclude_current=True),
    ),
    Case(clipping.autoclip(25, window=7), autoclip(25, window=7)),
    Case(clipping.normalize(), column(normalize)),
    Case(clipping.rescale(0.5, 2.0), column(rescale)),
    Case(clipping.soft(0.3), column(soft)),
    Case(clipping.zclip(), zclip(1.0)),
    Case(clipping.zclip(max_norm=None), zclip(math.inf)),
    Case(clipping.adagc(), adagc),
    Case(clipping.agc(lam=0.5, eps=0.7), agc),
    Case(clipping.value(0.7), upto(0.7)),
    Case(clipping.micro_batch(), micro_batch),
    Case(clipping.per_sample(0.7), upto(0.7)),
    Case(clipping.per_parameter(clipping.zclip(max_norm=3.0)), zclip(3.0)),
    Case(clipping.per_group(clipping.autoclip(30), PARTS), autoclip(30)),
    Case(
        clipping.chain(clipping.zclip(max_norm=None), clipping.autoclip(70), clipping.fixed(2.0)),
        chained(zclip(math.inf), autoclip(70), upto(2.0)),
    ),
    Case(clipping.match_step(clipping.zclip()), zclip(1.0)),
    Case(clipping.match_step(clipping.per_parameter(clipping.autoclip(10))), matched(autoclip(10))),
    Case(clipping.match_step(clipping.adagc()), matched(adagc)),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.rule))
every_rule = pytest.mark.parametrize("rule", [case.rule for case in CASES], ids=repr)


def stepwise(rule: ClipRule, norms: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """A rule used as in training."""
    state, found = rule.init(norms.shape[1]), np.empty((2, *norms.shape))
    for t, row in enumerate(norms):
        clip, state = rule.update(Measured(row, weights[t], float(rates[t])), state)
        found[:, t] = clip.coefficients, clip.thresholds
    return found[0], found[1]


def replayed(rule: ClipRule, norms: Floats, rates: Floats, weights: Floats) -> tuple[Floats, Floats]:
    if rule.scope == "global":
        runs = [clipping.replay(rule, norms[:, group], lr=rates) for group in range(norms.shape[1])]
        return np.stack([r.coefficients for r in runs], 1), np.stack([r.thresholds for r in runs], 1)
    result = clipping.replay(rule, norms, lr=rates, param_norms=weights)
    assert result.nonfinite == (~np.isfinite(norms)).sum()
    assert (result.clipped == (np.isfinite(norms) & (norms > result.thresholds))).all()
    return result.coefficients, result.thresholds


@every_case
def test_a_rule_is_its_formula_and_replay_is_the_rule_over_ten_thousand_steps(case: Case) -> None:
    expected = case.naive(NORMS, RATES, WEIGHTS)
    found = stepwise(case.rule, NORMS, RATES, WEIGHTS)
    for mine, naive in zip(found, expected, strict=True):
        assert np.allclose(mine, naive, rtol=1e-9, atol=1e-12)
    if case.rule.scan is not None:
        for whole, steps in zip(replayed(case.rule, NORMS, RATES, WEIGHTS), found, strict=True):
            assert np.allclose(whole, steps, rtol=1e-12, atol=0)
    assert np.isfinite(expected[0]).all()
    assert (expected[0] != 1).mean() > 0.001  # the series puts it to work


@every_rule
def test_only_two_rules_lengthen_a_gradient(rule: ClipRule) -> None:
    factors, _ = stepwise(rule, NORMS[::20], RATES[::20], WEIGHTS[::20])
    assert (factors >= 0).all()
    assert (factors > 1).any() == (rule.name in ("normalize", "rescale"))


def test_every_factory_is_among_the_cases() -> None:
    factories = {
        name
        for name in clipping.__all__
        if inspect.isfunction(getattr(clipping, name))
        and inspect.signature(getattr(clipping, name)).return_annotation == "ClipRule"
    } - {"from_spec", "one_rule", "over_parameters"}
    assert factories == set(FACTORIES)
    assert {case.rule.name for case in CASES} == factories


@every_rule
def test_a_rule_saved_half_way_goes_on_as_if_nothing_had_been(rule: ClipRule) -> None:
    straight, broken = rule.init(GROUPS), rule.init(GROUPS)
    for t, row in enumerate(NORMS[:400]):
        measured = Measured(row, WEIGHTS[t], RATES[t])
        if t in (0, 60, 200):
            broken = rule.load({key: values.copy() for key, values in rule.save(broken).items()})
        expected, straight = rule.update(measured, straight)
        found, broken = rule.update(measured, broken)
        assert (found.coefficients == expected.coefficients).all()
        assert (found.thresholds == expected.thresholds).all()


@every_rule
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_has_coefficient_one_and_changes_nothing_later(rule: ClipRule, bad: float) -> None:
    norms = NORMS[np.isfinite(NORMS).all(axis=1)][:300]
    places = [0, 0, 50, 200]
    extended = (np.insert(norms, places, bad, axis=0), np.insert(RATES[:300], places, 0.1),
                np.insert(WEIGHTS[:300], places, 1.0, axis=0))  # fmt: skip
    there = np.isfinite(extended[0][:, 0])
    clean = stepwise(rule, norms, RATES[:300], WEIGHTS[:300])
    dirty = stepwise(rule, *extended)
    assert (dirty[0][there] == clean[0]).all()
    assert (dirty[1][there] == clean[1]).all()
    assert (dirty[0][~there] == 1).all()


@every_rule
def test_one_bad_group_does_not_poison_another(rule: ClipRule) -> None:
    norms = NORMS[:300].copy()
    norms[::3, 1] = np.nan
    norms[1::7, 2] = np.inf
    factors, _ = stepwise(rule, norms, RATES[:300], WEIGHTS[:300])
    assert np.isfinite(factors).all()
    assert (factors[~np.isfinite(norms)] == 1).all()


ENDLESS = [
    clipping.fixed(math.inf),
    clipping.autoclip(100),
    clipping.value(math.inf),
    clipping.per_sample(math.inf),
    clipping.agc(lam=math.inf),
    clipping.rescale(0.0, math.inf),
    clipping.soft(math.inf),
    clipping.adagc(lam=math.inf, max_norm=math.inf),
    clipping.zclip(z_threshold=math.inf, max_norm=math.inf),
    clipping.per_parameter(clipping.fixed(math.inf)),
    clipping.per_group(clipping.fixed(math.inf), PARTS),
    clipping.chain(clipping.fixed(math.inf), clipping.fixed(math.inf)),
    clipping.match_step(clipping.per_parameter(clipping.fixed(math.inf))),
]


@pytest.mark.parametrize("rule", ENDLESS, ids=repr)
def test_an_infinite_threshold_is_the_identity(rule: ClipRule) -> None:
    assert (stepwise(rule, NORMS[:300], RATES[:300], WEIGHTS[:300])[0] == 1).all()


@pytest.mark.parametrize(
    "rule", [clipping.fixed(0.8), clipping.value(0.8), clipping.per_parameter(clipping.fixed(0.8))], ids=repr
)
def test_clipping_twice_is_clipping_once(rule: ClipRule) -> None:
    once = stepwise(rule, NORMS[:500], RATES, WEIGHTS)[0]
    twice = stepwise(rule, once * NORMS[:500], RATES, WEIGHTS)[0]
    assert (once < 1).any()
    assert np.allclose(twice, 1.0, rtol=1e-15, atol=0)


@settings(max_examples=30)
@given(st.floats(0, 100), st.sampled_from([None, 1, 5]), st.sampled_from([None, 0.5]), st.booleans(),
       st.floats(1e-6, 1e6))  # fmt: skip
def test_all_forms_of_autoclip_follow_the_gradients_scale(
    p: float, window: int | None, ema: float | None, exclude_current: bool, scale: float
) -> None:
    rule = clipping.autoclip(p, window, ema=ema, exclude_current=exclude_current)
    one, other = clipping.replay(rule, NORMS[:60, 2]), clipping.replay(rule, scale * NORMS[:60, 2])
    assert np.allclose(other.thresholds, scale * one.thresholds, rtol=1e-9, atol=0)
    assert np.allclose(other.coefficients, one.coefficients, rtol=1e-9, atol=0)


@every_rule
def test_a_rule_comes_back_from_the_json_that_a_run_stores(rule: ClipRule) -> None:
    again = clipping.from_spec(json.loads(json.dumps(rule.spec())))
    assert again == rule
    rows = NORMS[:50], RATES[:50], WEIGHTS[:50]
    assert (np.array(stepwise(again, *rows)) == np.array(stepwise(rule, *rows))).all()
