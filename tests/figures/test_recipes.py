"""A saved figure is drawn again from its recipe, byte for byte, or a sentence says why it cannot be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import gradlens
from gradlens import figures
from gradlens.figures.recipe import content
from gradlens.store import Run, RunError, RunWriter, compact_run

WriteRun = Callable[..., Run]
FEW = {"smoothing": 0.1, "steps": (0, 30), "labels": ["one"]}


@pytest.fixture
def saved(tmp_path: Path, write_run: WriteRun) -> Path:
    """A folder with a run, and a figure of it."""
    run = write_run(tmp_path / "work" / "runs", steps=40)
    figure = figures.draw("training_dynamics", [run], **FEW)
    figures.save(figure, tmp_path / "work" / "paper" / "one", ("svg",), "neurips2024", "half")
    return tmp_path / "work"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name.partition(".")[2]: path.read_bytes() for path in folder.iterdir()}


def test_a_recipe_draws_the_figure_again_wherever_the_folder_lies(saved: Path, tmp_path: Path) -> None:
    before = files(saved / "paper")
    assert set(before) == {"svg", "csv", "caption.txt", "recipe.json"}
    moved = tmp_path / "elsewhere"
    saved.rename(moved)
    figures.redraw(moved / "paper" / "one.recipe.json", moved / "again" / "one")
    assert files(moved / "again") == before
    figures.redraw(moved / "paper" / "one.recipe.json")
    assert files(moved / "paper") == before


def test_a_recipe_says_what_the_figure_was_made_of(saved: Path) -> None:
    held = json.loads((saved / "paper" / "one.recipe.json").read_text())
    (entry,) = held.pop("runs")
    assert held == {
        "figure": "training_dynamics",
        "arguments": {"smoothing": 0.1, "steps": [0, 30], "labels": ["one"]},
        "gradlens": gradlens.__version__,
        "style": "neurips2024",
        "column": "half",
        "formats": ["svg"],
    }
    (run,) = gradlens.open_runs(saved)
    assert entry == {
        "path": f"../runs/{run.run_id}", "run_id": run.run_id, "name": "run", "steps": 40, "content": content(run),
    }  # fmt: skip


def test_runs_that_moved_are_known_by_their_ids(saved: Path, tmp_path: Path) -> None:
    before = files(saved / "paper")
    (saved / "runs").rename(tmp_path / "moved")
    with pytest.raises(RunError, match=r"run 'run' \(2\d+-\d+-\w+\) is missing: .* does not exist; .* redraw"):
        figures.redraw(saved / "paper" / "one.recipe.json")
    figures.redraw(saved / "paper" / "one.recipe.json", tmp_path / "b" / "one", gradlens.open_runs(tmp_path / "moved"))
    again = files(tmp_path / "b")
    assert {name: data for name, data in again.items() if name != "recipe.json"} == {
        name: data for name, data in before.items() if name != "recipe.json"
    }


def test_content_is_of_the_numbers_not_of_the_files(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "run", {}, [])
    for step in range(20):
        writer.append({"step": step, "loss": 1.0}, {})
    writer.flush()
    running = content(gradlens.open_run(writer.path))
    writer.close("finished")
    run = gradlens.open_run(writer.path)
    assert content(run) == running
    compact_run(run.path)
    assert content(gradlens.open_run(run.path)) == running
    copy = shutil.copytree(run.path, tmp_path / "copy")
    assert content(gradlens.open_run(copy)) == running
    resumed = RunWriter.resume(run.path, {}, [])
    resumed.append({"step": 20, "loss": 1.0}, {})
    resumed.close("finished")
    assert content(gradlens.open_run(run.path)) != running


def test_a_run_that_changed_is_not_drawn(saved: Path) -> None:
    recipe = saved / "paper" / "one.recipe.json"
    held = json.loads(recipe.read_text())
    for change, why in (
        ({"steps": 12}, r"run 'run' has changed since the figure was drawn \(12 steps then, 40 now\); draw it anew"),
        ({}, r"has changed since the figure was drawn \(other numbers than then\)"),
        ({"run_id": "another"}, r"holds another run than 'run' \(another\)\."),
    ):
        other = held | {"runs": [held["runs"][0] | {"content": "sha256:0"} | change]}
        (saved / "other.recipe.json").write_text(json.dumps(other).replace("../runs", "runs"))
        with pytest.raises(RunError, match=why):
            figures.redraw(saved / "other.recipe.json")
    assert not (saved / "other.svg").exists()


@pytest.mark.parametrize("text", ["{}", '{"figure": "x", "runs": [{}]}', "[]", "no json"])
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.recipe.json").write_text(text)
    with pytest.raises(RunError, match=r"x\.recipe\.json"):
        figures.redraw(tmp_path / "x.recipe.json")
    with pytest.raises(RunError, match=r"nothing\.json does not exist; give the \.recipe\.json that lies beside"):
        figures.redraw(tmp_path / "nothing.json")


def test_a_figure_without_a_source_has_no_recipe(saved: Path, tmp_path: Path) -> None:
    whole = figures.training_dynamics(gradlens.open_runs(saved))
    written = figures.save(whole, tmp_path / "plain" / "one", ())
    assert [path.suffix for path in written] == [".csv", ".txt"]
    assert figures.draw("training_dynamics", gradlens.open_runs(saved)).only(0).source is None
