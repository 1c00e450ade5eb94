"""Processes of the benchmarks: those that take turns, and questions that are asked once."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = ROOT / ".venv-peers" / "bin" / "python"

_SETTLE = 0.1  # seconds in which a sink may finish in the background what its turn began
_ONE_CORE = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}


class Sink:
    """A process that logs, or trains, when told to.

    Args:
        python: interpreter.
        arguments: module and its arguments.
        environment: variables of its own; the libraries' threads are one each if not given.

    Attributes:
        version: of what it logs with; None where it cannot.
        error: why it cannot, None where it can.
    """

    def __init__(self, python, *arguments, environment=_ONE_CORE):
        self.version, self.error = None, None
        if not Path(python).exists():
            self.error = "no environment"
            return
        self._process = subprocess.Popen(
            [python, "-m", *map(str, arguments)],
            cwd=ROOT,
            env=os.environ | environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._take(self._read())

    def turn(self, steps):
        """Milliseconds of each call, None if it cannot."""
        found = self._ask({"steps": steps})
        time.sleep(_SETTLE)
        return [nanoseconds / 1e6 for nanoseconds in found["calls"]] if found else None

    def close(self):
        """What it says at the end, with the bytes that it wrote; None if it could not."""
        found = self._ask({"close": True})
        if found:
            self._process.communicate()
        return found

    def _ask(self, request):
        if self.error:
            return None
        with contextlib.suppress(BrokenPipeError):  # that it died is told below
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._take(self._read())

    def _read(self):
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        return {"error": f"ended with status {self._process.wait()}"}

    def _take(self, answer):
        self.error = answer.get("error")
        self.version = answer.get("version", self.version)
        return None if self.error else answer


def ask(python, *arguments):
    """The answer of a process of its own, as JSON."""
    command = [python, "-m", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | _ONE_CORE, text=True, capture_output=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")
    return json.loads(result.stdout)


def ask_own(question, path, name=""):
    """Milliseconds of gradlens' first answer, of its repeated ones, and their size."""
    return _milliseconds(ask(sys.executable, "benchmarks.reading", question, path, name))


def ask_peer(python, peer, folder, name):
    """Milliseconds of another's answer, and its size."""
    return _milliseconds(ask(python, "benchmarks.peers", "read", peer, folder, name))


def _milliseconds(answer):
    return {
        "first": 1e3 * answer["first"],
        "repeated": [1e3 * seconds for seconds in answer["repeated"]],
        "size": answer["size"],
    }
