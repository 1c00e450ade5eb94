"""Clip rules as a run stores them: back to a rule, or into words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from gradlens.clipping.autoclip import autoclip
from gradlens.clipping.fixed import fixed
from gradlens.clipping.rule import ClipRule

FACTORIES: Final[dict[str, Callable[..., ClipRule]]] = {"autoclip": autoclip, "fixed": fixed}
"""Every rule there is, by the name that a run stores."""


def describe(spec: Mapping[str, Any] | None) -> str:
    """A run's ``clip`` entry in words, for tables and legends; any rule, also one of a newer version.

    >>> describe({"name": "autoclip", "parameters": {"percentile": 10.0, "window": None}}), describe(None)
    ('AutoClip, p = 10', 'no clipping')
    """
    if spec is None:
        return "no clipping"
    words = {"autoclip": "AutoClip", "fixed": "fixed norm"}
    letters = {"percentile": "p", "max_norm": "c"}
    parameters = spec.get("parameters")
    given = parameters.items() if isinstance(parameters, Mapping) else ()
    parts = [f"{letters.get(key, key)} = {_short(value)}" for key, value in given if value is not None]
    return ", ".join([words.get(str(spec.get("name")), str(spec.get("name"))), *parts])


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def from_spec(spec: Mapping[str, Any]) -> ClipRule:
    """The rule that a run's ``clip`` entry describes.

    Raises:
        ValueError: if the entry names no rule of this version, or its parameters do not fit.

    >>> from_spec({"name": "autoclip", "parameters": {"percentile": 10.0}})
    autoclip(percentile=10.0)
    """
    name = spec.get("name")
    parameters = spec.get("parameters", {})
    if not isinstance(name, str) or name not in FACTORIES or not isinstance(parameters, Mapping):
        raise ValueError(f"expected one of the clip rules {', '.join(sorted(FACTORIES))}; got {name!r}.")
    try:
        return FACTORIES[name](**parameters)
    except TypeError as error:
        raise ValueError(f"the clip rule {name} does not take these parameters: {dict(parameters)}.") from error
