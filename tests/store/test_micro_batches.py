"""The third table of a run: what each micro-batch of a step was, whatever their number and wherever the rows lie."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from asking import forget
from hypothesis import given, settings
from hypothesis import strategies as st

import gradlens
from gradlens.schema import MICRO_BATCH_COLUMNS
from gradlens.store import Disk, Run, RunWriter, compact_run, frames, merging, session
from gradlens.store.frames import RowEncoder
from gradlens.store.layout import LogName
from gradlens.store.log_tables import micro_batches_table
from gradlens.store.scan import Scan
from gradlens.store.snapshot import read_log

PARAMETERS = [("a", (1,), "float32", 0)]
COLUMNS = ["step", "micro_batch", "loss", "grad_norm", "scale", "cosine", "clip_coef", "samples", "domain"]
NUMBERS = COLUMNS[2:-1]


@pytest.fixture
def small_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs that are full after ten rows, wherever a block ends."""
    monkeypatch.setattr("gradlens.store.session.SEAL_ROWS", 10)
    monkeypatch.setattr("gradlens.store.session.BLOCK", 1)


def micro_batches(step: int, count: int, seed: int = 0) -> dict[str, Any]:
    """Every column, with NaN, infinite and missing values among them."""
    rng = np.random.default_rng([seed, step])
    columns: dict[str, Any] = {name: rng.standard_normal(count).astype(np.float32) for name in NUMBERS}
    columns["grad_norm"][rng.random(count) < 0.1] = rng.choice([np.nan, np.inf])
    columns["samples"] = rng.integers(1, 1 << 40, count)
    columns["domain"] = [None if rng.random() < 0.2 else f"domain {rng.integers(9)}" for _ in range(count)]
    return columns


def rows_of(step: int, columns: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What the table should hold of a step."""
    count = max(map(len, columns.values()), default=0)
    given = [columns.get(name, [None] * count) for name in COLUMNS[2:]]
    return [(step, place, *plain(values)) for place, values in enumerate(zip(*given, strict=True))]


def plain(values: Sequence[Any]) -> tuple[Any, ...]:
    """Values that are equal where they are the same: what is missing or NaN is None."""
    return tuple(None if pd.isna(v) else v if isinstance(v, str) else float(v) for v in values)


def table(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The same of a data frame."""
    rows = frame.astype(object).itertuples(index=False, name=None)
    return [(int(step), int(place), *plain(values)) for step, place, *values in rows]


def writer(root: Path, **options: Any) -> RunWriter:
    return RunWriter.create(root, "micro", {}, PARAMETERS, **options)


def write(root: Path, counts: Sequence[int], close: str | None = "finished") -> tuple[Run, list[tuple[Any, ...]]]:
    """A run whose steps have so many micro-batches, and the rows that it should give."""
    own = writer(root)
    for step, count in enumerate(counts):
        own.append({"step": step}, {}, micro_batches(step, count) if count else {})
    assert own.flush()
    if close:
        own.close(close)
    truth = [row for step, count in enumerate(counts) if count for row in rows_of(step, micro_batches(step, count))]
    return gradlens.open_run(own.path), truth


# ---- what is written is read back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", [None, "finished"])
def test_every_number_comes_back_whatever_their_number(close: str | None, tmp_path: Path, small_logs: None) -> None:
    run, truth = write(tmp_path, [*range(65), 3, 0, 1], close)
    frame = run.micro_batches()
    assert list(frame.columns) == COLUMNS
    assert table(frame) == truth
    assert run.verify() == ()
    dtypes = ["int64", "int32", *["float32"] * 5, "int64", "str"]
    assert [str(dtype) for dtype in frame.dtypes] == dtypes


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(1, 8), st.integers(1, 3))
@settings(max_examples=30)
def test_where_logs_end_and_segments_are_merged_changes_no_row(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], rows: int, more_than: int
) -> None:
    root = tmp_path_factory.mktemp("merged")
    turn = session.start(Disk(), root, "micro", {}, PARAMETERS)
    for step, count in enumerate(counts):
        turn.append(step, {"step": step}, {}, micro_batches(step, count) if count else {})
        if step % rows == rows - 1:
            turn.rotate()
            if step % 2:
                turn.seal()
                turn.compact(more_than)
    truth = [row for step, count in enumerate(counts) if count for row in rows_of(step, micro_batches(step, count))]
    assert table(gradlens.open_run(turn.path).micro_batches()) == truth
    turn.close()


def test_plain_readers_need_no_gradlens(tmp_path: Path, small_logs: None) -> None:
    run, truth = write(tmp_path, [2, 0, 5] * 11)
    frame = pd.read_parquet(run.path / "micro_batches")
    assert list(frame.columns) == list(MICRO_BATCH_COLUMNS)
    assert table(frame[COLUMNS]) == truth
    assert frame["seq"].tolist() == frame["step"].tolist()
    assert len(list((run.path / "micro_batches").iterdir())) == 1


def test_a_run_without_any_gives_an_empty_table(write_run: Callable[..., Run]) -> None:
    runs = [write_run(steps=5), gradlens.open_runs("sample_runs")[0]]  # the second of version 1, without the folder
    for run in runs:
        frame = run.micro_batches()
        assert frame.empty
        assert list(frame.columns) == COLUMNS
        assert str(frame["samples"].dtype) == "int64"
        assert list(run.micro_batches(superseded=True).columns) == [*COLUMNS, "session", "superseded"]
        assert run.verify() == ()


def test_what_was_not_measured_is_null_and_nan_is_not(tmp_path: Path) -> None:
    own = writer(tmp_path)
    own.append({"step": 0}, {}, {"loss": [1.0, math.nan], "samples": [4, math.nan]})
    own.append({"step": 1}, {}, {"loss": [], "domain": []})
    own.close("finished")
    read = pq.read_table(own.path / "micro_batches")
    assert read["grad_norm"].null_count == read["domain"].null_count == 2
    assert read["loss"].null_count == 0
    assert read["samples"].to_pylist() == [4, None]


def test_samples_are_exact_beyond_what_float32_counts(tmp_path: Path) -> None:
    own = writer(tmp_path)
    own.append({"step": 0}, {}, {"samples": [2**24 + 1, 2**50 + 1]})
    own.flush()
    live = gradlens.open_run(own.path).micro_batches()["samples"].tolist()
    own.close("finished")
    assert live == gradlens.open_run(own.path).micro_batches()["samples"].tolist() == [2**24 + 1, 2**50 + 1]


def test_of_a_step_that_was_recorded_twice_the_later_record_counts(tmp_path: Path) -> None:
    own = writer(tmp_path)
    for loss, count in ((1.0, 3), (2.0, 2)):
        own.append({"step": 7}, {}, {"loss": [loss] * count})
    own.close("finished")
    run = gradlens.open_run(own.path)
    assert run.micro_batches()["loss"].tolist() == [2.0, 2.0]
    assert run.micro_batches(superseded=True)["superseded"].tolist() == [True] * 3 + [False] * 2


def test_a_resumed_session_replaces_the_micro_batches_of_its_steps(tmp_path: Path) -> None:
    run, truth = write(tmp_path, [3] * 20)
    again = RunWriter.resume(run.path, {}, PARAMETERS)
    for step in range(12, 16):
        again.append({"step": step}, {}, {"loss": [float(step)]} if step % 2 else {})  # not measured in every step
    again.close("finished")
    own = [(step, 0, float(step), *[None] * 6) for step in (13, 15)]
    assert table(run.micro_batches()) == [*(row for row in truth if row[0] < 12), *own]
    everything = run.micro_batches(superseded=True)
    assert len(everything) == 62
    old = everything[everything["superseded"]]
    assert table(old[COLUMNS]) == [row for row in truth if row[0] >= 12]
    assert set(old["session"]) == {0}


# ---- the log ---------------------------------------------------------------------------------------------------------


def test_any_number_of_micro_batches_needs_one_layout(tmp_path: Path) -> None:
    turn = session.start(Disk(), tmp_path, "micro", {}, PARAMETERS)
    counts = [1 + step % 64 for step in range(640)]
    for step, count in enumerate(counts):
        turn.append(step, {"step": step}, {}, {"loss": np.zeros(count), "domain": ["web"] * count})
    (log,) = turn.path.glob("active-*.log")
    definitions = len(RowEncoder().numbers({"step": 0}, {}, ("loss", "domain"))[0].payload()) + 8
    definitions += len(frames.domains_payload(["web"])) + 8
    assert log.stat().st_size == 32 + definitions + sum(8 + 16 + 8 + 2 * 8 * count for count in counts)
    (group,) = read_log(log, LogName(0, 0), keep=False).groups
    assert group.micro_batches is not None
    assert group.micro_batches.counts.tolist() == counts
    turn.close()


def test_a_log_of_version_1_is_read(tmp_path: Path) -> None:
    encoder = RowEncoder()
    layout, numbers = encoder.numbers({"step": 3, "loss": 0.5}, {"grad_norm": np.ones(2, np.float32)})
    encoder.define(layout)
    payloads = [layout.payload(), encoder.payload(layout, 0, numbers, {"grad_norm": np.ones(2, np.float32)}, {})]
    data = frames.header(0, 0, 1) + b"".join(frames.frame(p, 0, 0, i) for i, p in enumerate(payloads))
    scan = Scan(0, 0)
    scan.feed(data)
    assert (scan.good, scan.damage) == (len(data), None)
    (group,) = scan.groups()
    assert group.scalars.tolist() == [[3.0, 0.5]]
    assert "micro_batches" not in json.loads(payloads[0][4:])  # nothing of a row without them has changed


def test_rows_that_cannot_be_take_their_micro_batches_with_them(tmp_path: Path) -> None:
    encoder = RowEncoder()
    layout, _ = encoder.numbers({"step": 0}, {}, ("loss",))
    encoder.define(layout)
    payloads = [layout.payload()]
    for seq, step in enumerate((0.0, math.nan, 2.0)):
        payloads.append(encoder.payload(layout, seq, [step], {}, {"loss": [10.0 * seq] * (seq + 1)}))
    scan = Scan(0, 0)
    scan.feed(frames.header(0, 0) + b"".join(frames.frame(p, 0, 0, i) for i, p in enumerate(payloads)))
    read = micro_batches_table(scan.groups(), 0)
    assert read["step"].to_pylist() == [0, 2, 2, 2]
    assert read["loss"].to_pylist() == [0.0, 20.0, 20.0, 20.0]


def test_a_run_of_version_2_is_read_and_gone_on_with(tmp_path: Path) -> None:
    run, _ = write(tmp_path, [0] * 10)
    (run.path / "micro_batches").rmdir()
    about = run.path / "run.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"schema_version": 2}))
    assert gradlens.open_run(run.path).problems == ()
    assert run.micro_batches().empty
    again = RunWriter.resume(run.path, {}, PARAMETERS)
    again.append({"step": 10}, {}, {"loss": [1.0]})
    again.close("finished")
    assert json.loads(about.read_text())["schema_version"] == 3
    assert run.micro_batches()["loss"].tolist() == [1.0]
    assert run.verify() == ()
    shutil.rmtree(run.path / "tensors")
    assert run.problems == (f"{run.path / 'tensors'} cannot be listed: No such file or directory.",)
    with pytest.raises(ValueError, match="is not a whole run: its folder tensors is missing"):
        compact_run(run.path)


def test_an_empty_table_that_a_clone_lacks_is_no_damage(tmp_path: Path) -> None:
    """As git and archives leave it, which keep no empty folder; where the table has no rows nothing was lost."""
    run, _ = write(tmp_path, [0] * 10)
    (run.path / "micro_batches").rmdir()
    assert gradlens.open_run(run.path).problems == ()
    assert run.verify() == ()
    assert run.micro_batches().empty
    compact_run(run.path)
    (run.path / "micro_batches").rmdir()
    again = RunWriter.resume(run.path, {}, PARAMETERS)
    again.append({"step": 10}, {}, {"loss": [1.0]})
    again.close("finished")
    assert run.micro_batches()["loss"].tolist() == [1.0]
    assert run.problems == ()


def test_domains_are_places_in_their_own_logs_texts(tmp_path: Path, small_logs: None) -> None:
    own = writer(tmp_path)
    truth = []
    for step in range(35):
        truth += [f"domain {step}", "common", f"domain {step}"]
        own.append({"step": step}, {}, {"domain": truth[-3:]})
    own.flush()
    live = gradlens.open_run(own.path).micro_batches()["domain"].tolist()
    own.close("finished")
    assert live == gradlens.open_run(own.path).micro_batches()["domain"].tolist() == truth


def test_a_log_that_has_no_room_for_more_gives_way_to_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.store.active_log.MAX_COLUMNS", 8)
    monkeypatch.setattr("gradlens.store.active_log.MOST_MICRO_BATCHES", 50)
    turn = session.start(Disk(), tmp_path, "micro", {}, PARAMETERS)
    for step in range(30):
        turn.append(step, {"step": step}, {}, {"loss": [float(step)], "domain": [f"domain {step}"]})
    assert len(list(turn.path.glob("active-*.log"))) == 4
    for step in range(30, 60):
        turn.append(step, {"step": step}, {}, {"loss": [float(step)] * 20})
    assert len(list(turn.path.glob("active-*.log"))) == 4 + 15 - 1  # two steps a log; the first went where eight were
    run = gradlens.open_run(turn.path)
    assert run.micro_batches()["loss"].tolist() == [*map(float, range(30)), *np.repeat(np.arange(30.0, 60), 20)]
    assert run.micro_batches()["domain"].dropna().tolist() == [f"domain {step}" for step in range(30)]
    turn.close()


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (
            {"loss": [1.0], "momentum": [1.0], "step": [3]},
            "expected of a micro-batch some of clip_coef, cosine, domain, grad_norm, loss, samples, scale; "
            "got momentum, step",
        ),
        (
            {"loss": [1.0, 2.0], "samples": [1]},
            "expected a value for each micro-batch in every column; got [1, 2] of them",
        ),
        (
            {"loss": np.zeros(65_537)},
            "a step of 65,537 micro-batches has more than the 65,536 that fit a frame",
        ),
        (
            {"domain": ["x" * 256]},
            f"expected a domain to be a text of at most 255 bytes; got '{'x' * 59}",
        ),
        ({"domain": [3]}, "expected a domain to be a text of at most 255 bytes; got 3"),
        (
            {"domain": [str(place) for place in range(4097)]},
            "a row of 4,097 new domains is too much for a log of 4,096",
        ),
    ],
)
def test_micro_batches_that_no_log_can_hold_cost_their_row(columns: Any, why: str, tmp_path: Path) -> None:
    own = writer(tmp_path)
    for step in range(3):
        own.append({"step": step}, {}, columns if step == 1 else {"loss": [1.0]})
    own.close("finished")
    run = gradlens.open_run(own.path)
    assert own.dropped == 1
    assert run.series("step")[0].tolist() == run.micro_batches()["step"].tolist() == [0, 2]
    assert run.problems == (f"1 rows lost while recording: ValueError: {why}.",)


# ---- the files -------------------------------------------------------------------------------------------------------


def test_micro_batches_are_never_thinned(tmp_path: Path) -> None:
    own = writer(tmp_path)
    for step in range(600):
        own.append({"step": step}, {"grad_norm": np.ones(1, np.float32)}, {"loss": [1.0, 2.0]})
    own.close("finished")
    run = gradlens.open_run(own.path)
    before = run.micro_batches()
    assert merging.thin(Disk(), own.path, 1) is False
    assert run.thinned == (0, 767)
    pd.testing.assert_frame_equal(run.micro_batches(), before)
    assert merging.thin(Disk(), own.path, run.bytes)
    assert not merging.thin(Disk(), own.path, run.bytes - 1)  # their bytes count


def test_a_flipped_bit_costs_the_micro_batches_of_its_segment_and_nothing_else(tmp_path: Path) -> None:
    run, truth = write(tmp_path, [4] * 30)
    (path,) = (run.path / "micro_batches").iterdir()
    data = path.read_bytes()
    steps = run.steps()
    for position in range(0, len(data), 97):
        forget()
        path.write_bytes(data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :])
        assert table(run.micro_batches()) in ([], truth)
        assert any(path.name in sentence for sentence in run.verify())
        pd.testing.assert_frame_equal(run.steps(), steps)
    forget()
    path.write_bytes(data)
    assert table(run.micro_batches()) == truth


def test_a_merged_segment_holds_whole_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_logs: None
) -> None:
    monkeypatch.setattr("gradlens.store.merging.GROUP_ROWS", 100)
    run, truth = write(tmp_path, [7] * 60)
    (path,) = (run.path / "micro_batches").iterdir()
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [70] * 6
    assert table(run.micro_batches()) == truth


def test_their_numbers_and_files_are_counted(tmp_path: Path) -> None:
    own = writer(tmp_path)
    for step in range(3):
        own.append({"step": step, "loss": 1.0}, {}, {"loss": [1.0, 2.0], "domain": ["a", None]})
    own.flush()
    run = gradlens.open_run(own.path)
    assert run.footprint.points == 3 + 9
    own.close("finished")
    footprint = run.footprint
    assert (footprint.points, footprint.segments) == (3 + 9, 2)
    assert run.bytes == sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert any(name.startswith("micro_batches/seg-") for name, *_ in run.stamp)


def test_too_many_for_a_data_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = write(tmp_path, [4] * 30)
    monkeypatch.setattr("gradlens.store.run.MAX_FRAME_BYTES", 8 * 119 * 9)
    message = "run 'micro' has 120 rows of 9 columns, too many for a data frame; export them: gradlens export parquet"
    with pytest.raises(ValueError, match=message):
        run.micro_batches()
