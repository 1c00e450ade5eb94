"""The questions of ``gradlens analyze``: each file here is one, with ``add(verbs)`` and ``run(given)``."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

QUESTIONS = tuple(import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
