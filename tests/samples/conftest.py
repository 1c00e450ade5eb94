"""Modules of the samples. Every sample has a ``train`` and a ``recipe``, so they are loaded apart."""

from __future__ import annotations

import importlib
import io
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

SAMPLES = Path(__file__).parents[2] / "sample_runs"
Remake = Callable[[str, Path], str]


@contextmanager
def importable(sample: str) -> Iterator[Path]:
    """A sample's folder, whose modules can be imported and are forgotten again."""
    folder = SAMPLES / sample
    names = [file.stem for file in folder.glob("*.py")]
    others = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield folder
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(others)


def load(sample: str) -> SimpleNamespace:
    """The modules of a sample's folder, as attributes."""
    with importable(sample) as folder:
        names = [file.stem for file in folder.glob("*.py")]
        return SimpleNamespace(folder=folder, **{name: importlib.import_module(name) for name in names})


@pytest.fixture(scope="session")
def separation() -> SimpleNamespace:
    """``sample_runs/autoclip_separation``."""
    return load("autoclip_separation")


@pytest.fixture(scope="session")
def vision() -> SimpleNamespace:
    """``sample_runs/micro_batch_vision``."""
    return load("micro_batch_vision")


@pytest.fixture(scope="session")
def convex() -> SimpleNamespace:
    """``sample_runs/micro_batch_convex``."""
    return load("micro_batch_convex")


@pytest.fixture(scope="session")
def remake() -> Remake:
    """Runs a sample's recipe in its small version into a folder, as from a shell; gives what it printed."""

    def run(sample: str, out: Path) -> str:
        said = io.StringIO()
        with importable(sample) as folder, pytest.MonkeyPatch.context() as shell, redirect_stdout(said):
            recipe = str(folder / "recipe.py")
            # Recordings go to a process of their own: one, since the other core tests something else.
            shell.setattr(sys, "argv", [recipe, "--out", str(out), "--processes", "1"])
            shell.setenv("FAST", "1")
            runpy.run_path(recipe, run_name="__main__")
        return said.getvalue()

    return run


@pytest.fixture(scope="session")
def outline() -> Callable[[Path], list[str]]:
    """Headings of a page, and the first cell of each row of its tables."""

    def of(page: Path) -> list[str]:
        lines = page.read_text().splitlines()
        return [line if line[0] == "#" else line.split("|")[1] for line in lines if line[:1] in ("#", "|")]

    return of
