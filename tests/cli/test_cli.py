"""The command line as a person and as a script meet it."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gradlens
from gradlens.cli import main
from gradlens.store import Run

WriteRun = Callable[..., Run]
Capture = pytest.CaptureFixture[str]
AUTOCLIP = {"name": "autoclip", "parameters": {"percentile": 10.0, "window": None}}


@pytest.fixture
def root(tmp_path: Path, write_run: WriteRun) -> Path:
    write_run(tmp_path / "root", name="plain", steps=100)
    write_run(tmp_path / "root", name="clipped", steps=100, clip=AUTOCLIP, config={"lr": 0.1})
    return tmp_path / "root"


def one_line(text: str) -> str:
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    return text.strip()


def test_list_is_a_line_a_run(root: Path, capsys: Capture) -> None:
    assert main(["list", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "name",
        "status",
        "clip",
        "steps",
        "final",
        "loss",
        "step",
        "sd/mean",
        "clipped",
        "folder",
    ]
    assert lines[1].startswith("plain    finished  no clipping")
    assert lines[2].startswith("clipped  finished  AutoClip, p = 10")
    assert lines[-1] == f"2 runs. Browse them with: gradlens show {root}"


def test_json_is_json(root: Path, capsys: Capture) -> None:
    assert main(["list", str(root), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [run["name"] for run in listed["runs"]] == ["plain", "clipped"]
    assert listed["runs"][0]["clipped"] is None  # never NaN
    run = listed["runs"][1]
    assert main(["info", run["path"], "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["steps"] == run["steps"] == 100
    assert info["clip"] == AUTOCLIP
    assert info["config"] == {"lr": 0.1}


def test_info_says_what_a_run_holds(root: Path, capsys: Capture) -> None:
    run = gradlens.open_runs(root)[1]
    assert main(["info", str(run.path)]) == 0
    out = capsys.readouterr().out
    for text in (
        "clip              AutoClip, p = 10",
        "steps             100 in",
        "norm-smoothness   r = ",
        "gradlens export figure",
    ):
        assert text in out


def test_export_writes_the_figure(root: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "figures" / "one"
    assert main(["export", "figure", str(root), "--out", str(out), "--formats", "svg"]) == 0
    assert {path.name for path in out.parent.iterdir()} == {"one.svg", "one.csv", "one.caption.txt", "one.recipe.json"}
    assert "Training dynamics." in capsys.readouterr().out
    run = str(gradlens.open_runs(root)[0].path)
    rule = ["--figure", "threshold_history", "--percentile", "10", "--formats", "svg", "--json"]
    assert main(["export", "figure", run, "--out", str(out), *rule]) == 0
    assert json.loads(capsys.readouterr().out)["figure"] == "threshold_history"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["list", "{tmp}/nowhere"], "nowhere does not exist; give the folder that your recorder writes to."),
        (["list", "{tmp}/file"], "file is a file; give the folder that your recorder writes to."),
        (["list", "{tmp}/empty"], "no runs in {tmp}/empty; record some with gradlens.Recorder"),
        (["show", "{tmp}/nowhere"], "nowhere does not exist"),
        (["show", "{tmp}/file"], "file is a file"),
        (["info", "{tmp}/empty"], "is not a run: it holds no run.json"),
        (["info", "{tmp}/file"], "is a file; give the folder of a run"),
        (["export", "figure", "{tmp}/empty", "--out", "{tmp}/f"], "no runs in {tmp}/empty"),
        (["export", "figure", "{tmp}/root", "--out", "{tmp}/file/f"], "file"),
    ],
)
def test_failures_are_one_line_and_exit_code_1(
    root: Path, tmp_path: Path, capsys: Capture, arguments: list[str], why: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 1
    line = one_line(capsys.readouterr().err)
    assert line.startswith("gradlens: ")
    assert why.format(tmp=tmp_path) in line


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["export", "figure", "{tmp}/root", "--out", "{tmp}/f", "--style", "x"], "expected one of the styles"),
        (
            ["export", "figure", "{tmp}/root", "--out", "{tmp}/f", "--figure", "threshold_history"],
            "draws one run; got 2",
        ),
        (["show", "{tmp}/root", "--host", "192.0.2.1"], "host expects a loopback address"),
        (
            ["show", "{tmp}/root", "--host", "192.0.2.1", "--token", "0123456789abcdef"],
            "host expects an address of this machine",
        ),
        (["show", "{tmp}/root", "--port", "70000"], "port expects a number from 0 to 65535"),
    ],
)
def test_arguments_outside_their_range_are_exit_code_2(
    root: Path, tmp_path: Path, capsys: Capture, arguments: list[str], why: str
) -> None:
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    assert why in one_line(capsys.readouterr().err)


def test_a_reader_that_has_seen_enough_is_no_failure(root: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m gradlens list {shlex.quote(str(root))} | true; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["/bin/bash", "-c", command], capture_output=True, text=True, check=False)
    assert (result.stdout.strip(), result.stderr) == ("0", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["list"],
        ["show"],
        ["export"],
        ["export", "figure"],
        ["info", "x", "--frobnicate"],
        ["show", "x", "--port", "y"],
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: gradlens" in capsys.readouterr().err


def test_nothing_to_do_is_help_and_exit_code_2(capsys: Capture) -> None:
    assert main([]) == 2
    assert "verbs:" in capsys.readouterr().out


def test_a_damaged_run_is_named_and_the_others_are_listed(root: Path, capsys: Capture) -> None:
    damaged = gradlens.open_runs(root)[0]
    (segment,) = (damaged.path / "steps").iterdir()
    segment.write_bytes(segment.read_bytes()[:100])
    assert main(["list", str(root)]) == 0
    printed = capsys.readouterr()
    assert "is damaged or cut short" in one_line(printed.err)
    assert "clipped  finished" in printed.out
    assert main(["info", str(damaged.path)]) == 1
    assert "is damaged or cut short" in capsys.readouterr().out


def test_names_do_not_steer_the_terminal(tmp_path: Path, write_run: WriteRun, capsys: Capture) -> None:
    write_run(tmp_path / "root", name="\x1b[2Jgone\nsecond line", steps=3)
    main(["list", str(tmp_path / "root")])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[2Jgone\\nsecond line" in out


def test_the_module_is_the_command(root: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gradlens", "list", str(root)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    assert "2 runs." in result.stdout


def test_the_demo_records_analyses_and_draws(tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--fast", "--no-show", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    runs = gradlens.open_runs(out / "runs")
    assert len(runs) == 4
    for run in runs:
        assert run.status == "finished"
        assert run.series("update_norm")[0].tolist() == list(range(400))
        assert run.series("smoothness")[0].tolist() == list(range(0, 400, 20))
        assert len(run.series("test_accuracy")[0]) == 1
    names = {path.name for path in (out / "figures").iterdir()}
    for figure in ("best_rates", "shared_rate"):
        assert {f"{figure}.{suffix}" for suffix in ("pdf", "svg", "png", "csv", "caption.txt")} <= names
    assert (out / "results.md").read_text() in printed
    assert printed.endswith(f"browse them with: gradlens show {out / 'runs'}\n")
    stamps = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    assert main(["demo", "--fast", "--no-show", "--out", str(out)]) == 0  # a finished demo is not recorded again
    assert stamps == {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}

    capsys.readouterr()
    assert main(["demo", "--no-show", "--out", str(out)]) == 1
    assert "holds this recipe with other settings" in one_line(capsys.readouterr().err)


def test_the_demo_overwrites_nothing(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "thesis.tex").write_text("")
    assert main(["demo", "--fast", "--no-show", "--out", str(tmp_path)]) == 1
    assert "is not empty and holds no finished recipe" in one_line(capsys.readouterr().err)
