"""Modules of the samples. Every sample has a ``train`` and a ``recipe``, so they are loaded apart."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SAMPLES = Path(__file__).parents[2] / "sample_runs"


@pytest.fixture(scope="session")
def separation() -> SimpleNamespace:
    """The modules of ``sample_runs/autoclip_separation``, as attributes."""
    folder = SAMPLES / "autoclip_separation"
    names = [file.stem for file in folder.glob("*.py")]
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        return SimpleNamespace(folder=folder, **{name: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(others)
