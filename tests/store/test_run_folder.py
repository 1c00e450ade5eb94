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
from gradlens.store import Disk, Run, RunWriter, compact_run, merging, sealing, snapshot
from gradlens.store.layout import SegmentName

WriteRun = Callable[..., Run]
PARAMETERS = [("a.weight", (2, 3), "float32", 0), ("b", (), "float32", 1)]


def writer(root: Path, **options: object) -> RunWriter:
    return RunWriter.create(root, "run", {}, PARAMETERS, **options)  # type: ignore[arg-type]


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


def small_logs(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("gradlens.store.session.SEAL_ROWS", rows)
    monkeypatch.setattr("gradlens.store.session.BLOCK", 1)  # a log may end anywhere


def test_a_name_that_comes_late_is_null_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_logs(monkeypatch, 10)
    w = writer(tmp_path)
    for step in range(35):
        w.append({"step": step, "loss": float(step)} | ({"late": 1.0} if step >= 20 else {}), {})
    w.flush()
    live = gradlens.open_run(w.path)
    assert live.series("late")[0].tolist() == list(range(20, 35))  # from segments and from the log alike
    w.close("finished")
    assert len(list((w.path / "steps").iterdir())) == 1  # one segment, the union of the columns
    assert pd.read_parquet(w.path / "steps")["late"].isna().sum() == 20
    assert gradlens.open_run(w.path).series("loss")[1].tolist() == list(range(35))


def test_tensors_come_back_by_name_and_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_logs(monkeypatch, 300)  # seals in the middle of a block
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


def test_a_run_that_closes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sealing and compaction replace what a reader has just listed."""
    small_logs(monkeypatch, 10)
    take = snapshot.take
    for question in ("columns", "series", "tensors"):
        w = writer(tmp_path)
        for step in range(25):
            w.append({"step": step}, {"grad_norm": np.ones(2, dtype=np.float32)})
        w.flush()
        run = gradlens.open_run(w.path)

        def take_then_close(path: Path, w: RunWriter = w) -> snapshot.Snapshot:
            found = take(path)
            w.close("finished")
            return found

        monkeypatch.setattr(snapshot, "take", take_then_close)
        answers = {
            "columns": lambda run=run: run.columns,
            "series": lambda run=run: run.series("step")[0],
            "tensors": lambda run=run: run.tensors("grad_norm"),
        }
        assert len(answers[question]()) == {"columns": 3, "series": 25, "tensors": 50}[question]
        monkeypatch.setattr(snapshot, "take", take)
        assert len(run.series("step")[0]) == 25


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="directory"):
        Disk().write(target, b"a file cannot replace a folder")
    assert list(tmp_path.iterdir()) == [target]


def test_a_copied_run_is_the_same_run(tmp_path: Path, write_run: WriteRun) -> None:
    run = write_run(steps=30)
    copy = gradlens.open_run(shutil.copytree(run.path, tmp_path / "copy"))
    pd.testing.assert_frame_equal(copy.steps(), run.steps())
    assert copy.status == "finished"


def test_a_log_that_another_process_takes_for_a_dead_ones_is_left_to_it(tmp_path: Path) -> None:
    """Between a log's creation and its lock, who tidies up may seal it: its rows would go to a removed file."""

    class Meddled(Disk):
        meddle = True

        def create(self, path: Path) -> int:
            handle = super().create(path)
            if path.suffix == ".log" and self.meddle:
                self.meddle = False
                sealing.tidy(Disk(), path.parent)
            return handle

    w = writer(tmp_path, disk=Meddled())
    for step in range(5):
        w.append({"step": step}, {})
    w.flush()
    assert [path.name for path in w.path.glob("active-*")] == ["active-0-1.log"]
    w.close("finished")
    run = gradlens.open_run(w.path)
    assert run.series("step")[0].tolist() == list(range(5))
    assert run.problems == ()


def test_only_a_dead_sessions_log_is_tidied_away(tmp_path: Path) -> None:
    w = writer(tmp_path)
    w.append({"step": 0}, {})
    w.flush()
    assert sealing.tidy(Disk(), w.path) == (0,)
    assert list(w.path.glob("active-*.log"))
    assert compact_run(w.path) == (0,)
    w.append({"step": 1}, {})
    w.close("finished")
    assert compact_run(w.path) == ()
    assert gradlens.open_run(w.path).series("step")[0].tolist() == [0, 1]


def test_a_run_is_running_from_its_first_moment(tmp_path: Path) -> None:
    w = writer(tmp_path)
    assert gradlens.open_run(w.path).status == "running"
    w.close("stopped")
    assert gradlens.open_run(w.path).status == "stopped"


def test_a_merge_never_reaches_over_a_segment_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows would be hidden should it be restored, and the next merge would remove it."""
    small_logs(monkeypatch, 10)
    monkeypatch.setattr("gradlens.store.session.Session.compact", lambda *_: None)
    w = writer(tmp_path)
    for step in range(50):
        w.append({"step": step}, {"grad_norm": np.ones(2, dtype=np.float32)})
    w.close("finished")
    (middle,) = (w.path / "steps").glob("seg-0-20-29-*")
    data = middle.read_bytes()
    middle.write_bytes(data[:-50])
    compact_run(w.path)
    run = gradlens.open_run(w.path)
    assert run.series("step")[0].tolist() == [*range(20), *range(30, 50)]
    assert len(list((w.path / "steps").iterdir())) == 3
    middle.write_bytes(data)
    assert run.series("step")[0].tolist() == list(range(50))
    compact_run(w.path)
    assert run.series("step")[0].tolist() == list(range(50))
    assert len(list((w.path / "steps").iterdir())) == 1


def test_a_run_of_version_1_that_is_compacted_says_that_it_holds_newer_segments(tmp_path: Path) -> None:
    (source,) = [run.path for run in gradlens.open_runs("sample_runs")[:1]]
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    before = gradlens.open_run(copy).steps()
    compact_run(copy)
    assert json.loads((copy / "run.json").read_text())["schema_version"] == 3
    pd.testing.assert_frame_equal(gradlens.open_run(copy).steps(), before)
    with pytest.raises(ValueError, match=r"is not a run: it holds no run\.json"):
        compact_run(tmp_path)


def test_a_run_of_no_parameters_is_whole(tmp_path: Path) -> None:
    w = RunWriter.create(tmp_path, "run", {}, [])
    w.append({"step": 0}, {})
    w.close("finished")
    run = gradlens.open_run(w.path)
    assert run.parameters == ()
    assert run.verify() == ()


def test_a_thinned_run_that_is_resumed_in_the_middle_of_a_block_can_be_asked(tmp_path: Path) -> None:
    w = writer(tmp_path)
    for step in range(600):
        w.append({"step": step}, {"grad_norm": np.full(2, step, dtype=np.float32)})
    w.close("finished")
    merging.thin(Disk(), w.path, 1)
    again = RunWriter.resume(w.path, {}, PARAMETERS)
    for step in range(300, 310):
        again.append({"step": step}, {"grad_norm": np.full(2, -step, dtype=np.float32)})
    again.close("finished")
    run = gradlens.open_run(w.path)
    assert run.tensor_blocks("grad_norm", "b")["max"].tolist() == [255.0, -300.0]
    assert run.tensors("grad_norm", "b")["step"].tolist() == list(range(300, 310))
    assert run.verify() == ()
