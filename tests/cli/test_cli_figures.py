"""``gradlens analyze`` and ``gradlens export figure`` as a person and as a script meet them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import gradlens
from gradlens import analysis, clipping
from gradlens.cli import main
from gradlens.cli.questions import QUESTIONS
from gradlens.store import Run

WriteRun = Callable[..., Run]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def run(tmp_path: Path, write_run: WriteRun) -> Run:
    return write_run(tmp_path / "root", name="plain", steps=60)


def test_thresholds_says_which_steps_a_rule_would_have_clipped(run: Run, capsys: Capture) -> None:
    answer = analysis.thresholds(run, clipping.autoclip(10))
    assert main(["analyze", "thresholds", str(run.path), "--percentile", "10"]) == 0
    head, row, *rest = capsys.readouterr().out.splitlines()
    columns = ("name", "steps", "clipped", "early", "middle", "late", "last threshold", "median coef", "NaN or inf")
    found = [" ".join(cell.split()) for cell in head.split("  ") if cell.strip()]
    assert found[:7] == list(columns[:7])
    assert found[-1] == columns[-1]
    rates = [f"{100 * rate:.1f} %" for rate in (answer.rate, *answer.rate_by_phase)]
    assert row.split("  ")[0] == "plain"
    assert [cell.strip() for cell in row.split("  ") if cell.strip()][1:6] == ["60", *rates]
    assert analysis.COUNTERFACTUAL in rest
    assert rest[-1].endswith("export figure RUN --figure threshold_history --percentile 10 --out figure")


def test_thresholds_for_machines(run: Run, write_run: WriteRun, tmp_path: Path, capsys: Capture) -> None:
    write_run(tmp_path / "root", name="empty", steps=60, grad_norm=[None] * 60)
    assert main(["analyze", "thresholds", str(tmp_path / "root"), "--max-norm", "3", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    plain, empty = sorted(said["runs"], key=lambda one: one["status"])
    answer = analysis.thresholds(run, clipping.fixed(3.0))
    assert (plain["name"], plain["clipped"], plain["last_threshold"]) == ("plain", answer.rate, 3.0)
    assert list(plain["clipped_by_phase"]) == ["early", "middle", "late"]
    assert (empty["steps"], empty["clipped"], empty["last_threshold"]) == (0, None, None)
    assert said["problems"] == [empty["status"]]
    assert "has no gradient norms" in empty["status"]


def test_a_question_without_its_rule_is_wrong_use(run: Run, capsys: Capture) -> None:
    for rule, count in (([], 0), (["--percentile", "10", "--max-norm", "1"], 2)):
        assert main(["analyze", "thresholds", str(run.path), *rule]) == 2
        assert capsys.readouterr().err == (
            "gradlens: one rule is replayed: give percentile (AutoClip), max_norm (a fixed norm) or z_score (ZClip); "
            f"got {count} of them.\n"
        )
    assert main(["analyze", "thresholds", str(run.path / "nowhere"), "--max-norm", "1"]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err


def test_every_question_has_json_and_says_what_it_answers(capsys: Capture) -> None:
    for question in QUESTIONS:
        with pytest.raises(SystemExit) as end:
            main(["analyze", question.__name__.rpartition(".")[2].replace("_", "-"), "--help"])
        assert end.value.code == 0
        assert "--json" in capsys.readouterr().out


def test_a_recipe_draws_a_figure_again(run: Run, tmp_path: Path, capsys: Capture) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    options = ["--smoothing", "0", "--steps", "0", "20", "--labels", "x", "--formats", "svg", "--column", "half"]
    assert main(["export", "figure", str(run.path), *options, "--out", str(one)]) == 0
    assert main(["export", "figure", "--recipe", f"{one}.recipe.json", "--out", str(other)]) == 0
    for suffix in ("svg", "csv", "recipe.json", "caption.txt"):
        assert Path(f"{one}.{suffix}").read_bytes() == Path(f"{other}.{suffix}").read_bytes()
    run.path.rename(tmp_path / "moved")
    capsys.readouterr()
    again = ["export", "figure", "--recipe", f"{one}.recipe.json", "--out", str(tmp_path / "third"), "--json"]
    assert main(again) == 1
    assert "Say where it is now: gradlens export figure RUNS --recipe" in capsys.readouterr().err
    assert main([*again, str(tmp_path / "moved"), "--style", "aaai2024"]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == 4
    held = json.loads((tmp_path / "third.recipe.json").read_text())
    assert (held["style"], held["column"]) == ("aaai2024", "half")


def test_another_version_says_so(run: Run, tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "one")
    main(["export", "figure", str(run.path), "--formats", "svg", "--out", out])
    recipe = Path(out + ".recipe.json")
    recipe.write_text(recipe.read_text().replace(f'"{gradlens.__version__}"', '"0.0.1"'))
    capsys.readouterr()
    assert main(["export", "figure", "--recipe", str(recipe), "--out", out]) == 0
    said = f"gradlens: drawn by gradlens 0.0.1, now by {gradlens.__version__}: it may look otherwise.\n"
    assert capsys.readouterr().err == said


def test_a_film_from_the_shell(run: Run, tmp_path: Path, capsys: Capture) -> None:
    film = ["--formats", "gif", "--frames", "2", "--fps", "5", "--column", "half", "--out", str(tmp_path / "film.v1")]
    assert main(["export", "figure", str(run.path), *film, "--json"]) == 0
    written = [Path(path).name for path in json.loads(capsys.readouterr().out)["files"]]
    assert written == ["film.v1.gif", "film.v1.recipe.json", "film.v1.csv", "film.v1.caption.txt"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "name the runs to draw, or a figure to draw again with --recipe."),
        (["{run}", "--percentile", "10"], "training_dynamics takes labels, smoothing, steps; got percentile."),
        (["{run}", "--figure", "threshold_history", "--max-norm", "1", "--formats", "gif"], "gif: only training_dynam"),
        (["--recipe", "{run}/x.recipe.json", "--max-norm", "1"], "the recipe says what to draw: leave out --max-norm."),
        (["{run}", "--formats", "gif", "--fps", "0"], "fps is more than 0 and at most 50; got 0."),
    ],
)
def test_wrong_use_is_a_line(run: Run, tmp_path: Path, capsys: Capture, arguments: list[str], why: str) -> None:
    given = [argument.format(run=run.path) for argument in arguments]
    assert main(["export", "figure", *given, "--out", str(tmp_path / "f")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"gradlens: {why}")
    assert said.count("\n") == 1
    assert not list(tmp_path.glob("f.*"))
