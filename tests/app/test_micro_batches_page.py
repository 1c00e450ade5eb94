"""The Micro-batches page: a sweep, a prediction, draggers, and what to record where there is none of it."""

from __future__ import annotations

from pathlib import Path

from micro_batch_sweep import write_sweep

import gradlens
from gradlens.analysis import domain_detections
from gradlens.analysis.recorded_micro_batches import NO_FROZEN, NO_SWEEP, NO_TABLE
from gradlens.figures.figure import Line, Points, Text
from gradlens_app import create_app
from gradlens_app.data import Data
from gradlens_app.looking import CHOSEN_FOR_YOU, Shown, drawn, look, words
from gradlens_app.page import Words
from gradlens_app.pages.micro_batches import PAGE

from .asking import keys_of
from .conftest import add_steps, begin_run

NAMES = [f"sweep-{place}" for place in range(4)]
NAMES += ["predicted", "micro-batches-0", "micro-batches-1", "micro-batches-2", "domains", "noise"]


def see(root: Path, search: str = "") -> tuple[Shown, Words]:
    found = look(PAGE, Data([root], fresh=0), search)
    return found, words(found.answer)


def test_a_sweep_has_its_best_size_prediction_and_hit_rate(sweep: Path) -> None:
    found, told = see(sweep)
    assert [chart.name for chart in found.answer.charts] == NAMES
    assert found.answer.notes[0] == CHOSEN_FOR_YOU
    best, pruning, predicted, noise = told.tiles
    assert best.values[0][0] == predicted.values[0][0] == "b = 16"
    assert any(note.startswith("by test_accuracy: b = 16") for note in best.notes)
    assert "no control was run: match_step(micro_batch())" in pruning.notes
    assert predicted.notes[-1] == (
        "hit rate: 1 of 1 learning rates within a factor 2 of the sweep's best, exact 95 % interval 0.03 to 1.00; "
        "always guessing b = 16 hits 1"
    )
    assert float(noise.values[0][0]) > 0
    norm = drawn(found.answer.charts[0]).panels[0]
    assert norm.title == "Gradient norm at T = 119"
    assert any(isinstance(mark, Line) and mark.label == "predicted from one run" for mark in norm.marks)
    assert all(mark.error_low is not None for mark in norm.marks if isinstance(mark, Points))
    assert told.problems == ()


def test_the_address_says_what_is_asked(sweep: Path) -> None:
    found, told = see(sweep, "?memorise=no&better=smaller&metric=test_accuracy&lr=0.7")
    assert found.entries
    assert told.tiles[0].title.startswith("best b by noise floor, lr 0.5, since there is no sweep at lr 0.7")
    assert any("by test_accuracy: b = 4" in note or "by test_accuracy: b = 64" in note for note in told.tiles[0].notes)
    for search, expected in {
        "?lr=fast": "lr= expects a number from 0 to 1e+09.",
        "?better=best": "better= expects one of larger, smaller.",
        "?memorise=x": "memorise= expects one of yes, no.",
    }.items():
        assert see(sweep, search)[0].answer.notes == (expected,)
    nothing = drawn(see(sweep, "?metric=<b>x</b>")[0].answer.charts[3]).panels[0]
    assert isinstance(nothing.marks[0], Text)


def test_one_run_is_chosen_by_the_address(sweep: Path) -> None:
    detailed = gradlens.open_runs(sweep)[0]
    found, _ = see(sweep, f"?run={detailed.run_id}")
    assert found.answer.notes[-1].endswith(f"are of {detailed.name}.")
    # A run that has no such detail leaves it to the first that has.
    other = gradlens.open_runs(sweep)[-1]
    assert see(sweep, f"?run={other.run_id}")[0].answer.notes[-1].endswith(f"are of {detailed.name}.")


def test_domains_stand_out_by_length_and_cosine(sweep: Path) -> None:
    found = domain_detections(gradlens.open_runs(sweep)[0], tries=49)
    music, speech = sorted(found.domains, key=lambda each: -each.by_norm.value)
    assert (music.domain, speech.domain) == ("<b>music</b>", "speech")
    assert music.by_norm.value > 0.95
    assert music.by_cosine.value == 1
    assert music.by_norm.value + speech.by_norm.value == 1
    assert music.count == speech.count == 240


def test_runs_without_micro_batches_say_what_to_record(read_pair: Path) -> None:
    found, told = see(read_pair, "?runs=" + ",".join(keys_of(read_pair)))
    assert found.answer.charts == ()
    assert found.answer.notes == (NO_SWEEP, NO_FROZEN, NO_TABLE)
    assert [tile.values[0][0] for tile in told.tiles] == ["–"] * 4
    with create_app(read_pair).server.test_client() as client:
        answer = client.get(f"/export/micro-batches.pdf?runs={keys_of(read_pair)[0]}")
    assert answer.status_code == 400
    assert answer.text == NO_SWEEP


def test_runs_of_several_tasks_are_told_apart(tmp_path: Path) -> None:
    write_sweep(tmp_path, sizes=(4,), seeds=1, width=8)
    write_sweep(tmp_path, sizes=(4, 16), seeds=1, width=16)
    found, _ = see(tmp_path)
    assert len(found.entries) == 2  # the larger task
    found, told = see(tmp_path, "?runs=" + ",".join(keys_of(tmp_path)))
    assert any("their config differs in width ('16', '8')" in note for note in found.answer.notes)
    assert "differs in width" in " ".join(told.tiles[0].notes)
    assert not any(chart.name.startswith("sweep") for chart in found.answer.charts)


def test_a_damaged_run_and_one_under_way_leave_the_sweep_alone(tmp_path: Path) -> None:
    write_sweep(tmp_path, sizes=(4, 16), seeds=2)
    victim = gradlens.open_runs(tmp_path)[-1]
    next((victim.path / "steps").iterdir()).write_bytes(b"PAR1")
    writer = begin_run(tmp_path, "live", lr=0.5, seed=9)
    add_steps(writer, 0, 20)
    found, told = see(tmp_path, "?runs=" + ",".join(keys_of(tmp_path)))
    assert any("is damaged or cut short" in text for text in told.problems)
    assert told.tiles[0].values[0][0] == "b = 16"
    assert any("runs left out, such as" in note for note in told.tiles[0].notes)
    assert all(drawn(chart).panels[0].marks for chart in found.answer.charts)
    writer.close("stopped")
