"""The figures that can be asked for by name: each file here is one, and holds its ``DRAWING``."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from gradlens.figures.drawing import Drawing

DRAWINGS: dict[str, Drawing] = {
    module.name: import_module(f"{__name__}.{module.name}").DRAWING for module in iter_modules(__path__)
}
