"""The pyramid says of 256 steps what the steps say: no spike is lost, no NaN is hidden."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradlens
from gradlens.store import Run, RunWriter
from gradlens.store.pyramid import SUMMARY, merge, summarise

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64), st.sampled_from([np.nan, np.inf, -np.inf])
)


def naive(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    entries = []
    for block in sorted({int(step) // 256 for step in steps}):
        inside = [(s, v) for s, v in zip(steps.tolist(), values.tolist(), strict=True) if s // 256 == block]
        finite = [v for _, v in inside if np.isfinite(v)]
        odd = [s % 256 for s, v in inside if not np.isfinite(v)]
        summary = (
            (min(finite), max(finite), sum(v / len(finite) for v in finite), finite[-1]) if finite else (np.nan,) * 4
        )
        entries.append((block, *summary, len(finite), len(odd), odd[0] if odd else 0, 0))
    return np.array(entries, SUMMARY)


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    for name in ("block", "min", "max", "last", "count", "nonfinite", "odd"):
        assert np.array_equal(found[name], expected[name], equal_nan=True), name
    size = np.maximum(np.abs(expected["min"]), np.abs(expected["max"]))
    assert np.allclose(
        found["mean"] / np.maximum(size, 1e-300),
        expected["mean"] / np.maximum(size, 1e-300),
        atol=1e-12,
        equal_nan=True,
    )


@given(st.lists(st.tuples(st.integers(1, 150), NUMBERS), max_size=60))
def test_summaries_are_those_of_the_naive_twin(gaps: list[tuple[int, float]]) -> None:
    steps = np.cumsum([gap for gap, _ in gaps], dtype=np.int64)
    values = np.array([value for _, value in gaps], np.float64)
    agree(summarise(steps, values), naive(steps, values))


@given(st.lists(st.tuples(st.integers(1, 150), NUMBERS), min_size=1, max_size=60), st.sets(st.integers(0, 60)))
def test_merging_stretches_is_summarising_the_whole(gaps: list[tuple[int, float]], cuts: set[int]) -> None:
    steps = np.cumsum([gap for gap, _ in gaps], dtype=np.int64)
    values = np.array([value for _, value in gaps], np.float64)
    where = sorted(cut for cut in cuts if cut < len(steps))
    parts = [summarise(s, v) for s, v in zip(np.split(steps, where), np.split(values, where), strict=True)]
    agree(merge(parts), naive(steps, values))


def small_logs(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("gradlens.store.session.SEAL_ROWS", rows)
    monkeypatch.setattr("gradlens.store.session.BLOCK", 1)


@pytest.mark.parametrize("state", ["live", "sealed and live", "closed"])
def test_a_runs_pyramid_is_that_of_its_series_in_every_state(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_logs(monkeypatch, 10**9 if state == "live" else 100)
    rng = np.random.default_rng(4)
    values = np.exp(rng.standard_normal(1000))
    values[[5, 300, 999]] = np.nan, np.inf, -np.inf
    values[700] = 1e9  # a spike
    writer = RunWriter.create(tmp_path, "pyramid", {}, [("a", (1,), "float32", 0)])
    for step, value in enumerate(values.tolist()):
        late = {"late": value} if step >= 650 else {}
        writer.append({"step": step, "loss": value, "clipped": step % 3 == 0, **late}, {})
    writer.flush()
    if state == "closed":
        writer.close("finished")
    run = gradlens.open_run(writer.path)
    for name in ("loss", "late", "clipped"):
        agree(run.pyramid(name), naive(*run.series(name)))
    assert run.pyramid("loss")["max"].max() == 1e9
    assert run.pyramid("loss")["nonfinite"].tolist() == [1, 1, 0, 1]
    assert run.pyramid("clipped")["mean"][0] == pytest.approx(86 / 256)
    with pytest.raises(KeyError, match="has no series 'accuracy'"):
        run.pyramid("accuracy")
    with pytest.raises(ValueError, match="smoothness_method holds text"):
        run.pyramid("smoothness_method")
    writer.close("finished")


def test_a_resumed_runs_pyramid_leaves_out_what_was_superseded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_logs(monkeypatch, 100)
    parameters = [("a", (1,), "float32", 0)]
    writer = RunWriter.create(tmp_path, "resumed", {}, parameters)
    path = writer.path
    for first, last, turn in ((0, 900, 0), (700, 1100, 1), (650, 720, 2)):
        if turn:
            writer = RunWriter.resume(path, {}, parameters)
        for step in range(first, last):
            writer.append(
                {"step": step, "loss": step + 10_000.0 * turn}, {"grad_norm": np.full(1, step + turn / 4, np.float32)}
            )
        writer.close("finished")
    run = gradlens.open_run(path)
    steps, losses = run.series("loss")
    assert steps.tolist() == list(range(720))
    assert losses.tolist() == [step + (20_000.0 if step >= 650 else 0.0) for step in range(720)]
    agree(run.pyramid("loss"), naive(steps, losses))
    frame = run.tensors("grad_norm")
    assert frame["step"].tolist() == list(range(720))
    assert frame["value"].tolist() == [step + (0.5 if step >= 650 else 0.0) for step in range(720)]
    blocks = run.tensor_blocks("grad_norm")
    assert blocks.groupby("step")["max"].max().tolist() == [255.0, 511.0, 719.5]
    assert blocks.groupby("step")["min"].min().tolist() == [0.0, 256.0, 512.0]


def test_a_segment_of_schema_version_1_has_the_same_pyramid(write_run: Callable[..., Run]) -> None:
    run = gradlens.open_runs("sample_runs")[0]  # recorded by version 1
    agree(run.pyramid("grad_norm"), naive(*run.series("grad_norm")))


def test_a_pyramid_costs_as_much_of_a_long_run_as_of_a_short_one(tmp_path: Path) -> None:
    """The whole series of the long run is a hundred times longer; its pyramid may cost a few times more, not that."""
    from gradlens.store import Disk, sealing, segments
    from gradlens.store.frames import Layout
    from gradlens.store.log_tables import steps_table
    from gradlens.store.scan import Group

    took = {}
    for count in (10_000, 1_000_000):
        writer = RunWriter.create(tmp_path / str(count), "long", {}, [("a", (1,), "float32", 0)])
        writer.close("finished")
        layout = Layout(("step", *(f"s{index}" for index in range(5))), ())
        scalars = np.column_stack([np.arange(count), *np.random.default_rng(0).standard_normal((5, count))])
        table = steps_table([Group(layout, np.arange(count), scalars, np.empty((count, 0), np.float32))], 0)
        segments.write(Disk(), writer.path / "steps", (0, 0, count - 1), [table], sealing.pyramids(table))
        run = gradlens.open_run(writer.path)
        run.pyramid("s3")
        begin = time.perf_counter()
        for _ in range(20):
            assert len(run.pyramid("s3")) == -(-count // 256)
        took[count] = time.perf_counter() - begin
    assert took[1_000_000] < 5 * took[10_000]
