"""What the rules, their replay and their specs refuse, in full sentences; and rules in words."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlens import clipping
from gradlens.clipping import ClipRule, Measured

FIXED, BATCH, LOCAL = clipping.fixed(1.0), clipping.micro_batch(), clipping.per_parameter(clipping.fixed(1.0))
HALF: Any = {"a": "a.*"}


def says(sentence: str) -> str:
    """Nothing but this sentence."""
    return f"^{re.escape(sentence)}$"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: clipping.fixed(-1.0), "max_norm must be a number, 0 or more; got -1.0."),
        (lambda: clipping.per_sample(math.nan), "max_norm must be a number, 0 or more; got nan."),
        (lambda: clipping.value(-0.5), "v must be a number, 0 or more; got -0.5."),
        (lambda: clipping.soft(0.0), "gamma must be a number, above 0; got 0.0."),
        (lambda: clipping.normalize(eps=0), "eps must be a number, above 0; got 0."),
        (lambda: clipping.agc(lam=-1), "lam must be a number, 0 or more; got -1."),
        (lambda: clipping.agc(eps=-1), "eps must be a number, 0 or more; got -1."),
        (lambda: clipping.rescale(-1, 2), "low must be a number, 0 or more; got -1."),
        (lambda: clipping.rescale(1, math.nan), "high must be a number, 0 or more; got nan."),
        (lambda: clipping.rescale(3, 2), "low must be finite, and high at least low; got low=3.0 and high=2.0."),
        (
            lambda: clipping.rescale(math.inf, math.inf),
            "low must be finite, and high at least low; got low=inf and high=inf.",
        ),
        (lambda: clipping.autoclip(101), "percentile must be a number from 0 to 100; got 101."),
        (lambda: clipping.autoclip(10, ema=-0.1), "ema must be a number, from 0 to 1; got -0.1."),
        (
            lambda: clipping.autoclip(10, ema=1.0),
            "ema must be below 1, or None; with 1 the first threshold would stay for good.",
        ),
        (lambda: clipping.zclip(alpha=1.5), "alpha must be a number, from 0 to 1; got 1.5."),
        (lambda: clipping.zclip(z_threshold=0), "z_threshold must be a number, above 0; got 0."),
        (lambda: clipping.zclip(max_norm=-1), "max_norm must be a number, 0 or more; got -1."),
        (lambda: clipping.zclip(warmup=0), "warmup must be a whole number of steps, 1 or more; got 0."),
        (lambda: clipping.zclip(eps=0), "eps must be a number, above 0; got 0."),
        (lambda: clipping.adagc(lam=0), "lam must be a number, above 0; got 0."),
        (lambda: clipping.adagc(max_norm=-1), "max_norm must be a number, 0 or more; got -1."),
        (lambda: clipping.adagc(beta=2), "beta must be a number, from 0 to 1; got 2."),
        (lambda: clipping.adagc(warmup=-1), "warmup must be a whole number of steps, 0 or more; got -1."),
        (lambda: clipping.adagc(warmup=1.5), "warmup must be a whole number of steps, 0 or more; got 1.5."),  # type: ignore[arg-type]
        (lambda: clipping.chain(), "chain takes at least one rule; got none."),
        (
            lambda: clipping.chain(BATCH),
            "chain takes rules for the gradient of a step; micro_batch() clips micro-batches before that.",
        ),
        (
            lambda: clipping.per_parameter(LOCAL),
            "per_parameter takes a rule that acts on the global norm; per_parameter(fixed(max_norm=1.0)) has groups "
            "of its own (parameter).",
        ),
        (
            lambda: clipping.per_group(BATCH, HALF),
            "per_group takes a rule that acts on the global norm; micro_batch() has groups of its own (micro_batch).",
        ),
        (
            lambda: clipping.per_group(FIXED, {}),
            "groups holds no group; name at least one, or use per_parameter.",
        ),
        (
            lambda: clipping.over_parameters(clipping.per_group(FIXED, {"a": "x.*"}), list("abcde")),
            "groups['a']: 'x.*' matches no parameter; their names are a, b, c, d, ...",
        ),
        (
            lambda: clipping.over_parameters(clipping.per_group(FIXED, {"a": "a", "b": "*"}), ["a"]),
            "a parameter belongs to one group of a clip rule; 'a' is in 'a' and 'b'.",
        ),
    ],
)  # fmt: skip
def test_a_factory_refuses_values_outside_their_range(make: Callable[[], ClipRule], sentence: str) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        make()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: clipping.autoclip(10, exclude_current=1), "exclude_current must be True or False; got 1."),  # type: ignore[arg-type]
        (lambda: clipping.chain(1.0), "chain takes rules such as gradlens.clipping.fixed(1.0); got 1.0."),  # type: ignore[arg-type]
        (
            lambda: clipping.match_step(1.0),  # type: ignore[arg-type]
            "match_step takes a rule such as gradlens.clipping.micro_batch(); got 1.0.",
        ),
        (
            lambda: clipping.per_parameter(1.0),  # type: ignore[arg-type]
            "per_parameter takes a rule such as gradlens.clipping.autoclip(percentile=10); got 1.0.",
        ),
        (
            lambda: clipping.per_group(FIXED, ["a"]),  # type: ignore[arg-type]
            'groups takes names and patterns, such as {"encoder": "encoder.*"}; got [\'a\'].',
        ),
        (
            lambda: clipping.per_group(FIXED, {"a": []}),
            "groups takes a name and one or more patterns for each group; got 'a': ().",
        ),
    ],
)
def test_a_factory_refuses_what_is_of_another_kind(make: Callable[[], ClipRule], sentence: str) -> None:
    with pytest.raises(TypeError, match=says(sentence)):
        make()


MIXED = "it is made of rules whose groups are not the same"
MICRO = "the norm of a sum of micro-batch gradients does not follow from theirs"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (clipping.value(1.0), "it depends on every single entry of the gradient"),
        (clipping.match_step(clipping.value(1.0)), "it depends on every single entry of the gradient"),
        (clipping.chain(clipping.value(1.0), FIXED), "it depends on every single entry of the gradient"),
        (clipping.chain(LOCAL, FIXED), MIXED),
        (clipping.match_step(BATCH), MICRO),
        (
            clipping.match_step(clipping.per_group(FIXED, HALF)),
            "parameters in no group are rescaled too, and norms of groups do not show them",
        ),
    ],
    ids=repr,
)
def test_replay_says_why_norms_do_not_determine_a_rule(rule: ClipRule, why: str) -> None:
    with pytest.raises(
        ValueError,
        match=says(f"recorded norms do not determine this rule: {rule} cannot be replayed, since {why}."),
    ):
        clipping.replay(rule, [1.0])


@pytest.mark.parametrize(
    ("rule", "norms", "given", "sentence"),
    [
        (FIXED, [[1.0]], {}, "norms must be one series of shape (steps,); got shape (1, 1)."),
        (
            LOCAL,
            [1.0],
            {},
            "per_parameter(fixed(max_norm=1.0)) takes the norms of the parameters, of shape (steps, parameters); got "
            "shape (1,).",
        ),
        (
            BATCH,
            [1.0],
            {},
            "micro_batch() takes the norms of the micro-batches of a step, of shape (steps, micro-batches); got shape "
            "(1,).",
        ),
        (FIXED, [-1.0], {}, "a norm cannot be negative; got np.float64(-1.0)."),
        (FIXED, [1.0, 2.0], {"lr": [0.1]}, "lr must be one number or one a step, (2,); got shape (1,)."),
        (
            clipping.agc(),
            [[1.0]],
            {"param_norms": [1.0]},
            "param_norms must have the shape of norms, (1, 1); got (1,).",
        ),
        (
            clipping.agc(),
            [[1.0]],
            {},
            "agc(lam=0.01, eps=0.001) needs the norms of units (rows, output filters), of their gradient and, as "
            "param_norms, of their weights; a run records those of whole parameters.",
        ),
        (clipping.soft(1.0), [1.0], {}, "soft(gamma=1.0) needs the learning rate; give lr, one number or one a step."),
    ],
)
def test_replay_refuses_what_does_not_fit(rule: ClipRule, norms: Any, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=says(sentence)):
        clipping.replay(rule, norms, **given)


def test_the_control_of_micro_batches_cannot_be_decided_from_norms() -> None:
    rule = clipping.match_step(BATCH)
    with pytest.raises(
        ValueError,
        match=says(
            "match_step(micro_batch()) needs the norm of the sum of the clipped micro-batch gradients, which their "
            "norms do not determine; it has to be measured."
        ),
    ):
        rule.update(Measured(np.ones(2)), rule.init(2))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (FIXED, "fixed norm, c = 1"),
        (clipping.autoclip(10, 50, ema=0.9, exclude_current=True),
         "AutoClip, p = 10, window = 50, ema = 0.9, exclude current"),
        (clipping.value(0.5), "by value, v = 0.5"),
        (clipping.per_sample(2.0), "per-sample clipping, c = 2"),
        (BATCH, "micro-batch clipping"),
        (clipping.normalize(), "normalised gradient, eps = 1e-06"),
        (clipping.rescale(0.5, 2.0), "gradient scaling, low = 0.5, high = 2"),
        (clipping.soft(0.3), "soft clipping, gamma = 0.3"),
        (clipping.zclip(), "ZClip, alpha = 0.97, z = 2.5, c = 1, warm-up = 25, eps = 1e-06"),
        (clipping.adagc(), "AdaGC, lam = 1.05, c = 1, beta = 0.98, warm-up = 100"),
        (clipping.agc(), "AGC, lam = 0.01, eps = 0.001"),
        (LOCAL, "fixed norm, c = 1, per parameter"),
        (clipping.per_group(FIXED, {"a": "a.*", "b": "b"}), "fixed norm, c = 1, per group (a, b)"),
        (clipping.match_step(BATCH), "step length of [micro-batch clipping]"),
        (clipping.chain(clipping.value(1.0), FIXED), "by value, v = 1, then fixed norm, c = 1"),
    ],
)  # fmt: skip
def test_rules_in_words(rule: ClipRule, words: str) -> None:
    assert clipping.describe(rule.spec()) == words


def test_a_rule_of_a_newer_version_is_described_too() -> None:
    assert clipping.describe({"name": "newer", "parameters": {"k": 2.0}}) == "newer, k = 2"
