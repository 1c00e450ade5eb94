"""Spikes against a naive twin, their false alarms, planted ones, and causality."""

import time
import tracemalloc

import numpy as np
import pytest
from scipy.signal import lfilter

from gradlens.stats import find_spikes


def naive(
    values: np.ndarray, window: int, score: float, floor: float, relative: float
) -> tuple[list[int], list[float]]:
    places, scores, past = [], [], []
    for place, value in enumerate(values.tolist()):
        if not np.isfinite(value):
            continue
        if len(past) >= window:
            recent = np.array(past[-window:])
            middle = np.median(recent)
            spread = 1.4826 * np.median(np.abs(recent - middle))
            with np.errstate(over="ignore"):
                z = (value - middle) / max(spread, floor + relative * abs(middle), np.finfo(float).tiny)
            if z > score:
                places.append(place)
                scores.append(z)
        past.append(value)
    return places, scores


@pytest.mark.parametrize("window", [8, 9, 10, 11, 64])
def test_the_fast_path_is_the_definition(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.stats.spikes._PIECE", 150)
    rng = np.random.default_rng(window)
    values = rng.standard_t(3, 700)
    values[rng.random(700) < 0.05] = np.nan
    values[100:140] = 1.0  # ties
    values[300], values[301] = np.inf, 1e200
    for score, floor, relative in ((2.0, 0.0, 0.0), (3.0, 0.5, 0.1)):
        found = find_spikes(values, window=window, score=score, floor=floor, relative_floor=relative)
        places, scores = naive(values, window, score, floor, relative)
        assert found.places.tolist() == places
        assert len(places) > 3
        assert found.scores == pytest.approx(scores)
    assert found.scored.sum() == np.isfinite(values).sum() - window


def test_false_alarms_on_stationary_noise_are_as_rare_as_said() -> None:
    """Logs of independent log-normal norms, of any spread: 2 in a million are said, so about one of 500,000.

    Correlated ones, .9 from step to step: 7 in 100,000 said. A wrong scale, the MAD taken for a standard deviation, has
    many times as many.
    """
    rng = np.random.default_rng(0)
    white = rng.standard_normal(500_000)
    assert len(find_spikes(white).places) <= 5
    assert len(find_spikes(white, score=6 / 1.4826).places) > 100  # the wrong scale
    assert len(find_spikes(3 - 7 * white).places) <= 5  # of any mean and scale
    red = lfilter([np.sqrt(1 - 0.81)], [1, -0.9], rng.standard_normal(200_000))
    assert len(find_spikes(red).places) / len(red) == pytest.approx(7e-5, rel=0.7)


def test_planted_spikes_are_found_even_close_together() -> None:
    """Norms twenty times the usual, of sd .3 in log: z is about 10. A score by mean and sd misses most of those that
    follow another, since the first inflates its own yardstick."""
    rng = np.random.default_rng(1)
    log_norm = 0.3 * rng.standard_normal(50_000)
    first = np.arange(200, 49_900, 100)
    planted = np.sort(np.concatenate([first, first + 7, first + 20]))
    log_norm[planted] += np.log(20)
    found = find_spikes(log_norm, floor=0.01).places
    assert np.isin(planted, found).mean() > 0.98
    assert np.isin(found, planted).mean() > 0.99
    windows = np.lib.stride_tricks.sliding_window_view(log_norm, 64)[planted - 64]
    by_sd = (log_norm[planted] - windows.mean(axis=1)) / windows.std(axis=1)
    assert (by_sd > 6).mean() < 0.6


def test_only_the_past_counts() -> None:
    rng = np.random.default_rng(2)
    values = rng.standard_t(2, 3000)
    whole = find_spikes(values)
    for n in (100, 1000, 2500):
        part = find_spikes(values[:n])
        assert part.places.tolist() == whole.places[whole.places < n].tolist()
        assert np.array_equal(part.scored, whole.scored[:n])


def test_a_series_that_hardly_varies_is_calm() -> None:
    constant = np.ones(500)
    constant[400] = 1.0001
    assert find_spikes(constant, relative_floor=0.01).places.tolist() == []
    assert find_spikes(constant).places.tolist() == [400]
    for empty in ([], [np.nan] * 100, [1.0] * 64):
        found = find_spikes(empty)
        assert (len(found.places), int(found.scored.sum())) == (0, 0)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"window": 7}, "window takes a whole number of values, 8 or more; got 7."),
        ({"score": 0.0}, "score must be positive and finite; got 0.0."),
        ({"floor": -1.0}, "floors must be at least 0 and finite; got -1.0 and 0.0."),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$".replace(".0", r"\.0")):
        find_spikes(np.zeros(100), **wrong)


def test_a_long_series_takes_little_time_and_memory() -> None:
    values = np.random.default_rng(3).standard_normal(1_500_000)
    tracemalloc.start()
    begin = time.process_time()
    find_spikes(values)
    seconds, peak = time.process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # a window for each value would be 770 MB
    assert seconds < 6
