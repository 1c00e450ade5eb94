"""What a page is: a question, the controls that put it, and one function that answers it with tiles and charts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gradlens.figures.figure import Figure
from gradlens_app.controls import Control
from gradlens_app.data import Data, Entry
from gradlens_app.view import View

if TYPE_CHECKING:
    from dash import Dash
    from dash.development.base_component import Component


@dataclass(frozen=True, slots=True)
class Tile:
    """A number that answers a part of the question.

    Attributes:
        title: what it is.
        values: (text, colour role, whose it is) of each number, in a row with arrows between two.
        notes: what is better, and what to doubt.
    """

    title: str
    values: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """One set of axes on a page.

    Attributes:
        name: tells it apart on its page, in addresses and files: letters, digits, hyphens.
        title: what stands over it until it is drawn, and what it is called to a screen reader.
        draw: gives a figure of one panel; called when the browser asks for the chart.
        curves: whether x is the page's clock: then a zoom is all such charts' zoom, and so is the pointer.
        log: whether x and y are logarithmic unless the reader flips them; None where they cannot be flipped.
        legend: whether its colours stand for something else than runs, which the page's head names.
    """

    name: str
    title: str
    draw: Callable[[], Figure]
    curves: bool = False
    log: tuple[bool, bool] | None = None
    legend: bool = False

    def scales(self, view: View) -> tuple[bool, bool]:
        """Whether x and y are logarithmic in a view."""
        x, y = self.log or (False, False)
        return x != (f"{self.name}:x" in view.flipped), y != (f"{self.name}:y" in view.flipped)


@dataclass(frozen=True, slots=True)
class Words:
    """What a page says beside its charts.

    Attributes:
        tiles: the answer in numbers, before the charts.
        problems: a sentence for each thing that is damaged, lost or left out.
        caption: of all charts together, as under the figure in a paper.
        unfinished: whether more would be known if it were asked again.
    """

    tiles: tuple[Tile, ...] = ()
    problems: tuple[str, ...] = ()
    caption: str = ""
    unfinished: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page shows of a view. Making it is quick: what takes time waits in ``draw`` and ``words``.

    Attributes:
        charts: in reading order.
        words: gives the tiles and the caption; called beside the charts, so that neither waits for the other.
        notes: sentences about what is shown, or why nothing is.
    """

    charts: tuple[Chart, ...] = ()
    words: Callable[[], Words] = Words
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the dashboard.

    Attributes:
        path: of its address, as in ``/dynamics``.
        title: in the rail and over the page.
        question: what it answers, in a sentence under the title.
        answer: from the data, the runs chosen and the view to what is shown.
        controls: what the reader can set; each is a field of the address.
        body: for a page that is no set of charts: gives its content.
        connect: for such a page: adds its callbacks.
        most: how many runs it takes.
        choose: which runs are shown where the address chooses none.
    """

    path: str
    title: str
    question: str
    answer: Callable[[Data, Sequence[Entry], View], Answer] | None = None
    controls: tuple[Control, ...] = ()
    body: Callable[[Data], Component] | None = None
    connect: Callable[[Dash, Data], None] | None = None
    most: int = 100
    choose: Callable[[Sequence[Entry]], tuple[Entry, ...]] | None = None

    @property
    def name(self) -> str:
        """In the addresses of its exports."""
        return self.path.strip("/") or "runs"


def panels(name: str, titles: Sequence[str], draw: Callable[[], Figure], **chart: Any) -> tuple[Chart, ...]:
    """A chart for each panel of a figure from the gallery.

    Args:
        name: of the figure; the panels' names count on from it.
        titles: of its panels, known before it is drawn.
        draw: gives the whole figure.
        chart: further attributes of the charts.
    """

    def one(index: int) -> Callable[[], Figure]:
        def only() -> Figure:
            figure = draw()
            # A figure that has nothing to show may have a single panel, which says why.
            return figure.only(min(index, len(figure.panels) - 1))

        return only

    return tuple(Chart(f"{name}-{index}", title, one(index), **chart) for index, title in enumerate(titles))


def whole(name: str, answer: Answer) -> Figure:
    """All charts of an answer as one figure."""
    figures = [chart.draw() for chart in answer.charts]
    shown = tuple(panel for figure in figures for panel in figure.panels)
    caption = answer.words().caption or " ".join(figure.caption for figure in figures)
    return replace(figures[0], name=name, panels=shown, caption=caption, columns=min(2, len(shown)))
