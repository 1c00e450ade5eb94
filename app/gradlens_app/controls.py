"""Controls of a page: each is a field of the address, with a way to read it and a way to show it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import dash_mantine_components as dmc
from dash import html

from gradlens.store import Run
from gradlens_app.names import accessible_name
from gradlens_app.view import View, ViewError, percentage, positive

Options = Callable[[Sequence[Run]], Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Slider:
    """A number between two ends.

    Attributes:
        name: the field of the address.
        label: beside the control.
        most: the upper end.
        default: where it stands when the address does not say.
        step: between two positions.
        unit: behind the number.
        drag: whether the page follows while it is dragged.
        least: the lower end.
        when: a choice, and the value of it with which the slider is there.
    """

    name: str
    label: str
    most: float = 100
    default: float = 0
    step: float = 1
    unit: str = " %"
    drag: bool = False
    least: float = 0
    when: tuple[Choice, str] | None = None

    def read(self, view: View) -> float:
        """Its value in a view."""
        text = view.given.get(self.name, "")
        return percentage(self.name, text, self.most, self.least) if text else self.default

    def value(self, view: View) -> Any:
        """What its component shows of a view."""
        return self.read(view)

    def show(self, now: Mapping[str, Any]) -> Any:
        """Its component, with the properties it has now."""
        return dmc.Slider(
            id={"type": "slider", "name": self.name},
            min=self.least,
            max=self.most,
            step=self.step,
            label={"function": "withUnit", "options": {"unit": self.unit}},
            updatemode="drag" if self.drag else "mouseup",
            size="sm",
            thumbLabel=self.label,
            className="slider",
            **now,
        )


@dataclass(frozen=True, slots=True)
class Number:
    """A number above 0, of any size, written by the reader or by a line dragged in a chart.

    Attributes:
        name: the field of the address.
        label: beside the control.
        placeholder: what stands for no number.
        when: a choice, and the value of it with which the number is there.
    """

    name: str
    label: str
    placeholder: str = ""
    when: tuple[Choice, str] | None = None

    def read(self, view: View) -> float | None:
        """Its value in a view, None without one."""
        text = view.given.get(self.name, "")
        return positive(self.name, text) if text else None

    def value(self, view: View) -> Any:
        """What its component shows of a view."""
        found = self.read(view)
        return "" if found is None else found

    def show(self, now: Mapping[str, Any]) -> Any:
        """Its component, with the properties it has now."""
        return dmc.NumberInput(
            id={"type": "slider", "name": self.name},
            min=0,
            allowNegative=False,
            hideControls=True,
            decimalScale=12,
            placeholder=self.placeholder,
            debounce=500,
            size="xs",
            className="number-box",
            **now,
            **accessible_name(self.label),
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several.

    Attributes:
        name: the field of the address.
        label: over the control.
        options: (value, text) of each, or a function of the runs shown that gives them.
        default: the value when the address does not say.
        several: whether more than one may be chosen; the value is then a tuple.
        placeholder: what an empty one says.
        most: how many may be chosen.
        when: another choice, and the value of it with which this one is there.
    """

    name: str
    label: str
    options: Sequence[tuple[str, str]] | Options
    default: str = ""
    several: bool = False
    placeholder: str = ""
    most: int = 12
    when: tuple[Choice, str] | None = None

    def read(self, view: View) -> Any:
        """Its value in a view: a text, or several.

        Raises:
            ViewError: if it is none of the options, where those are fixed.
        """
        if self.several:
            return view.words(self.name)[: self.most]
        text = view.given.get(self.name) or self.default
        if not callable(self.options) and text not in {value for value, _ in self.options}:
            raise ViewError(f"{self.name}= expects one of {', '.join(value for value, _ in self.options)}.")
        return text

    def value(self, view: View) -> Any:
        """What its component shows of a view."""
        found = self.read(view)
        return list(found) if self.several else found or None

    def data(self, runs: Sequence[Run]) -> list[dict[str, str]]:
        """The options as its component takes them."""
        options = self.options(runs) if callable(self.options) else self.options
        return [{"value": value, "label": text} for value, text in options]

    def show(self, now: Mapping[str, Any]) -> Any:
        """Its component, with the properties it has now."""
        made = dmc.MultiSelect if self.several else dmc.Select
        return made(
            id={"type": "choice", "name": self.name},
            placeholder=self.placeholder,
            searchable=True,
            clearable=self.several or not self.default,
            nothingFoundMessage="Nothing of this name",
            comboboxProps={"shadow": "none", "position": "bottom-start", "width": 320 if self.several else 190},
            className="choice several" if self.several else "choice",
            size="xs",
            **({"maxValues": self.most, "hidePickedOptions": True} if self.several else {"allowDeselect": False}),
            **now,
            **accessible_name(self.label),
        )


Control: TypeAlias = Slider | Number | Choice


def shown(control: Control, now: Mapping[str, Any], view: View) -> html.Div:
    """A control with its label, and the properties it has now; hidden where another choice makes it idle."""
    parts = [html.Span(control.label, className="control-label"), control.show(now)]
    if control.when is None:
        return html.Div(parts, className="control")
    choice, value = control.when
    idle = choice.read(view) != value
    # The browser hides and shows it as the address changes: see ``idle`` in assets/gradlens.js.
    said: dict[str, Any] = {"data-when": choice.name, "data-is": value, "data-default": choice.default}
    return html.Div(parts, className="control hidden" if idle else "control", **said)


def as_text(value: Any) -> str:
    """A control's value as a field of the address.

    >>> as_text(["loss", "a,b"]), as_text(2.0), as_text(None)
    ('loss,a%2Cb', '2', '')
    """
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        return ",".join(str(part).replace("%", "%25").replace(",", "%2C") for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
