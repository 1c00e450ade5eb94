"""The area under the ROC curve: a closed form, a naive twin, and intervals that cover."""

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import norm

from gradlens.stats import Concordance, auc, concordance


def naive(scores: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    wins = pairs = 0.0
    for a in scores[known]:
        for b in scores[~known]:
            wins += 1.0 if a > b else 0.5 if a == b else 0.0
            pairs += 1
    return wins, pairs


def test_ranks_count_every_pair_ties_as_half() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, 400).astype(float)
    scores[::17] = np.nan
    known, groups = rng.random(400) < 0.3, rng.integers(0, 40, 400)
    found = concordance(scores, known, groups)
    for group in range(40):
        chosen = (groups == group) & np.isfinite(scores)
        assert (found.wins[group], found.pairs[group]) == naive(scores[chosen], known[chosen])


def test_two_normals_have_their_closed_form_whatever_the_groups_differ_in() -> None:
    """Phi(d / sqrt 2). Pooled over groups whose level drifts, which is wrong, the score seems to tell little."""
    rng = np.random.default_rng(1)
    steps, size, d = 4000, 8, 1.5
    groups = np.repeat(np.arange(steps), size)
    known = np.tile(np.arange(size) < 2, steps)
    scores = rng.standard_normal(steps * size) + d * known + groups / 100  # a trend of 40 sd
    found = auc(concordance(scores, known, groups))
    truth = norm.cdf(d / np.sqrt(2))
    assert found.value == pytest.approx(truth, abs=0.01)
    assert found.interval[0] < found.value < found.interval[1]
    assert 0.008 < found.interval[1] - found.interval[0] < 0.02
    pooled = auc(concordance(scores, known, np.zeros(len(scores), dtype=int)))
    assert pooled.value < 0.6


@pytest.mark.parametrize(("wandering", "lowest", "naively"), [(0.0, 0.9, 0.92), (0.6, 0.85, 0.6)])
def test_the_interval_covers_and_one_of_single_pairs_does_not(wandering: float, lowest: float, naively: float) -> None:
    """Steps whose difference wanders (AR(1), .8), and steps that are independent.

    Intervals by blocks cover both; an interval from the number of pairs, as if each were a trial of its own, which is
    wrong, covers the former far less often.
    """
    rng = np.random.default_rng(2)
    tries, steps, size, known_size = 120, 600, 8, 3
    known = np.tile(np.arange(size) < known_size, steps)
    groups = np.repeat(np.arange(steps), size)
    covered, by_pairs = [], []
    truth = norm.cdf(1.0 / np.sqrt(2 + (wandering > 0)))  # of N(1, 1) and a wandering of variance 1 against N(0, 1)
    for seed in range(tries):
        wander = lfilter([wandering], [1, -0.8], rng.standard_normal(steps + 100))[100:]
        scores = rng.standard_normal(steps * size) + known * (1.0 + wander[groups])
        counted = concordance(scores, known, groups)
        found = auc(counted, tries=199, seed=seed)
        covered.append(found.interval[0] <= truth <= found.interval[1])
        half = 1.96 * np.sqrt(found.value * (1 - found.value) / counted.pairs.sum())
        by_pairs.append(abs(found.value - truth) <= half)
    assert lowest <= np.mean(covered) <= 0.99
    assert np.mean(by_pairs) < naively


def test_without_pairs_or_with_few_it_says_so() -> None:
    none = auc(concordance([1.0, 2.0], [True, True], [0, 0]))
    assert np.isnan(none.value)
    assert none.status == "no group holds both a known one and another."
    few = auc(Concordance(np.ones(7), np.ones(7)))
    assert (few.value, few.status) == (1.0, "an interval needs at least 8 groups with both kinds; there are 7.")
    assert auc(concordance([], [], [])).groups == 0
    many = auc(Concordance(np.full(5001, 3.0), np.full(5001, 4.0)))
    assert (many.value, many.interval, many.groups) == (0.75, (0.75, 0.75), 5001)
