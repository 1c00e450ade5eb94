"""From an address to what is shown, in words and drawings; whatever is wrong, there is a sentence."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gradlens.figures.figure import Axis, Figure, Panel, Text
from gradlens_app.data import Data, Entry
from gradlens_app.page import Answer, Chart, Page, Words
from gradlens_app.view import View, ViewError

logger = logging.getLogger(__name__)

NONE_CHOSEN = "No run is chosen. Choose one or more above, or on the Runs page."
CHOSEN_FOR_YOU = "The address names no runs; these were chosen for you."


@dataclass(frozen=True, slots=True)
class Shown:
    """What an address comes to: the runs, the view, and what a page answers."""

    entries: tuple[Entry, ...]
    view: View
    answer: Answer


def look(page: Page, data: Data, search: str, until: float | None = None) -> Shown:
    """What a page shows at an address; a wrong address, or a run that is gone, is met with a sentence."""
    try:
        view = View.parse(search)
        if until is not None:
            view = View.of({**view.given, "until": f"{until:g}"})
        entries, note = _chosen(page, data, view)
        if not entries or page.answer is None:
            return Shown((), view, Answer(notes=(note or NONE_CHOSEN,)))
        for control in page.controls:
            control.value(view)  # one that the answer does not read is shown all the same, and must be of its form
        answer = page.answer(data, entries, view)
    except ViewError as error:
        return Shown((), View(), Answer(notes=(str(error),)))
    notes = ((note,) if note else ()) + answer.notes
    return Shown(entries, view, replace(answer, notes=notes))


def _chosen(page: Page, data: Data, view: View) -> tuple[tuple[Entry, ...], str]:
    if view.keys is None:
        listed = data.listing().entries
        return (page.choose(listed) if page.choose else listed[: page.most]), CHOSEN_FOR_YOU
    note = (
        ""
        if len(view.keys) <= page.most
        else (f"The address names {len(view.keys)} runs; the first {page.most} are shown.")
    )
    return data.find(view.keys[: page.most]), note


def drawn(chart: Chart) -> Figure:
    """A chart's figure; where it cannot be drawn, the sentence that says so: the others are drawn all the same."""
    try:
        return chart.draw()
    except Exception:  # files of any content may be there
        logger.exception("the chart %s cannot be drawn", chart.name)
        sentence = "This cannot be drawn: what was recorded is not what it should be; the terminal says more."
        return Figure(chart.name, (Panel(chart.title, "", Axis(""), Axis(""), (Text(sentence),)),), sentence, 1)


def words(answer: Answer) -> Words:
    """What a page says beside its charts; where that fails, that it does."""
    try:
        return answer.words()
    except Exception:  # as above
        logger.exception("a page's numbers cannot be computed")
        return Words(problems=("The numbers of this page cannot be computed; the terminal of gradlens says more.",))


def cursor_of(entries: Sequence[Entry]) -> str | None:
    """Differs once one of the runs shown has changed."""
    stamps = repr([entry.stamp for entry in entries]).encode()
    return hashlib.sha256(stamps).hexdigest()[:16] if entries else None
