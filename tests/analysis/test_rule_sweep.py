"""A sweep chooses its own values, and replays the rule at each."""

from collections.abc import Callable

import numpy as np
import pytest

from gradlens import analysis, clipping
from gradlens.store import Run

WriteRun = Callable[..., Run]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("autoclip", clipping.autoclip(35)),
        ("zclip", clipping.zclip(z_threshold=2.5, max_norm=None)),
        ("fixed", clipping.fixed(1.0)),
    ],
)
def test_each_rule_is_swept_over_its_own_parameter(write_run: WriteRun, name: str, rule: clipping.ClipRule) -> None:
    norms = np.exp(np.random.default_rng(0).standard_normal(300))
    norms[:2] = 0.01, 100.0  # ends whose logarithms are round: 1 is in their middle
    run = write_run(steps=300, grad_norm=norms)
    found = analysis.sweep_rule(run, name)
    place = int(np.argmin(abs(found.values - analysis.parameter_of(rule))))
    assert found.values[place] == pytest.approx(analysis.parameter_of(rule))
    assert found.rules[place] == repr(rule)
    assert found.rate[place] == analysis.thresholds(run, rule).rate


def test_fixed_norms_reach_from_the_smallest_to_the_largest(write_run: WriteRun) -> None:
    norms = np.exp(np.random.default_rng(0).standard_normal(300))
    norms[[5, 6, 7]] = np.nan, np.inf, 0.0
    run = write_run(steps=300, grad_norm=norms)
    found = analysis.sweep_rule(run, "fixed")
    positive = norms[np.isfinite(norms) & (norms > 0)]
    assert analysis.norm_span(run) == (positive.min(), positive.max())
    assert found.values[[0, -1]] == pytest.approx([positive.min(), positive.max()], rel=1e-3)
    assert np.diff(np.log(found.values)) == pytest.approx(np.ptp(np.log(positive)) / 32, rel=0.02)


def test_without_norms_there_is_a_sentence(write_run: WriteRun) -> None:
    run = write_run(steps=40, grad_norm=[None] * 40)
    found = analysis.sweep_rule(run, "fixed")
    assert found.status.endswith("record them with norms=gradlens.every(1).")
    assert np.isnan(analysis.norm_span(run)).all()


def test_another_rule_is_refused(write_run: WriteRun) -> None:
    with pytest.raises(ValueError, match="expected one of autoclip, fixed, zclip to sweep; got 'agc'"):
        analysis.sweep_rule(write_run(steps=4), "agc")
