"""The table of figures: each is drawn of recorded runs, again from its recipe, and by one meaning an option."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradlens import figures
from gradlens.figures.drawing import Option
from gradlens.figures.figure import Figure, Text
from gradlens.store import Run


def test_every_figure_shows_something(gallery: dict[str, Figure]) -> None:
    for name, figure in gallery.items():
        assert figure.name == name
        assert not all(isinstance(mark, Text) for panel in figure.panels for mark in panel.marks), name
        for panel in figure.panels:
            assert panel.marks, (name, panel.title)
            assert panel.title, name


def test_every_caption_is_whole_sentences_with_numbers(gallery: dict[str, Figure]) -> None:
    for name, figure in gallery.items():
        assert figure.caption[:1].isupper() or figure.caption[:1] == "r", name
        assert figure.caption.rstrip().endswith("."), name
        assert "nan" not in figure.caption.split(), name
        if name != "series":
            assert any(character.isdigit() for character in figure.caption), name


@pytest.mark.parametrize("name", figures.DRAWINGS)
def test_every_figure_is_drawn_again_from_its_recipe(
    name: str, gallery: dict[str, Figure], drawn_runs: dict[str, list[Run]], tmp_path: Path
) -> None:
    figure = gallery[name] if gallery[name].source is not None else figures.draw(name, drawn_runs[name])
    written = figures.save(figure, tmp_path / name, ())
    before = {path.name: path.read_bytes() for path in written}
    assert json.loads(before[f"{name}.recipe.json"])["figure"] == name
    again = figures.redraw(tmp_path / f"{name}.recipe.json")
    assert {path.name: path.read_bytes() for path in again} == before


def test_an_option_is_of_one_kind_in_every_figure() -> None:
    kinds: dict[str, set[tuple[object, object]]] = {}
    for drawing in figures.DRAWINGS.values():
        for option in drawing.options:
            assert isinstance(option, Option)
            kinds.setdefault(option.name, set()).add((option.kind, option.number))
    assert {name for name, found in kinds.items() if len(found) > 1} == set()
