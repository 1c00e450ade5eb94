"""Progress on a terminal, and none without one."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from recorded import Capture, begin, export


def on_a_terminal(arguments: list[str]) -> tuple[int, str]:
    """Run gradlens with its stderr on a terminal; its exit code and what the terminal got."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "gradlens", *arguments],
        stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm", "PYTHONFAULTHANDLER": "1"},
    )  # fmt: skip
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return process.wait(30), said.decode()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "csv", "{run}", "--out", "{out}"], ("exporting", "400/400", "rows")),
        (["compact", "{run}"], ("compacting", "1/1", "runs")),
        (["info", "{run}"], ("reading every byte",)),
    ],
)
def test_a_terminal_shows_progress(tmp_path: Path, arguments: list[str], said: tuple[str, ...]) -> None:
    path = begin(tmp_path / "root", name="[red]\x1b[2J").path
    given = [argument.format(run=path, out=tmp_path / "a.csv") for argument in arguments]
    code, shown = on_a_terminal(given)
    assert code == 0, shown
    for text in said:
        assert text in shown
    assert "\x1b[2J" not in shown


def test_without_a_terminal_there_is_no_progress(tmp_path: Path, capsys: Capture) -> None:
    path = begin(tmp_path / "root").path
    export("csv", path, "--out", tmp_path / "a.csv")
    assert capsys.readouterr().err == ""
