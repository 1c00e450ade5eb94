"""A process that answers one run after another, and whose death is noticed."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from gradlens.store import Run

Told = tuple[Any, str, bool]
"""An answer, or None; why there is none; whether the arguments are to blame."""
Ask = Callable[[Callable[..., Any], Run, tuple[Any, ...]], Told]

_LAST_BREATH = 5.0  # seconds from the end of its pipe to the end of a process
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Worker:
    """A spawned process with a question.

    Args:
        ask: puts the question to a run; never raises.
        question: that is put.
        arguments: of the question.

    Attributes:
        place: of the run that it was given; None while it starts, or has nothing to do.
    """

    def __init__(self, ask: Ask, question: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.place: int | None = None
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs, ask, question, arguments), daemon=True)
        with _undisturbed():
            self._process.start()
        theirs.close()

    def give(self, place: int, run: Run) -> None:
        """Give it a run; :meth:`take` tells if it is dead."""
        self.place = place
        with suppress(OSError):
            self.connection.send(run)

    def take(self) -> Told | None:
        """What it says: None if that it has begun.

        Raises:
            EOFError: if it is dead.
        """
        try:
            told: Told | None = self.connection.recv()
        except (OSError, EOFError) as error:
            self._process.join(_LAST_BREATH)
            raise EOFError from error
        self.place = None
        return told

    def end(self) -> str:
        """End it; says how it had ended if it was dead."""
        code = self._process.exitcode
        self.connection.close()
        self._process.terminate()
        self._process.join()
        return f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"


def first_ready(workers: Sequence[Worker]) -> list[Worker]:
    """Those that have something to say, or are dead; waits for the first."""
    ready = multiprocessing.connection.wait([worker.connection for worker in workers])
    return [worker for worker in workers if worker.connection in ready]


def _serve(connection: Connection, ask: Ask, question: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    with suppress(EOFError, OSError):  # or is gone
        connection.send(None)
        while True:
            run = connection.recv()
            told = ask(question, run, arguments)
            try:
                connection.send(told)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                connection.send((None, f"run {run.name!r}: its answer cannot leave the process: {error}.", False))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What is started meanwhile has one thread of BLAS, and does not see Ctrl-C before it can ignore it."""
    own = {name: "1" for name in _THREADS if name not in os.environ}
    os.environ.update(own)  # BLAS reads them as it is loaded, before any code of ours
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name in own:
            del os.environ[name]
