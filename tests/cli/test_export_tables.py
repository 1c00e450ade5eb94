"""``gradlens export csv`` and ``parquet``: every number as one table, and nothing half-written."""

from __future__ import annotations

import csv
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import PARAMETERS, Capture, WriteRun, begin, export, flip, killed, record, resumed, step_row

import gradlens
from gradlens.cli import main
from gradlens.store import Disk, Run, RunWriter, export_rows, export_tensors, segments, slices, snapshot


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return head, rows


def cell(value: object) -> str:
    """What a cell must mean, written as simply as can be."""
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value if value[:1] in tuple("=+-@\t\r") else value
    return repr(float(value))  # type: ignore[arg-type]


def meant(cells: list[str], truth: list[object]) -> bool:
    """Whether the cells of a column say the values, numbers to the last bit."""
    said = [
        repr(float(text))
        if text and isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        else text
        for text, value in zip(cells, truth, strict=True)
    ]
    return said == [cell(value) for value in truth]


def values_of(table: pa.Table) -> dict[str, list[object]]:
    return {name: table[name].to_pylist() for name in table.column_names}


def steps_of(run: Run, *, superseded: bool = False) -> dict[str, list[object]]:
    """The step table by another way than the exporter's, nulls kept."""
    parts = [pa.parquet.read_table(path) for path in sorted((run.path / "steps").iterdir())]
    table = pa.concat_tables(parts, promote_options="default").sort_by([(k, "ascending") for k in ("step", "session")])
    frame = run.steps(superseded=superseded)
    rows = list(zip(table["step"].to_pylist(), table["session"].to_pylist(), table["seq"].to_pylist(), strict=True))
    wanted = list(zip(frame["step"], frame["session"], frame["seq"], strict=True))
    found = {name: table.take([rows.index(each) for each in wanted])[name].to_pylist() for name in run.columns}
    return found | ({"superseded": frame["superseded"].tolist()} if superseded else {})


numbers = st.floats(allow_nan=True, allow_infinity=True, width=64)
logged = st.dictionaries(st.sampled_from(["loss", "accuracy", "=1+1", "naïve, name", "clipped"]), numbers, max_size=4)


@settings(max_examples=25)
@given(turns=st.lists(st.tuples(st.integers(0, 12), st.lists(logged, min_size=1, max_size=12)), min_size=1, max_size=3))
def test_every_number_is_in_the_table(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, list[dict[str, float]]]]
) -> None:
    root = tmp_path_factory.mktemp("export")
    writer: RunWriter | None = None
    for first, logs in turns:
        if writer is None:
            writer = RunWriter.create(root, "run", {}, PARAMETERS)
        else:
            writer = RunWriter.resume(writer.path, {}, PARAMETERS)
        for step, row in enumerate(logs, first):
            typed = {name: value == value if name == "clipped" else value for name, value in row.items()}
            writer.append({"step": step, "clip_source": "declared", **typed}, {})
        writer.close("finished")
    assert writer is not None
    run = gradlens.open_run(writer.path)
    for options in ([], ["--superseded"]):
        truth = steps_of(run, superseded=bool(options))
        export("csv", run.path, "--out", root / "a.csv", "--force", *options)
        export("parquet", run.path, "--out", root / "a.parquet", "--force", *options)
        head, rows = read_csv(root / "a.csv")
        assert head == [cell(name) for name in truth]
        for place, column in enumerate(truth.values()):
            assert meant([row[place] for row in rows], column)
        table = pa.parquet.read_table(root / "a.parquet")
        assert table.column_names == list(truth)
        for name, column in truth.items():
            assert [cell(value) for value in table[name].to_pylist()] == [cell(value) for value in column]


def test_cells_are_as_promised(tmp_path: Path) -> None:
    odd = [-0.0, 5e-324, 1.7976931348623157e308, 0.1, 1 / 3, 1e22, np.nan, np.inf, -np.inf, None]
    writer = begin(tmp_path, [{"step": step, "x": value} for step, value in enumerate(odd)])
    writer.close("finished")
    export("csv", writer.path, "--out", tmp_path / "a.csv")
    head, rows = read_csv(tmp_path / "a.csv")
    assert head == ["step", "session", "seq", "x"]
    texts = [row[3] for row in rows]
    assert texts[-4:] == ["nan", "inf", "-inf", ""]
    assert [struct.pack("<d", float(text)) for text in texts[:6]] == [struct.pack("<d", value) for value in odd[:6]]
    assert rows[0][:3] == ["0", "0", "0"]


def test_names_are_no_formulas(tmp_path: Path) -> None:
    risky = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", 'a"b,c\nd', "plain"]
    row: dict[str, Any] = {"step": 0, **dict.fromkeys(risky, -1.0)}
    for name in risky:
        begin(tmp_path / "root", [row], name).close("finished")
    export("csv", tmp_path / "root", "--out", tmp_path / "a.csv")
    head, rows = read_csv(tmp_path / "a.csv")
    assert set(head[5:]) == {cell(name) for name in risky}
    assert not [name for name in head if name[:1] in tuple("=+-@\t\r")]
    assert {row[1] for row in rows} == {cell(name) for name in risky}
    assert {text for row in rows for text in row[5:]} == {"-1"}  # a number is no text
    export("csv", tmp_path / "root", "--tensors", "grad_norm", "--out", tmp_path / "t.csv")
    assert {row[3] for row in read_csv(tmp_path / "t.csv")[1]} == {"'=a.weight", "b"}
    export("parquet", tmp_path / "root", "--out", tmp_path / "a.parquet")
    assert set(risky) < set(pa.parquet.read_table(tmp_path / "a.parquet").column_names)  # Parquet has no formulas


def test_rows_say_of_which_run_they_are(tmp_path: Path, capsys: Capture) -> None:
    paths = [begin(tmp_path / "root", 3, "one").path, begin(tmp_path / "root", 2, "two").path]
    export("csv", *reversed(paths), paths[0], "--out", tmp_path / "a.csv", "--json")
    told = json.loads(capsys.readouterr().out)
    head, rows = read_csv(tmp_path / "a.csv")
    assert head[:3] == ["run_id", "name", "step"]
    assert head == told["columns"]
    assert [row[:3] for row in rows] == [
        *([paths[1].name, "two", str(step)] for step in range(2)),
        *([paths[0].name, "one", str(step)] for step in range(3)),
    ]
    assert (told["rows"], told["bytes"], told["format"]) == (5, (tmp_path / "a.csv").stat().st_size, "csv")
    assert [(run["name"], run["rows"]) for run in told["runs"]] == [("two", 2), ("one", 3)]
    export("csv", paths[0], "--out", tmp_path / "b.csv")
    assert read_csv(tmp_path / "b.csv")[0][:2] == ["step", "session"]
    assert (
        capsys.readouterr().out
        == f"{tmp_path / 'b.csv'}: 3 rows, 7 columns, {(tmp_path / 'b.csv').stat().st_size} bytes\n"
    )


def test_logged_names_that_the_table_needs_are_told_apart(tmp_path: Path) -> None:
    begin(tmp_path / "root", [{"step": 0, "name": 1.0, "run_id": 2.0, "superseded": 3.0}], "one")
    begin(tmp_path / "root", [{"step": 0, "other": 4.0}], "two")
    export("csv", tmp_path / "root", "--superseded", "--out", tmp_path / "a.csv")
    head, rows = read_csv(tmp_path / "a.csv")
    tail = ["name (logged)", "other", "run_id (logged)", "superseded (logged)", "superseded"]
    assert head == ["run_id", "name", "step", "session", "seq", *tail]
    assert sorted(row[1:3] + row[5:] for row in rows) == [
        ["one", "0", "1", "", "2", "3", "false"],
        ["two", "0", "", "4", "", "", "false"],
    ]


@pytest.mark.parametrize("closed", [True, False])
def test_tensors_are_those_of_the_run(tmp_path: Path, small_logs: None, closed: bool) -> None:
    path = begin(tmp_path, 700).path
    resumed(path, 333, 500).close("stopped")  # in the middle of a block
    last = resumed(path, 450, 640)
    if closed:
        last.close("finished")
    frame = gradlens.open_run(path).tensors("grad_norm")
    assert frame["step"].tolist() == sorted([*range(640)] * 2)
    for form in ("csv", "parquet"):
        export(form, path, "--tensors", "grad_norm", "--out", tmp_path / f"a.{form}")
    head, rows = read_csv(tmp_path / "a.csv")
    assert head == ["step", "parameter", "value"]
    assert [int(row[0]) for row in rows] == frame["step"].tolist()
    assert [row[1].lstrip("'") for row in rows] == frame["name"].tolist()
    assert np.array_equal(np.array([float(row[2]) for row in rows]), frame["value"].to_numpy(np.float64))
    table = pa.parquet.read_table(tmp_path / "a.parquet")
    assert table["value"].to_numpy().tobytes() == frame["value"].to_numpy().tobytes()
    last.close("finished")


def test_tensors_that_were_thinned_are_told_of(tmp_path: Path, capsys: Capture, small_logs: None) -> None:
    writer = RunWriter.create(tmp_path, "thin", {}, PARAMETERS, max_bytes=1)
    record(writer, [step_row(step) for step in range(300)]).close("finished")
    export("csv", writer.path, "--tensors", "grad_norm", "--out", tmp_path / "a.csv")
    assert "gradlens: thin: steps 0 to 511 have 256-step summaries" in capsys.readouterr().err


# ---- whole, or not at all --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path, capsys: Capture, form: str) -> None:
    path, out = begin(tmp_path / "root", 3).path, tmp_path / "table"
    out.write_text("thesis")
    export(form, path, "--out", out, code=1)
    err = capsys.readouterr().err
    assert err == f"gradlens: {out} exists and is left as it is; name another --out, or replace it with --force.\n"
    assert out.read_text() == "thesis"
    export(form, path, "--out", out, "--force")
    assert out.read_bytes()[:4] == (b"step" if form == "csv" else b"PAR1")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), SystemExit])
@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("there", [True, False])
def test_an_interrupted_export_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, form: str, there: bool
) -> None:
    path, out = begin(tmp_path / "root").path, tmp_path / "out" / "table"
    out.parent.mkdir()
    if there:
        out.write_text("the old one")
    monkeypatch.setattr(slices, "SLICE_ROWS", 100)
    monkeypatch.setattr("gradlens.cli.table_files._PIECE", 10)
    monkeypatch.setattr("gradlens.cli.table_files._GROUP_ROWS", 100)
    seen = []

    def interrupted(self: slices.Slices) -> Iterator[pa.Table]:
        for part in whole(self):
            seen.append([file.stat().st_size for file in out.parent.iterdir() if file.name.startswith(".")])
            if len(seen) == 3:
                raise error
            yield part

    whole = slices.Slices.__iter__
    monkeypatch.setattr(slices.Slices, "__iter__", interrupted)
    if error is SystemExit:
        with pytest.raises(SystemExit):
            main(["export", form, str(path), "--out", str(out), "--force"])
    else:
        export(form, path, "--out", out, "--force", code=130 if error is KeyboardInterrupt else 1)
    assert seen[2][0] > 0  # it was under way, in a hidden file
    assert [file.name for file in out.parent.iterdir()] == (["table"] if there else [])
    assert not there or out.read_text() == "the old one"


def test_a_file_that_came_meanwhile_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = begin(tmp_path / "root").path, tmp_path / "table"
    monkeypatch.setattr("gradlens.cli.export_tables._watched", lambda slices, *_: [out.write_text("thesis")][:0])
    export("csv", path, "--out", out, code=1)
    assert out.read_text() == "thesis"
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["{tmp}/empty"], "no runs in {tmp}/empty; give a run folder, or the folder that your recorder writes to."),
        (["{tmp}/nowhere"], "nowhere does not exist"),
        (
            ["{tmp}/root", "--tensors", "param_norm"],
            "expected per-tensor param_norm in 'run'; found none, and wrote not",
        ),
        (["{tmp}/none"], "expected readable rows in 'none'; found none, and wrote nothing."),
        (["{tmp}/root", "--out", "{tmp}"], "{tmp} is a folder; expected a file to write to"),
    ],
)
def test_failures_are_one_line_and_write_nothing(
    tmp_path: Path, capsys: Capture, arguments: list[str], why: str
) -> None:
    (tmp_path / "empty").mkdir()
    begin(tmp_path / "root", 3).close("finished")
    writer = RunWriter.create(tmp_path / "none", "none", {}, PARAMETERS)
    before = sorted(tmp_path.rglob("*.csv"))
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    assert main(["export", "csv", "--out", str(tmp_path / "out.csv"), *given]) == 1
    err = capsys.readouterr().err
    assert err.startswith("gradlens: ")
    assert err.count("\n") == 1
    assert why.format(tmp=tmp_path) in err
    assert sorted(tmp_path.rglob("*.csv")) == before
    writer.close("stopped")


def micro_batches_of(step: int) -> dict[str, Any]:
    """Of another number in each step, none in every fifth."""
    count = step % 5
    return {"loss": [step + place / 4 for place in range(count)], "domain": [None, "=web", "books", "web"][:count]}


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("options", [[], ["--superseded"]])
def test_micro_batches_are_those_of_the_run(
    tmp_path: Path, small_logs: None, closed: bool, options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlens.store.slices.SLICE_ROWS", 50)
    writer = RunWriter.create(tmp_path, "run", {}, PARAMETERS)
    for step in range(300):
        writer.append({"step": step}, {}, micro_batches_of(step))
    writer.close("stopped")
    again = RunWriter.resume(writer.path, {}, PARAMETERS)
    for step in range(250, 400):
        again.append({"step": step}, {}, micro_batches_of(step))
    assert again.flush()
    if closed:
        again.close("finished")
    frame = gradlens.open_run(writer.path).micro_batches(superseded=bool(options))
    assert len(frame) == 10 * (90 if options else 80)
    for form in ("csv", "parquet"):
        export(form, writer.path, "--micro-batches", "--out", tmp_path / f"a.{form}", *options)
    head, rows = read_csv(tmp_path / "a.csv")
    table = pa.parquet.read_table(tmp_path / "a.parquet")
    assert head == table.column_names == list(frame.columns)
    for place, name in enumerate(head):
        truth = [None if pd.isna(value) else value for value in frame[name].tolist()]
        assert meant([row[place] for row in rows], truth), name
        assert table[name].to_pylist() == truth
    again.close("finished")


def test_a_run_without_micro_batches_is_left_out_and_named(
    tmp_path: Path, capsys: Capture, write_run: WriteRun
) -> None:
    write_run(tmp_path / "root", name="plain", steps=5)
    message = "expected micro-batches in 'plain'; found none, and wrote nothing."
    export("csv", tmp_path / "root", "--micro-batches", "--out", tmp_path / "a", code=1)
    assert message in capsys.readouterr().err
    writer = RunWriter.create(tmp_path / "root", "measured", {}, PARAMETERS)
    writer.append({"step": 0}, {}, {"loss": [1.0, 2.0]})
    writer.close("finished")
    export("parquet", tmp_path / "root", "--micro-batches", "--out", tmp_path / "a", "--json")
    said = json.loads(capsys.readouterr().out)
    assert said["table"] == "micro_batches"
    assert said["notes"] == ["plain: it has no micro-batches, and is left out."]
    assert said["columns"][:4] == ["run_id", "name", "step", "micro_batch"]
    with pytest.raises(SystemExit):
        export("csv", tmp_path, "--out", tmp_path / "b", "--tensors", "grad_norm", "--micro-batches")
    assert "argument --micro-batches: not allowed with argument --tensors" in capsys.readouterr().err


def test_superseded_tensors_are_wrong_use(tmp_path: Path, capsys: Capture) -> None:
    export("csv", tmp_path, "--out", tmp_path / "a", "--tensors", "grad_norm", "--superseded", code=2)
    assert "give one of the two" in capsys.readouterr().err


# ---- damage ----------------------------------------------------------------------------------------------------------


def test_a_damaged_column_is_empty_and_named_and_the_others_are_whole(
    tmp_path: Path, capsys: Capture, small_logs: None
) -> None:
    path = killed(begin(tmp_path / "live", 280), tmp_path)
    flip(sorted((path / "steps").iterdir(), key=lambda p: int(p.name.split("-")[2]))[1], "loss")
    export("csv", path, "--out", tmp_path / "a.csv", code=1)
    assert "'loss' do not match their checksum" in capsys.readouterr().err
    head, rows = read_csv(tmp_path / "a.csv")
    assert [int(row[0]) for row in rows] == list(range(280))
    loss, lr = head.index("loss"), head.index("lr")
    assert [step for step, row in enumerate(rows) if not row[loss]] == list(range(90, 180))
    assert {row[lr] for row in rows} == {"0.1"}


def test_a_damaged_key_leaves_its_rows_out(tmp_path: Path, capsys: Capture, small_logs: None) -> None:
    path = killed(begin(tmp_path / "live", 280), tmp_path)
    flip(sorted((path / "steps").iterdir(), key=lambda p: int(p.name.split("-")[2]))[1], "seq")
    export("csv", path, "--out", tmp_path / "a.csv", code=1)
    assert "'seq' do not match their checksum" in capsys.readouterr().err
    assert [int(row[0]) for row in read_csv(tmp_path / "a.csv")[1]] == [*range(90), *range(180, 280)]


@pytest.mark.parametrize(("column", "left"), [("count", 280), ("max", 280), ("values", 190), ("kind", 190)])
def test_damaged_tensors_leave_the_others_whole(
    tmp_path: Path, capsys: Capture, small_logs: None, column: str, left: int
) -> None:
    path = killed(begin(tmp_path / "live", 280), tmp_path)
    flip(sorted((path / "tensors").iterdir(), key=lambda p: int(p.name.split("-")[2]))[1], column)
    damaged = column != "max"  # which no export reads
    export("csv", path, "--tensors", "grad_norm", "--out", tmp_path / "a.csv", code=int(damaged))
    assert ("do not match their checksum" in capsys.readouterr().err) == damaged
    assert len(read_csv(tmp_path / "a.csv")[1]) == 2 * left


def test_a_run_that_cannot_be_opened_keeps_no_other_from_the_table(tmp_path: Path, capsys: Capture) -> None:
    begin(tmp_path / "root", 3, "whole").close("finished")
    begin(tmp_path / "root", 3, "also whole").close("finished")
    empty = RunWriter.create(tmp_path / "root", "just begun", {}, PARAMETERS)
    export("csv", tmp_path / "root", "--out", tmp_path / "a.csv")
    assert capsys.readouterr().err == "gradlens: just begun: it has no readable rows, and is left out.\n"
    (tmp_path / "root" / "broken").mkdir()
    (tmp_path / "root" / "broken" / "run.json").write_text("{")
    export("csv", tmp_path / "root", "--out", tmp_path / "a.csv", "--force", code=1)
    assert "broken/run.json cannot be read" in capsys.readouterr().err
    assert len(read_csv(tmp_path / "a.csv")[1]) == 6
    empty.close("stopped")


# ---- long runs, and runs under way -----------------------------------------------------------------------------------


def test_a_long_run_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = begin(tmp_path, []).path
    rows, parts = 50_000, 12
    for part in range(parts):
        own = np.arange(part * rows, (part + 1) * rows)
        columns = {"step": own, "session": np.zeros(rows, np.int64), "seq": own}
        columns |= {name: np.random.default_rng(part).standard_normal(rows) for name in "abcdefg"}
        segments.write(Disk(), path / "steps", (0, int(own[0]), int(own[-1])), [pa.table(columns)], {})
    monkeypatch.setattr(Run, "steps", lambda *_, **__: pytest.fail("a data frame of the whole run"))
    before = pa.total_allocated_bytes()
    held, lengths = [], []
    source = export_rows.step_slices(gradlens.open_run(path))
    for part_ in source:
        held.append(pa.total_allocated_bytes() - before)
        lengths.append(part_.num_rows)
    assert sum(lengths) == source.rows == rows * parts
    assert max(lengths) <= slices.SLICE_ROWS
    assert max(held) < 3 * rows * 10 * 8  # bytes of three parts of twelve


def test_a_long_runs_tensors_are_cut_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = begin(tmp_path, 3000).path
    frame = gradlens.open_run(path).tensors("grad_norm")
    monkeypatch.setattr(export_tensors, "_SLICE_VALUES", 1000)
    monkeypatch.setattr(slices, "SLICE_ROWS", 700)
    source = export_tensors.tensor_slices(gradlens.open_run(path), "grad_norm")
    parts = list(source)
    assert max(part.num_rows for part in parts) <= 700
    assert len(parts) >= 9
    assert pa.concat_tables(parts)["step"].to_pylist() == frame["step"].tolist()
    assert source.rows == len(frame)


@pytest.mark.parametrize("kind", [None, "grad_norm"])
def test_a_run_that_is_merged_meanwhile_gives_each_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_logs: None, kind: str | None
) -> None:
    monkeypatch.setattr(slices, "SLICE_ROWS", 50)
    writer = begin(tmp_path, 1000)
    run = gradlens.open_run(writer.path)
    source = export_tensors.tensor_slices(run, kind) if kind else export_rows.step_slices(run)
    looks = []

    def take(path: Path) -> snapshot.Snapshot:
        looks.append(path)
        if len(looks) < 3:
            raise FileNotFoundError(path / "active-0-0.log")  # sealed between the listing and the reading
        return whole(path)

    whole = snapshot.take
    monkeypatch.setattr(snapshot, "take", take)
    steps = []
    for number, part in enumerate(source):
        if number == 3:
            writer.close("finished")  # its files make way for one
        steps += part["step"].to_pylist()
    assert steps == sorted([*range(1000)] * (2 if kind else 1))
