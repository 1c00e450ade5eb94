"""A sweep is its rules one by one; advice rests on what it says it rests on."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlens import analysis, clipping
from gradlens.analysis.threshold_advice import PERCENTILE_REASON
from gradlens.store import Run

WriteRun = Callable[..., Run]
TABLE = {  # SI-SDR in dB by percentile: table 1 of the AutoClip paper
    0: (10.7, 11.1, 10.0, 11.2, 9.9),
    1: (10.7, 11.2, 10.3, 11.3, 10.2),
    10: (10.8, 11.0, 10.2, 11.3, 10.4),
    25: (10.7, 11.0, 9.9, 11.3, 10.3),
    50: (10.7, 11.0, 9.2, 11.2, 9.9),
    90: (10.5, 11.0, 8.7, 11.1, 9.5),
    100: (10.2, 10.8, 8.5, 10.9, 8.3),
}


def test_a_sweep_is_one_replay_a_value(write_run: WriteRun) -> None:
    norms = np.exp(np.random.default_rng(0).standard_normal(400))
    norms[[3, 200, 399]] = np.nan, np.inf, np.nan
    run = write_run(grad_norm=norms)
    values = [0, 10, 50, 100]
    found = analysis.threshold_sweep(run, clipping.autoclip, values)
    for place, percentile in enumerate(values):
        one = analysis.thresholds(run, clipping.autoclip(percentile))
        assert found.rules[place] == one.rule
        assert found.rate[place] == one.rate
        assert tuple(found.rate_by_phase[place]) == one.rate_by_phase
        finite = np.isfinite(norms)
        assert found.mean_coefficient[place] == pytest.approx(one.coefficients[finite].mean())
        late = finite & (np.arange(400) >= 267)
        assert found.coefficient_by_phase[place, 2] == pytest.approx(one.coefficients[late].mean())
        assert found.threshold[place] == one.thresholds[np.isfinite(one.thresholds)][-1]
    assert (found.n, found.every, found.nonfinite) == (400, 1, 3)
    assert (np.diff(found.rate) < 0).all()
    assert (np.diff(found.mean_coefficient) > 0).all()


def test_fixed_norms_clip_what_the_distribution_says(series: Callable[..., Any]) -> None:
    """Of 600,000 norms uniform on (0, 1), a fixed c clips 1 - c, though only one in three is replayed."""
    norms = np.random.default_rng(1).random(600_000)
    found = analysis.threshold_sweep(series(grad_norm=norms), clipping.fixed, [0.25, 0.5, 0.75])
    assert found.every == 3
    assert found.n == 200_000
    assert found.rate == pytest.approx([0.75, 0.5, 0.25], abs=0.005)
    # E min(1, c / u) = c (1 - log c)
    assert found.mean_coefficient == pytest.approx([c * (1 - np.log(c)) for c in (0.25, 0.5, 0.75)], abs=0.005)
    assert found.note.endswith("One in 3 of the norms was replayed.")


def test_a_sweep_that_cannot_answer_says_so(write_run: WriteRun) -> None:
    run = write_run(steps=40, grad_norm=[None] * 40)
    found = analysis.threshold_sweep(run, clipping.fixed, [1.0])
    assert found.status == "run 'run' has no gradient norms; record them with norms=gradlens.every(1)."
    assert np.isnan(found.rate).all()
    assert np.isnan(found.threshold).all()
    with pytest.raises(ValueError, match=r"^values holds nothing to try; give one value of the rule's parameter"):
        analysis.threshold_sweep(run, clipping.fixed, [])


def test_the_percentiles_reason_is_the_papers_table() -> None:
    table = {percentile: np.array(row) for percentile, row in TABLE.items()}
    best = np.max(list(table.values()), axis=0)
    behind = {percentile: (best - row).round(1) for percentile, row in table.items()}
    assert (behind[10] == 0).sum() == 3
    assert sorted(behind[10][behind[10] > 0].tolist()) == [0.1, 0.2]
    assert (table[1] == best)[behind[10] > 0].all()
    assert (behind[1].max(), behind[25].max()) == (0.2, 0.4)
    assert (behind[100].min(), behind[100].max()) == (0.4, 2.1)
    assert PERCENTILE_REASON == (
        "p = 10 is what the AutoClip paper (Seetharaman et al., arXiv 2007.14469) recommends. In its table 1, source "
        "separation under five losses, p = 10 is best or level with the best in three, and .1 and .2 dB behind p = 1 "
        "in the others; at most .2 dB is lost with p = 1, .4 dB with p = 25, and .4 to 2.1 dB without clipping. It is "
        "taken from there, not from this run: a percentile follows the scale of the norms, whatever they are."
    )


def test_the_fixed_threshold_leaves_warm_up_and_spikes_out(write_run: WriteRun) -> None:
    """Planted: log-normal norms (90th percentile exp(.3 * 1.2816)), a warm-up of a hundred times those, and spikes.

    A quantile of all norms, warm-up and spikes included, which is wrong, is far above it.
    """
    rng = np.random.default_rng(2)
    norms = np.exp(0.3 * rng.standard_normal(2000))
    norms[:200] *= 100
    spikes = np.arange(700, 2000, 20)
    norms[spikes] = 50.0
    found = analysis.recommend_thresholds(write_run(steps=2000, grad_norm=norms))
    truth = np.exp(0.3 * 1.2816)
    low, high = found.max_norm_interval
    assert low < truth < high
    assert found.max_norm == pytest.approx(truth, rel=0.03)
    assert np.quantile(norms, 0.9) > 20 * truth
    assert (found.spikes, found.settled_from, found.n) == (len(spikes), 200, 1800 - len(spikes))
    clipped = norms > found.max_norm
    assert found.rate == clipped.mean()
    assert found.rate_by_phase == tuple(part.mean() for part in np.array_split(clipped, 3))
    assert (
        f"it would have clipped {clipped.mean():.1%} of all finite steps, and 65 of the spikes" in found.max_norm_reason
    )
    assert found.percentile == 10.0
    assert found.note == analysis.COUNTERFACTUAL


def test_the_intervals_of_the_fixed_threshold_cover(series: Callable[..., Any]) -> None:
    """Correlated log-norms (AR(1), .8): 95 % intervals by blocks cover; those of independent norms do not."""
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((80, 1700))
    walk = np.empty_like(noise)
    walk[:, 0] = noise[:, 0]
    for step in range(1, 1700):
        walk[:, step] = 0.8 * walk[:, step - 1] + 0.6 * noise[:, step]
    covered = single = 0
    for logs in walk:
        found = analysis.recommend_thresholds(series(grad_norm=np.exp(0.3 * logs)))
        covered += found.max_norm_interval[0] < np.exp(0.3 * 1.2816) < found.max_norm_interval[1]
        half = 1.96 * 0.3 / 0.1755 * np.sqrt(0.09 / found.n)  # of a quantile of independent normals, by its density
        single += abs(np.log(found.max_norm) - 0.3 * 1.2816) < half
    assert 0.84 <= covered / 80 <= 1.0
    assert single / 80 < 0.7


def test_advice_says_what_speaks_against_it(write_run: WriteRun) -> None:
    rng = np.random.default_rng(4)
    norms = np.exp(-np.arange(1000) / 100) * np.exp(0.1 * rng.standard_normal(1000))
    norms[500] = np.nan
    run = write_run(steps=1000, grad_norm=norms, clip={"name": "fixed", "parameters": {"max_norm": 1.0}})
    phase, clipped, odd, few = analysis.recommend_thresholds(run).warnings
    assert re.fullmatch(
        r"The fixed norm rests on only about \d+ independent blocks, so its interval is .* narrow\.", few
    )
    assert phase.startswith("100% of the clipped steps are early: the threshold acts in one phase only.")
    assert clipped.startswith(
        "This run was clipped: without the clip, or with another, its norms would have been others."
    )
    assert odd == "1 norm NaN or infinite: no threshold clips those; see analysis.stability(run)."
    few = analysis.recommend_thresholds(write_run(steps=110))
    assert few.status == (
        "run 'run' has 99 settled norms that are positive and finite; a fixed threshold rests on 100 or more after the "
        "first tenth of the steps. Record longer, or norms more often."
    )
    assert np.isnan(few.max_norm)
    assert few.percentile == 10.0
    none = analysis.recommend_thresholds(write_run(steps=40, grad_norm=[None] * 40))
    assert none.status == "run 'run' has no gradient norms; record them with norms=gradlens.every(1)."
