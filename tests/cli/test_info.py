"""``gradlens info``: what a run holds, what was lost, what is damaged."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from recorded import (
    PARAMETERS,
    Capture,
    WriteRun,
    begin,
    flip,
    info,
    lossy,
    only_segment,
    record,
    resumed,
    settled,
    step_row,
)

import gradlens
from gradlens.cli import main
from gradlens.store import RunWriter


def test_info_says_what_is_on_disk(tmp_path: Path, capsys: Capture, small_logs: None) -> None:
    writer = settled(begin(tmp_path))
    run = gradlens.open_run(writer.path)
    text, entries = info(writer.path, capsys)
    taken = run.footprint
    assert (entries["segments"], entries["logs"]) == (taken.segments, taken.logs) == (8, 1)
    assert entries["bytes"] == taken.bytes
    assert entries["points"] == taken.points == 400 * (4 + 2)  # scalars but for the step, and two tensors
    assert entries["bytes_per_point"] == pytest.approx(taken.bytes / taken.points)
    assert f"on disk           8 segments, 1 active log, {taken.bytes:,} bytes" in text
    assert f"numbers           2,400 readable, {taken.bytes / taken.points:.1f} bytes each" in text
    assert "rows lost         none" in text
    assert "status            running" in text
    assert "session 0" not in text  # there is but one
    writer.close("finished")


def test_info_names_each_session(tmp_path: Path, capsys: Capture) -> None:
    path = begin(tmp_path, 300).path
    resumed(path, 200, 250).close("stopped")
    third = settled(resumed(path, 220, 260))
    text, entries = info(path, capsys)
    assert "session 0         from step 0, 300 rows, never closed" in text
    assert "session 1         from step 200, 50 rows, stopped" in text
    assert "session 2         from step 220, 40 rows, running" in text
    told = [(each["number"], each["first_step"], each["rows"], each["closed"]) for each in entries["sessions"]]
    assert told == [(0, 0, 300, None), (1, 200, 50, "stopped"), (2, 220, 40, None)]
    third.close("finished")


def test_info_names_rows_that_the_disk_did_not_take(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lossy(tmp_path, monkeypatch)
    text, entries = info(path, capsys, code=1)
    lost = 600 - entries["steps"]
    assert entries["lost"] == entries["sessions"][0]["lost"] == lost > 400
    assert f"rows lost         {lost:,} of 600" in text
    said = f"{lost:,} rows lost while recording: OSError: [Errno 28] No space left on device."
    assert entries["problems"] == [said]
    assert said in " ".join(text.split())


def test_info_says_which_session_lost_rows(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lossy(tmp_path, monkeypatch)
    resumed(path, 600, 610).close("finished")
    text, _ = info(path, capsys, code=1)
    folded = " ".join(text.split())
    assert "rows, finished; " in folded
    assert "lost (OSError: [Errno 28] No space left on device) session 1 from step 600, 10 rows, finished" in folded


@pytest.mark.parametrize("table", ["steps", "tensors"])
def test_info_reads_every_byte(tmp_path: Path, capsys: Capture, write_run: WriteRun, table: str) -> None:
    run = write_run(steps=50, lr=np.ones(50))
    flip(only_segment(run.path, table), "lr" if table == "steps" else "max")  # neither is read for any summary
    assert gradlens.open_run(run.path).problems == ()
    text, entries = info(run.path, capsys, code=1)
    assert "do not match their checksum" in " ".join(text.split())
    assert len(entries["problems"]) == 1
    assert (entries["segments"], entries["logs"], entries["steps"]) == (2, 0, 50)


def test_info_reads_and_counts_micro_batches(tmp_path: Path, capsys: Capture) -> None:
    writer = RunWriter.create(tmp_path, "run", {}, PARAMETERS)
    for step in range(50):
        writer.append(step_row(step), {}, {"loss": [1.0, 2.0], "cosine": [0.5, 0.25]})
    writer.close("finished")
    _, entries = info(writer.path, capsys)
    assert (entries["segments"], entries["points"]) == (2, 50 * (4 + 4))
    flip(only_segment(writer.path, "micro_batches"), "cosine")
    text, entries = info(writer.path, capsys, code=1)
    assert "the bytes of 'cosine' do not match their checksum" in " ".join(text.split())
    assert (len(entries["problems"]), entries["points"]) == (1, 50 * (4 + 2))


def test_info_counts_steps_where_their_time_is_damaged(tmp_path: Path, capsys: Capture, write_run: WriteRun) -> None:
    run = write_run(steps=50)
    flip(only_segment(run.path), "time")
    text, entries = info(run.path, capsys, code=1)
    assert entries["steps"] == 50
    assert entries["points"] == gradlens.open_run(run.path).footprint.points > 0
    assert "steps             50 in - s" in text


def test_one_damaged_column_costs_the_count_of_that_column_only(write_run: WriteRun, capsys: Capture) -> None:
    run = write_run()
    points = run.footprint.points
    flip(only_segment(run.path), "grad_norm")
    assert gradlens.open_run(run.path).footprint.points == points - 400
    assert main(["info", str(run.path)]) == 1
    text = capsys.readouterr().out
    assert re.search(r"rows lost +not known, since files are damaged", text)
    assert "Part of the run cannot be read" in " ".join(text.split())
    assert "goes through recorder.loss" not in text


def test_info_says_that_a_loss_became_nan(write_run: WriteRun, capsys: Capture) -> None:
    nonfinite = (np.arange(400) >= 150).astype(int).tolist()
    loss = np.where(np.arange(400) >= 150, np.nan, 1.0)
    run = write_run(loss=loss, nonfinite=nonfinite)
    main(["info", str(run.path)])
    assert re.search(r"final loss +NaN; gradients not finite in 250 steps", capsys.readouterr().out)


@pytest.mark.parametrize(("form", "name"), [("csv", "table.parquet"), ("parquet", "table.CSV")])
def test_a_table_is_not_named_as_the_other_format(
    form: str, name: str, write_run: WriteRun, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["export", form, str(write_run().path), "--out", str(tmp_path / name)]) == 2
    assert f"would hold {form}; name it" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_info_says_where_detail_was_thinned(tmp_path: Path, capsys: Capture, small_logs: None) -> None:
    writer = RunWriter.create(tmp_path, "run", {}, PARAMETERS, max_bytes=1)
    record(writer, [step_row(step) for step in range(600)]).close("finished")
    text, entries = info(writer.path, capsys)
    assert entries["thinned"] == [0, 767]
    assert "thinned           steps 0 to 767:" in text
    assert sum(map(len, pa.parquet.read_table(only_segment(writer.path, "tensors"))["values"].to_pylist())) == 0
    whole, entries = info(begin(tmp_path, 10).path, capsys)
    assert entries["thinned"] is None
    assert "thinned" not in whole


def test_info_of_a_run_without_rows_is_exit_code_1(tmp_path: Path, capsys: Capture) -> None:
    writer = RunWriter.create(tmp_path, "run", {}, PARAMETERS)
    text, entries = info(writer.path, capsys, code=1)
    assert entries["points"] == entries["segments"] == 0
    assert entries["bytes_per_point"] is None
    assert "on disk           0 segments, 0 active logs" in text
    writer.close("stopped")


def test_info_survives_a_time_that_no_calendar_has(write_run: WriteRun, capsys: Capture) -> None:
    run = write_run(steps=3)
    entries = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(entries | {"created": 1e300}))
    assert "recorded          -" in info(run.path, capsys)[0]
