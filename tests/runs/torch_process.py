"""Scripts in processes of their own that find torch imported, which takes longer than most of them run.

One process imports it, and forks for each script. The fork runs the script and then ends as any interpreter does, with
its exit handlers, its threads and what nobody caught; so it can be killed, interrupted and left without a close.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from typing import IO, Any

LONGEST = 60.0
"""Seconds that a script may run."""
_FORK = """
import json, os, socket, sys
import torch, gradlens, gradlens.clipping
gradlens.Recorder
torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)  # brings the rest of torch
asked = socket.socket(fileno=int(sys.argv[1]))
while True:
    message, handles, _, _ = socket.recv_fds(asked, 1 << 20, 2)
    if not message:
        os._exit(0)
    child = os.fork()
    if child == 0:
        break
    for handle in handles:
        os.close(handle)
    asked.send(b"%d\\n" % child)
    asked.send(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
asked.close()
for place, handle in enumerate(handles, start=1):
    os.dup2(handle, place)
    os.close(handle)
script, *sys.argv[1:] = json.loads(message)
exec(script)
"""


class Script:
    """A script that runs.

    Attributes:
        stdout: what it prints.
    """

    def __init__(self, pid: int, stdout: IO[str], stderr: IO[bytes], said: IO[str]) -> None:
        self.stdout = stdout
        self._pid, self._stderr, self._said = pid, stderr, said

    def send_signal(self, number: int) -> None:
        """Send the process a signal."""
        os.kill(self._pid, number)

    def end(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end, a minute at most; gives exit code, negative for a signal, and what it printed since."""
        watch = threading.Timer(LONGEST, self.send_signal, [signal.SIGKILL])
        watch.start()
        with self.stdout, self._stderr:
            printed = self.stdout.read()
            code = int(self._said.readline())
            watch.cancel()
            self._stderr.seek(0)
            return subprocess.CompletedProcess("", code, printed, self._stderr.read().decode())


class TorchProcess:
    """Runs scripts one after another, each in a fork of a process that has torch, without warnings."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        self._said = self._ours.makefile("r")
        command = [sys.executable, "-W", "ignore", "-c", _FORK, str(theirs.fileno())]
        self._process: subprocess.Popen[Any] = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()

    def start(self, script: str, *arguments: str) -> Script:
        """Start a script; ``end`` it before the next."""
        read, write = os.pipe()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - the script closes it
        socket.send_fds(self._ours, [json.dumps([script, *arguments]).encode()], [write, errors.fileno()])
        os.close(write)
        return Script(int(self._said.readline()), os.fdopen(read), errors, self._said)

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script to its end."""
        return self.start(script, *arguments).end()

    def close(self) -> None:
        """End the process that forks."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._said.close()
        self._ours.close()
