"""What is written is read back, with gradlens and without it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gradlens
from gradlens.store import Disk, Run, RunWriter, segments
from gradlens.store.layout import SegmentName
from gradlens.store.tables import parquet_bytes, steps_table

WriteRun = Callable[..., Run]
PARAMETERS = [("a.weight", (2, 3), "float32", 0), ("b", (), "float32", 1)]


def writer(root: Path, **options: object) -> RunWriter:
    return RunWriter(root, "run", {}, PARAMETERS, **options)  # type: ignore[arg-type]


def test_every_number_comes_back(write_run: WriteRun) -> None:
    values = np.random.default_rng(1).standard_normal(400)
    values[[3, 200]] = np.nan, np.inf
    run = write_run(accuracy=values)
    steps, read = run.series("accuracy")
    assert steps.tolist() == list(range(400))
    assert np.array_equal(read, values, equal_nan=True)
    frame = run.steps()
    assert np.array_equal(frame["accuracy"], values, equal_nan=True)
    assert list(frame.columns) == list(run.columns)


def test_nulls_are_dropped_and_nan_is_not(tmp_path: Path) -> None:
    w = writer(tmp_path)
    for step, value in enumerate([None, np.nan, 1.0]):
        w.append({"step": step, "loss": value}, {})
    w.close("finished")
    steps, values = gradlens.open_run(w.path).series("loss")
    assert steps.tolist() == [1, 2]
    assert np.array_equal(values, [np.nan, 1.0], equal_nan=True)


def test_plain_readers_need_no_gradlens(write_run: WriteRun) -> None:
    run = write_run(steps=50)
    frame = pd.read_parquet(run.path / "steps")
    assert frame["step"].tolist() == list(range(50))
    assert np.array_equal(frame["grad_norm"], run.series("grad_norm")[1])
    assert len(pd.read_parquet(run.path / "tensors")) == 1


def test_a_name_that_comes_late_is_null_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.store.writer.SEAL_ROWS", 10)
    w = writer(tmp_path)
    for step in range(35):
        w.append({"step": step, "loss": float(step)} | ({"late": 1.0} if step >= 20 else {}), {})
    live = gradlens.open_run(w.path)
    assert len(list((w.path / "steps").iterdir())) == 3  # 10, 20, 30; five rows wait
    assert live.series("late")[0].tolist() == list(range(20, 30))
    w.close("finished")
    assert len(list((w.path / "steps").iterdir())) == 1  # one segment, the union of the columns
    assert pd.read_parquet(w.path / "steps")["late"].isna().sum() == 20
    assert gradlens.open_run(w.path).series("loss")[1].tolist() == list(range(35))


def test_tensors_come_back_by_name_and_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.store.writer.SEAL_ROWS", 300)  # seals in the middle of a block
    rng = np.random.default_rng(0)
    w = writer(tmp_path)
    expected: dict[str, list[tuple[int, str, float]]] = {"grad_norm": [], "update_norm": []}
    for step in range(700):
        tensors = {}
        for kind, every in (("grad_norm", 1), ("update_norm", 7)):
            if step % every == 0:
                tensors[kind] = rng.standard_normal(2).astype(np.float32)
                expected[kind] += [(step, name, v) for (name, *_), v in zip(PARAMETERS, tensors[kind], strict=True)]
        w.append({"step": step}, tensors)
    w.close("finished")
    run = gradlens.open_run(w.path)
    assert run.parameters == ("a.weight", "b")
    for kind, rows in expected.items():
        frame = run.tensors(kind)
        assert list(frame.itertuples(index=False, name=None)) == rows
    assert run.tensors("param_norm").empty
    with pytest.raises(ValueError, match=r"expected one of the kinds grad_norm, .*; got 'momentum'"):
        run.tensors("momentum")


def test_blocks_summarise_their_finite_values(tmp_path: Path) -> None:
    w = writer(tmp_path)
    for step, value in enumerate([2.0, np.nan, -1.0, np.inf]):
        w.append({"step": step}, {"grad_norm": np.array([value, np.nan], dtype=np.float32)})
    w.close("finished")
    block = pd.read_parquet(w.path / "tensors").set_index("parameter")
    assert block.loc[0, ["min", "max", "mean", "last"]].tolist() == [-1.0, 2.0, 0.5, -1.0]
    assert block.loc[1, ["min", "max", "mean", "last"]].isna().all()


def test_segments_are_named_after_their_bytes(write_run: WriteRun) -> None:
    run = write_run(steps=20)
    (segment,) = (run.path / "steps").iterdir()
    name = SegmentName.parse(segment.name)
    assert name is not None
    assert (name.session, name.first, name.last) == (0, 0, 19)
    assert str(name) == segment.name
    assert not [path for path in run.path.rglob("*") if path.name.startswith(".")]


def test_status_is_derived(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_run(outcome="finished").status == "finished"
    assert write_run(outcome="stopped").status == "stopped"
    live = write_run(outcome=None)
    assert live.status == "running"
    health = live.path / "health-0.json"
    entries = json.loads(health.read_text())
    health.write_text(json.dumps(entries | {"heartbeat": entries["heartbeat"] - 3600}))
    assert gradlens.open_run(live.path).status == "stopped"
    health.unlink()
    assert gradlens.open_run(live.path).status == "stopped"


def test_runs_are_found_at_any_depth_but_not_through_links(tmp_path: Path, write_run: WriteRun) -> None:
    root = tmp_path / "root"
    for index, folder in enumerate(("", "a", "a/b/c")):
        write_run(root / folder, name=f"run {index}", steps=5)
    elsewhere = write_run(tmp_path / "elsewhere", steps=5)
    (root / "link").symlink_to(elsewhere.path)
    (root / "loop").symlink_to(root)
    runs = gradlens.open_runs(root)
    assert sorted(run.name for run in runs) == ["run 0", "run 1", "run 2"]
    assert len(runs[:2]) == 2
    assert runs.problems == ()
    assert [run.name for run in gradlens.open_runs(runs[0].path)] == [runs[0].name]


def test_names_are_data(tmp_path: Path, write_run: WriteRun) -> None:
    for name in ("../../etc", "/absolute", "", "a\0b", "x" * 100_000, "<script>"):
        run = write_run(tmp_path / "root", name=name, steps=3)
        assert run.name == name
        assert run.path.parent == tmp_path / "root"
        assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{8}", run.path.name)


class FullDisk(Disk):
    """A disk whose writes fail from one moment on."""

    full = False

    def write(self, path: Path, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().write(path, data)


def test_rows_that_cannot_be_written_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.store.writer.SEAL_ROWS", 10)
    disk = FullDisk()
    w = writer(tmp_path, disk=disk)
    for step in range(40):
        disk.full = 10 <= step < 30
        w.append({"step": step}, {})
    assert (w.dropped, w.acknowledged) == (20, 39)
    w.close("finished")
    run = gradlens.open_run(w.path)
    assert run.series("step")[0].tolist() == [*range(10), *range(30, 40)]
    assert run.problems == ("20 rows lost while recording: OSError: [Errno 28] No space left on device.",)


def test_what_fails_beside_the_step_records_costs_no_step_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk()
    write = disk.write

    def refuse_tensors(path: Path, data: bytes) -> None:
        if path.parent.name == "tensors":
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(disk, "write", refuse_tensors)
    w = writer(tmp_path, disk=disk)
    w.append({"step": 0}, {"grad_norm": np.ones(2, dtype=np.float32)})
    w.close("finished")
    run = gradlens.open_run(w.path)
    assert (w.dropped, w.acknowledged, run.status, len(run.steps())) == (0, 0, "finished", 1)
    assert run.problems == (
        "a part of the run beside its step records could not be written: OSError: [Errno 28] No space left on device.",
    )


def test_a_run_that_closes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compaction replaces the segments between a reader's listing and its reading."""
    monkeypatch.setattr("gradlens.store.writer.SEAL_ROWS", 10)
    w = writer(tmp_path)
    for step in range(20):
        w.append({"step": step}, {"grad_norm": np.ones(2, dtype=np.float32)})
    run = gradlens.open_run(w.path)
    find = segments.find

    def find_then_close(folder: Path) -> segments.Found:
        found = find(folder)
        w.close("finished")
        return found

    for question in (lambda: run.columns, lambda: run.series("step"), lambda: run.tensors("grad_norm")):
        monkeypatch.setattr(segments, "find", find_then_close)
        assert len(question()) > 0
        monkeypatch.setattr(segments, "find", find)
    assert len(run.series("step")[0]) == 20


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        Disk().write(target, b"a file cannot replace a folder")
    assert list(tmp_path.iterdir()) == [target]


def test_the_newest_session_wins_a_step(write_run: WriteRun) -> None:
    run = write_run(steps=10)
    newer = [{"step": step, "session": 1, "seq": step, "grad_norm": -1.0} for step in (8, 9, 10)]
    data = parquet_bytes(steps_table(newer))
    name = SegmentName(1, 0, 2, __import__("zlib").crc32(data))
    (run.path / "steps" / str(name)).write_bytes(data)
    steps, norms = run.series("grad_norm")
    assert steps.tolist() == list(range(11))
    assert norms[8:].tolist() == [-1.0] * 3
    assert (norms[:8] > 0).all()


def test_a_copied_run_is_the_same_run(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(steps=30)
    copy = gradlens.open_run(shutil.copytree(run.path, tmp_path / "copy"))
    pd.testing.assert_frame_equal(copy.steps(), run.steps())
    assert copy.status == "finished"
