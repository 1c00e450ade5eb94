"""A layer x step matrix against a naive twin, whichever way it is read; and layers that explode or vanish, planted."""

import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import gradlens
from gradlens import analysis
from gradlens.analysis import LayerProfile
from gradlens.store import Run, RunWriter

WriteLayers = Callable[..., Run]
MODULE = sys.modules["gradlens.analysis.layer_profile"]  # its name in the package is the function's
NAMES = ("encoder.0.weight", "encoder.0.bias", "encoder.1.weight", "head.weight")


def values(steps: int, seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).standard_normal((len(NAMES), steps))).astype(np.float32)


def naive(rows: np.ndarray, edges: np.ndarray) -> list[np.ndarray]:
    parts = [rows[:, begin:end].astype(np.float64) for begin, end in pairwise(edges)]
    return [np.stack([reduce(part, axis=1) for part in parts], axis=1) for reduce in (np.min, np.max, np.mean)]


@pytest.mark.parametrize("columns", [1, 7, 400])
def test_each_column_has_the_least_largest_and_mean_of_its_steps(write_layers: WriteLayers, columns: int) -> None:
    rows = values(900)
    found = analysis.layer_profile(write_layers(dict(zip(NAMES, rows, strict=True))), columns=columns)
    assert found.names == NAMES
    assert (found.edges[0], found.edges[-1]) == (0, 900)
    assert len(found.edges) - 1 <= columns
    low, high, mean = naive(rows, found.edges)
    assert np.array_equal(found.low, low.astype(np.float32))
    assert np.array_equal(found.high, high.astype(np.float32))
    assert found.mean == pytest.approx(mean, rel=1e-6)
    assert not found.nonfinite.any()
    assert (found.summarised, found.note, found.status) == (False, "", "")


def test_no_spike_is_lost_where_summaries_are_read(write_layers: WriteLayers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a mean alone, which would be wrong, the spike of one step in 256 would be a seventh of a percent of itself."""
    rows = values(3000)
    rows[2, 1234] = 1e6
    run = write_layers(dict(zip(NAMES, rows, strict=True)))
    monkeypatch.setattr(MODULE, "_MOST_VALUES", 1000)
    found = analysis.layer_profile(run, columns=5)
    assert found.summarised
    assert (found.edges % 256).tolist() == [0] * (len(found.edges) - 1) + [3000 % 256]
    assert len(found.edges) == 5
    low, high, _ = naive(rows, found.edges)
    assert np.array_equal(found.low, low.astype(np.float32))
    assert np.array_equal(found.high, high.astype(np.float32))
    blocks = [rows[:, begin : begin + 256].mean(axis=1) for begin in range(0, 3000, 256)]
    assert found.mean[:, 0] == pytest.approx(np.mean(blocks[:3], axis=0), rel=1e-5)
    assert (found.mean[:, 2] == found.high[:, 2]).sum() == 0
    assert found.note == MODULE.SUMMARISED


def test_both_ways_agree_over_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that takes over in the middle of a block: what it replaced is in neither."""
    parameters = [(name, (2,), "float32", 0) for name in NAMES]
    old, new = values(700), values(700, seed=1)
    writer = RunWriter.create(tmp_path, "run", {}, parameters)
    for step in range(700):
        writer.append({"step": step, "grad_norm": 1.0}, {"grad_norm": old[:, step]})
    writer.close("stopped")
    writer = RunWriter.resume(writer.path, {}, parameters)
    for step in range(400, 600):
        writer.append({"step": step, "grad_norm": 1.0}, {"grad_norm": new[:, step]})
    writer.flush()  # its rows lie in a log
    run = gradlens.open_run(writer.path)
    rows = np.concatenate([old[:, :400], new[:, 400:600]], axis=1)
    found = analysis.layer_profile(run, columns=9)
    low, high, mean = naive(rows, found.edges)
    assert np.array_equal(found.low, low.astype(np.float32))
    assert np.array_equal(found.high, high.astype(np.float32))
    assert found.mean == pytest.approx(mean, rel=1e-6)
    monkeypatch.setattr(MODULE, "_MOST_VALUES", 1000)
    short = analysis.layer_profile(run, columns=9)
    low, high, _ = naive(rows, short.edges)
    assert np.array_equal(short.low, low.astype(np.float32))
    assert np.array_equal(short.high, high.astype(np.float32))
    writer.close("finished")


def test_norms_of_a_layer_add_up_in_squares(write_layers: WriteLayers) -> None:
    rows = values(60)
    run = write_layers(dict(zip(NAMES, rows, strict=True)))
    exact = analysis.layer_profile(run, by="layer")
    assert exact.names == ("encoder.0", "encoder.1", "head")
    together = np.sqrt((rows[:2].astype(np.float64) ** 2).sum(axis=0))
    for part in (exact.low, exact.high, exact.mean):
        assert part[0] == pytest.approx(together)
        assert np.array_equal(part[2], rows[3])
    coarse = analysis.layer_profile(run, by={"both": "encoder.0.*", "none": "x"}, columns=6)
    (low,), (high,), (mean,) = naive(together[None], coarse.edges)
    assert coarse.names == ("both",)
    assert (coarse.low[0] <= low * (1 + 1e-6)).all()
    assert (coarse.high[0] >= high * (1 - 1e-6)).all()
    assert (coarse.mean[0] <= mean * (1 + 1e-6)).all()
    assert "one from above" in coarse.note
    assert analysis.layer_profile(run, include="encoder.*", exclude="*.bias").names == (NAMES[0], NAMES[2])


def test_odd_values_are_marked_and_missing_ones_blank(write_layers: WriteLayers) -> None:
    rows = values(40).astype(np.float64)
    rows[1, 10:20] = np.nan
    rows[3, 35] = np.inf
    found = analysis.layer_profile(write_layers(dict(zip(NAMES, rows, strict=True))), columns=4)
    assert np.isnan(found.mean[1, 1])
    assert found.nonfinite.tolist() == [[False] * 4, [False, True, False, False], [False] * 4, [False] * 3 + [True]]
    assert np.isfinite(found.high[3]).all()


def test_what_it_cannot_show_is_a_sentence(write_layers: WriteLayers) -> None:
    run = write_layers(dict(zip(NAMES, values(20), strict=True)))
    assert (
        analysis.layer_profile(run, "update_norm").status == "run 'run' recorded no update_norm of single parameters."
    )
    assert analysis.layer_profile(run, include="decoder.*").status == (
        "run 'run' has no parameters of these names; it has encoder.0.weight, encoder.0.bias, encoder.1.weight, "
        "head.weight."
    )
    assert analysis.layer_profile(write_layers({}, loss=[1.0] * 5)).status == "run 'run' names no parameters."
    assert analysis.layer_profile(run, by={"decoder": "decoder.*"}).status.startswith("run 'run' has no parameters of")
    for wrong, sentence in (
        ({"kind": "norm"}, "expected one of the kinds grad_norm, grad_norm_clipped, update_norm, param_norm, zero"),
        ({"by": "module"}, 'by is "parameter", "layer" or a mapping of groups to patterns; got \'module\'.'),
        (
            {"kind": "zero_fraction", "by": "layer"},
            "zero_fraction is a share of each parameter's entries, which shares",
        ),
        ({"columns": 0}, "columns must be a whole number, 1 or more; got 0."),
    ):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            analysis.layer_profile(run, **wrong)


def test_memory_is_the_matrix_however_many_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 parameters over 2,500 steps, a million values: 20 MB as a data frame of steps, names and values."""
    monkeypatch.setattr(MODULE, "_MOST_VALUES", 1000)
    count = 400
    writer = RunWriter.create(tmp_path, "run", {}, [(f"p{i}", (2,), "float32", 0) for i in range(count)])
    noise = np.random.default_rng(0).random((16, count)).astype(np.float32)
    for step in range(2500):
        writer.append({"step": step, "grad_norm": 1.0}, {"grad_norm": noise[step % 16]})
        if step % 1000 == 999:
            writer.flush()  # a queue that is full drops rows
    writer.close("finished")
    run = gradlens.open_run(writer.path)
    analysis.layer_profile(run)
    tracemalloc.start()
    found = analysis.layer_profile(run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.mean.shape == (count, 10)
    assert peak < 6 << 20


def profile(*rows: np.ndarray) -> LayerProfile:
    mean = np.array(rows, dtype=np.float32)
    edges = np.arange(mean.shape[1] + 1) * 10
    names = tuple(f"layer {i}" for i in range(len(mean)))
    return LayerProfile("grad_norm", names, edges, mean, mean, mean, np.zeros(mean.shape, bool), summarised=False)


def noisy(columns: int = 100, level: float = 1.0, seed: int = 0) -> np.ndarray:
    return level * np.exp(0.1 * np.random.default_rng(seed).standard_normal(columns))


def test_a_layer_that_leaves_its_start_and_the_others_is_named() -> None:
    grows, shrinks = noisy(seed=1), noisy(seed=2)
    grows[40:80] *= 100
    shrinks[70:] /= 1000
    spikes = noisy(seed=3)
    spikes[[30, 50, 70]] *= 1e4  # not lasting
    found = analysis.layer_growth(profile(noisy(), grows, shrinks, spikes, noisy(level=50.0, seed=4), noisy(seed=5)))
    assert [(each.name, each.direction, each.first, each.last, each.lasts) for each in found] == [
        ("layer 1", "explodes", 400, 799, False),
        ("layer 2", "vanishes", 700, 999, True),
    ]
    assert found[0].factor == pytest.approx(100, rel=0.5)
    assert found[1].relative == pytest.approx(1e-3, rel=0.5)


def test_a_fall_of_all_is_no_fall_of_each() -> None:
    """A layer's own growth alone, which would be wrong, calls each of five converging layers vanishing."""
    fall = np.exp(-np.arange(100) / 15)
    found = analysis.layer_growth(profile(*(fall * noisy(seed=seed) for seed in range(5))))
    assert [(each.name, each.direction, each.lasts) for each in found] == [("all layers", "vanishes", True)]
    alone = analysis.layer_growth(profile(fall))
    assert [(each.name, each.direction) for each in alone] == [("layer 0", "vanishes")]
    beside = analysis.layer_growth(profile(noisy(), noisy(seed=1) * np.append(np.ones(50), np.full(50, 20.0))))
    assert [(each.name, each.direction) for each in beside] == [("layer 1", "explodes")]  # of two, against the other


def test_growth_is_judged_against_the_other_layers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    growth = rng.standard_normal((7, 40))
    growth[rng.random(growth.shape) < 0.3] = np.nan
    growth[1:, 0] = np.nan
    from gradlens.analysis.layer_growth import _median_of_others

    found = _median_of_others(growth)
    for layer in range(7):
        others = np.delete(growth, layer, axis=0)
        for column in range(40):
            known = others[np.isfinite(others[:, column]), column]
            there = len(known) > 0 and np.isfinite(growth[layer, column])
            assert found[layer, column] == (
                pytest.approx(np.median(known)) if there else pytest.approx(np.nan, nan_ok=True)
            )


def test_growth_of_nothing_or_of_zeros_is_no_error() -> None:
    assert analysis.layer_growth(profile(np.full(50, np.nan))) == ()
    dead = np.append(np.ones(20), np.zeros(30))
    (found,) = analysis.layer_growth(profile(dead, noisy(50), noisy(50, seed=1)))
    assert (found.name, found.direction, found.first, found.lasts) == ("layer 0", "vanishes", 200, True)
    with pytest.raises(ValueError, match=r"^factor must be above 1 and sustained in \(0, 1\]; got 1 and 0\.1\.$"):
        analysis.layer_growth(profile(dead), factor=1)
