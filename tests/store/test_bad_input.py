"""Damaged, foreign and missing files: a sentence each, and no other run affected."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import numpy as np
import pandas as pd
import pytest
from asking import Worker, forget

import gradlens
from gradlens.store import Run, RunError
from gradlens.store.layout import LogName, SegmentName
from gradlens.store.segments import Segment
from gradlens.store.snapshot import read_log

WriteRun = Callable[..., Run]
Count = Callable[[str, int], None]


def segment(run: Run) -> Path:
    (path,) = (run.path / "steps").iterdir()
    return path


def test_a_missing_root(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="nowhere does not exist; give the folder that your recorder writes to"):
        gradlens.open_runs(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"nowhere does not exist; give the folder of a run, which holds a run\.json"):
        gradlens.open_run(tmp_path / "nowhere")


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    file.write_bytes(b"PAR1")
    with pytest.raises(RunError, match=r"file\.parquet is a file; give the folder that your recorder writes to"):
        gradlens.open_runs(file)
    with pytest.raises(RunError, match=r"file\.parquet is a file; give the folder of a run"):
        gradlens.open_run(file)


def test_an_empty_root(tmp_path: Path) -> None:
    assert len(gradlens.open_runs(tmp_path)) == 0
    with pytest.raises(RunError, match=r"is not a run: it holds no run\.json"):
        gradlens.open_run(tmp_path)


@pytest.mark.parametrize("cut", [0, 1, 30, 50, 99])
def test_a_run_cut_short(write_run: WriteRun, tmp_path: Path, cut: int) -> None:
    root = tmp_path / "root"
    good, bad = write_run(root, name="good"), write_run(root, name="bad")
    path = segment(bad)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * cut // 100])
    runs = {run.name: run for run in gradlens.open_runs(root)}
    assert runs["bad"].problems == (
        f"{path} is damaged or cut short: its bytes do not match its name. Its rows are left out.",
    )
    assert runs["bad"].columns == ()
    with pytest.raises(KeyError, match="has no series 'loss'; it has no rows"):
        runs["bad"].series("loss")
    with pytest.raises(RunError, match="has no readable rows"):
        runs["bad"].steps()
    assert runs["good"].problems == ()
    assert len(runs["good"].series("loss")[0]) == len(good.series("loss")[0]) == 400


def test_every_flipped_bit_is_seen(write_run: WriteRun) -> None:
    run = write_run(steps=30)
    path = segment(run)
    data = path.read_bytes()
    truth = run.several(*run.columns)
    for position in range(0, len(data), 211):
        forget()
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        assert len(run.verify()) >= 1
        for name, (steps, values) in run.several(*run.columns).items():  # what is still given is still right
            assert len(steps) == 0 or np.array_equal(values, truth[name][1], equal_nan=True)
    forget()
    path.write_bytes(data)
    assert run.verify() == ()


def test_a_foreign_parquet_file(write_run: WriteRun, tmp_path: Path) -> None:
    run = write_run()
    pd.DataFrame({"step": [0]}).to_parquet(run.path / "steps" / "part-0.parquet")
    assert run.problems == (f"{run.path / 'steps' / 'part-0.parquet'} is not a gradlens segment; it is ignored.",)
    assert len(run.series("loss")[0]) == 400
    pd.DataFrame({"x": [0]}).to_parquet(tmp_path / "runs" / "foreign.parquet")
    assert len(gradlens.open_runs(tmp_path / "runs")) == 1


def test_a_foreign_file_under_a_segments_own_name(write_run: WriteRun) -> None:
    import zlib

    run = write_run(steps=5)
    for content in (b"not Parquet", _parquet_without_steps()):
        (run.path / "steps" / f"seg-0-9-9-{zlib.crc32(content):08x}.parquet").write_bytes(content)
    assert len(run.series("loss")[0]) == 5
    assert sum("is damaged or cut short" in problem for problem in run.problems) == 1
    assert sum("holds no records of its kind" in problem for problem in run.problems) == 1


def _parquet_without_steps() -> bytes:
    data: bytes = pd.DataFrame({"x": [0]}).to_parquet()
    return data


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[1]", "expected a JSON object, got list"),
        ("[" * 100_000, "cannot be read"),
        ('{"schema_version": 99}', "expected schema version 3 or older, got 99"),
        ("{}", "names no schema version"),
        ("\xff\xfe", "cannot be read"),
    ],
)
def test_a_damaged_description(write_run: WriteRun, tmp_path: Path, text: str, why: str) -> None:
    root = tmp_path / "root"
    write_run(root, name="good", steps=5)
    bad = write_run(root, name="bad", steps=5)
    (bad.path / "run.json").write_bytes(text.encode("latin-1"))
    runs = gradlens.open_runs(root)
    assert [run.name for run in runs] == ["good"]
    (problem,) = runs.problems
    assert why in problem
    assert str(bad.path) in problem
    with pytest.raises(RunError, match=why):
        gradlens.open_run(bad.path)


def test_a_description_of_the_wrong_shape_still_opens(write_run: WriteRun) -> None:
    run = write_run(steps=5)
    (run.path / "run.json").write_text('{"schema_version": 1, "config": 3, "clip": [], "created": "x", "name": null}')
    (run.path / "health-0.json").write_text('{"closed": 7, "dropped": "many", "heartbeat": []}')
    again = gradlens.open_run(run.path)
    assert (again.config, again.clip, again.status, again.dropped) == ({}, None, "stopped", 0)


def test_a_description_too_large_is_not_read(write_run: WriteRun) -> None:
    run = write_run(steps=5)
    (run.path / "run.json").write_bytes(b" " * (5 << 20))
    with pytest.raises(RunError, match="is larger than 4 MiB"):
        gradlens.open_run(run.path)


def test_text_is_not_a_series(write_run: WriteRun) -> None:
    with pytest.raises(ValueError, match=r"smoothness_method holds text; read it with run\.steps\(\)"):
        write_run().series("smoothness_method")


def test_missing_folders_and_names(write_run: WriteRun) -> None:
    run = write_run(steps=5)
    (run.path / "parameters-0.parquet").unlink()
    assert set(run.tensors("grad_norm")["name"]) == {"?"}
    shutil.rmtree(run.path / "tensors")
    assert run.tensors("grad_norm").empty
    assert run.problems == (f"{run.path / 'tensors'} cannot be listed: No such file or directory.",)


# ---- folders that somebody made, asked everything in a process of its own --------------------------------------------


SHARDS = 3


@pytest.fixture
def pristine(tmp_path: Path) -> Path:
    """A run in two segments a table, and one in two logs."""
    for name, sealed in (("sealed", True), ("live", False)):
        hostile.record(tmp_path / "pristine", name, sealed=sealed)
    return tmp_path / "pristine"


@pytest.fixture
def worker() -> Iterator[Worker]:
    """A process to ask in."""
    made = Worker()
    yield made
    made.close()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_bad_folder_is_read_as_far_as_it_goes_and_the_good_one_beside_it_in_full(
    shard: int, pristine: Path, worker: Worker, tmp_path: Path, count: Count
) -> None:
    names = list(hostile.CASES)[shard::SHARDS]
    results = worker.run("hostile:exercise", names, str(pristine), str(tmp_path / "root"))
    count("hand-made bad files and folders", len(names))
    count("wrong numbers", sum(len(result.get("wrong", ())) for result in results))
    count("children killed by a signal", len(worker.killed))
    assert [result["failed"] for result in results if "failed" in result] == []
    for name, result in zip(names, results, strict=True):
        assert result["wrong"] == [], name
        assert result["untouched"], name
        assert result["problems"] or name in hostile.SILENT, name


def test_what_the_bad_folders_are_made_of_can_be_read_where_it_is_good(pristine: Path, tmp_path: Path) -> None:
    """Else all of them would be refused for a reason that has nothing to do with what is bad."""
    for make in hostile.GOOD:
        run = shutil.copytree(pristine / "sealed", tmp_path / "bad")
        before = hostile.size_of(gradlens.open_run(run))
        make(tmp_path)
        assert all("lost while recording" in problem for problem in gradlens.open_run(run).verify())
        assert hostile.size_of(gradlens.open_run(run)) > before
        shutil.rmtree(run)


@pytest.mark.parametrize("file", ["run.json", "health-0.json", "parameters-0.parquet", "active-0-0.log"])
def test_a_file_cut_at_every_byte(pristine: Path, file: str, count: Count) -> None:
    path = pristine / "live" / file
    data = path.read_bytes()
    data = data[:1200] if file.endswith(".log") else data
    whole = gradlens.open_run(path.parent).series("step")[0]
    for length in range(len(data)):
        forget()
        path.unlink()
        path.write_bytes(data[:length])
        runs = {run.path.name: run for run in gradlens.open_runs(pristine)}
        assert runs["sealed"].name == "sealed"
        if file == "run.json":
            assert list(runs) == ["sealed"]
            continue
        run = runs["live"]
        assert isinstance(run.status, str)
        if file.endswith(".log"):
            steps = run.series("step")[0]
            assert steps.tolist() == [*whole[: len(steps) - 60], *whole[70:]]
        elif file.endswith(".parquet"):
            assert run.parameters == ()
            assert any("without their names" in problem for problem in run.problems)
        else:
            assert any(file in problem for problem in run.problems)
    count("files cut or changed at every byte", len(data))


@pytest.mark.parametrize("table", ["steps", "tensors", "micro_batches"])
def test_a_segment_cut_or_changed_at_any_byte(pristine: Path, table: str, count: Count) -> None:
    path = hostile.first(pristine / "sealed", table)
    name = SegmentName.parse(path.name)
    assert name is not None
    data = path.read_bytes()
    Segment.open(path, name, table).check()
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
        for damaged in (data[:place], changed):
            forget()
            path.unlink()
            path.write_bytes(damaged)
            with pytest.raises(RunError, match="damaged"):
                Segment.open(path, name, table).check()
    count("files cut or changed at every byte", 2 * len(data))


def test_a_log_changed_at_any_bit(pristine: Path, count: Count) -> None:
    path = pristine / "live/active-0-0.log"
    path.write_bytes(path.read_bytes()[:1500])
    whole = read_log(path, LogName(0, 0), keep=False)
    data = path.read_bytes()[: whole.good]
    for bit in range(8 * len(data)):
        path.write_bytes(data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :])
        log = read_log(path, LogName(0, 0), keep=False)
        assert log.good <= bit // 8  # nothing counts from the frame on that has the bit; it may be one without a row
        assert log.rows <= whole.rows
        assert log.damage is not None
        for group, right in zip(log.groups, whole.groups, strict=False):
            assert np.array_equal(group.seqs, right.seqs[: len(group.seqs)])
            assert np.array_equal(group.scalars, right.scalars[: len(group.seqs)], equal_nan=True)
    count("files cut or changed at every byte", 8 * len(data))


@pytest.mark.parametrize(("number", "seconds"), [(1_000, 2.0), (10_000, 5.0)])
def test_many_runs_are_listed_soon(tmp_path: Path, number: int, seconds: float) -> None:
    template = hostile.record(tmp_path / "template", "run")
    files = {name: (template / name).read_bytes() for name in ("run.json", "health-0.json")}
    for index in range(number):
        folder = tmp_path / "root" / f"run-{index:05}"
        for table in ("steps", "tensors", "micro_batches"):
            (folder / table).mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    begin = time.process_time()
    runs = gradlens.open_runs(tmp_path / "root")
    assert [run.status for run in runs] == ["finished"] * number
    assert time.process_time() - begin < seconds


def test_a_name_that_no_system_takes() -> None:
    for name in ("x" * 5000, "a\0b", "/dev/null/x"):
        with pytest.raises(RunError, match="does not exist"):
            gradlens.open_runs(name)
