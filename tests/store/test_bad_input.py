"""Damaged, foreign and missing files: a sentence each, and no other run affected."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gradlens
from gradlens.store import Run, RunError

WriteRun = Callable[..., Run]


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
        path.write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        assert len(run.verify()) >= 1
        for name, (steps, values) in run.several(*run.columns).items():  # what is still given is still right
            assert len(steps) == 0 or np.array_equal(values, truth[name][1], equal_nan=True)
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
        ('{"schema_version": 99}', "expected schema version 2 or older, got 99"),
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
    import shutil

    run = write_run(steps=5)
    (run.path / "parameters-0.parquet").unlink()
    assert set(run.tensors("grad_norm")["name"]) == {"?"}
    shutil.rmtree(run.path / "tensors")
    assert run.tensors("grad_norm").empty
    assert run.problems == (f"{run.path / 'tensors'} cannot be listed: No such file or directory.",)
