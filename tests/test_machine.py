"""What the Makefile says on a machine that lacks something."""

import builtins
import runpy
import sys
from pathlib import Path

import pytest

MACHINE = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "machine.py"))


def test_this_machine_will_do() -> None:
    assert MACHINE["main"]() == 0


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    assert MACHINE["main"]() == (
        "gradlens needs Python 3.11 or newer; this one is 3.9.2. "
        "Install a newer one and name it: make demo PYTHON=python3.12"
    )


def test_a_missing_venv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name == "ensurepip":
            raise ImportError(name="ensurepip")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    assert MACHINE["main"]() == (
        "this Python cannot make environments (no module ensurepip). On Debian or Ubuntu: apt-get install python3-venv"
    )
