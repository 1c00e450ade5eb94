"""``gradlens compact``: fewer files of the same numbers, and what it leaves alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from recorded import Capture, WriteRun, begin, flip, killed, record, resumed, settled, step_row

import gradlens
from gradlens.cli import main


def everything(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    run = gradlens.open_run(path)
    return run.steps(superseded=True), run.tensors("grad_norm")


def test_compacting_makes_fewer_files_of_the_same_numbers(tmp_path: Path, capsys: Capture, small_logs: None) -> None:
    path = killed(begin(tmp_path / "live"), tmp_path)
    before = everything(path)
    assert main(["compact", str(path), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["runs"]
    assert (told["before"]["segments"], told["before"]["logs"]) == (8, 1)
    assert (told["after"]["segments"], told["after"]["logs"]) == (2, 0)
    assert told["after"]["bytes"] == gradlens.open_run(path).bytes < told["before"]["bytes"]
    assert told["alive"] == []
    for old, new in zip(before, everything(path), strict=True):
        pd.testing.assert_frame_equal(old, new)


def test_compacting_says_before_and_after(tmp_path: Path, capsys: Capture, small_logs: None) -> None:
    path = killed(begin(tmp_path / "live"), tmp_path / "dead")
    assert main(["compact", str(tmp_path / "dead")]) == 0
    out = capsys.readouterr().out
    head, line = out.splitlines()[:2]
    assert head.split() == ["name", "segments", "active", "logs", "bytes", "folder"]
    assert "8 → 2" in line
    assert "1 → 0" in line
    assert line.endswith(str(path))
    assert "1 run: 7 fewer files, " in out
    assert main(["compact", str(path)]) == 0
    assert "1 run: 0 fewer files, 0 fewer bytes." in capsys.readouterr().out


def test_a_session_that_lives_is_left_alone_and_said(tmp_path: Path, capsys: Capture, small_logs: None) -> None:
    path = killed(begin(tmp_path / "live"), tmp_path)
    writer = settled(resumed(path, 400, 450))
    while list(path.glob("active-0-*")):  # which the writer seals
        time.sleep(0.01)
    assert len(list((path / "steps").iterdir())) > 1
    log = path / "active-1-0.log"
    inode = log.stat().st_ino
    assert main(["compact", str(path)]) == 0
    out = capsys.readouterr().out
    assert "run: session 1 is being written, and was left alone." in out
    assert log.stat().st_ino == inode
    assert len(list((path / "steps").iterdir())) == 1
    record(writer, [step_row(450)]).close("finished")
    assert gradlens.open_run(path).series("loss")[0].tolist() == list(range(451))


def test_what_is_no_run_is_said_and_the_others_are_compacted(tmp_path: Path, capsys: Capture, small_logs: None) -> None:
    path = killed(begin(tmp_path / "live"), tmp_path / "dead")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("{")
    wrong = [str(tmp_path / name) for name in ("nowhere", "empty", "broken")]
    assert main(["compact", *wrong, str(path), str(tmp_path / "dead"), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [run["path"] for run in told["runs"]] == [str(path)]  # once, though named twice
    assert told["runs"][0]["after"]["segments"] == 2
    for problem, why in zip(told["problems"], ("does not exist", "no runs in", "cannot be read"), strict=True):
        assert why in problem
    assert main(["compact", *wrong]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("gradlens: ") == printed.err.count("\n") == 3


def test_a_run_that_cannot_be_compacted_keeps_no_other_from_it(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sorted(begin(tmp_path, 10, name).path for name in "ab")
    done = []

    def compact_run(path: Path, tick: Callable[[], None]) -> tuple[int, ...]:
        tick()
        if path == first:
            raise OSError(28, "No space left on device")
        done.append(path)
        return ()

    monkeypatch.setattr("gradlens.cli.compact.compact_run", compact_run)
    assert main(["compact", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert f"gradlens: {first}: not compacted, nothing is lost: [Errno 28] No space left on device" in err
    assert done == [second]


def test_compacting_leaves_damage_to_be_seen(
    tmp_path: Path, capsys: Capture, small_logs: None, write_run: WriteRun
) -> None:
    path = killed(begin(tmp_path / "live"), tmp_path)
    victim = sorted((path / "steps").iterdir())[1]
    flip(victim, "loss")
    assert main(["compact", str(path)]) == 0
    assert f"what is damaged or lost was left as it is; it is named by: gradlens info {path}" in capsys.readouterr().out
    assert victim.exists()
    assert main(["info", str(path)]) == 1
