"""One question to many runs: in this process while that is quick, in several where it is not."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from gradlens.analysis.processes import Told, Worker, first_ready
from gradlens.store import Run, RunError

A = TypeVar("A")

WORTH_SECONDS: Final = 4.0
"""Work left from which on processes are started; each takes about a second to begin."""
MOST_PROCESSES: Final = 16
_AHEAD = 4  # runs asked before their turn, for each process


@dataclass(frozen=True, slots=True)
class Outcome(Generic[A]):
    """What came of asking one run.

    Attributes:
        run: that was asked.
        answer: None where there is none.
        problem: empty, or a sentence that says why there is no answer.
        refused: whether the question's arguments do not fit, to this run or at all.
    """

    run: Run
    answer: A | None
    problem: str = ""
    refused: bool = False


def over(
    question: Callable[..., A], runs: Sequence[Run], *arguments: Any, processes: int | None = None
) -> Iterator[Outcome[A]]:
    """Put a question to each of many runs.

    A process holds one run at a time, and an answer leaves it pickled: let ``question`` reduce a run to what is wanted.
    What goes wrong with one run is a sentence in its outcome, also where a process dies of it; the others go on.
    Processes are spawned, so that a script that calls this needs ``if __name__ == "__main__":``. Each has one thread
    of BLAS. They end with the iterator.

    Args:
        question: takes a run and the arguments, and depends on nothing else; a function of a module, so that another
            process can import it.
        runs: to ask.
        arguments: further arguments of the question, which can be pickled.
        processes: how many; 1 is none but this one. None begins in this process, and starts one for each core (at most
            16) once those asked so far tell that the others would take longer than four seconds.

    Yields:
        An outcome for each run, in their order.

    Raises:
        ValueError: if ``processes`` is below 1.
        TypeError: if ``processes`` is above 1 and the question cannot go to another process.

    >>> [outcome.answer for outcome in over(len, [])]
    []
    """
    if processes is not None and (isinstance(processes, bool) or processes < 1):
        raise ValueError(f"processes must be 1 or more, or None; got {processes!r}.")
    if (processes or 1) > 1 and not _can_travel(question, arguments):
        raise TypeError(f"another process cannot import the question; give a function of a module, not {question!r}.")
    return _outcomes(question, list(runs), arguments, processes)


def _outcomes(
    question: Callable[..., A], runs: list[Run], arguments: tuple[Any, ...], processes: int | None
) -> Iterator[Outcome[A]]:
    begun, done = time.monotonic(), 0
    most = min(processes or min(_cores(), MOST_PROCESSES), len(runs))
    elsewhere = most > 1 and (processes is not None or _can_travel(question, arguments))
    if processes is None or not elsewhere:
        for run in runs:
            yield Outcome(run, *asked(question, run, arguments))
            done += 1
            left = (time.monotonic() - begun) / done * (len(runs) - done)
            if elsewhere and left > WORTH_SECONDS:
                break
    if done < len(runs):
        yield from _by_processes(question, runs[done:], arguments, min(most, len(runs) - done))


def asked(question: Callable[..., A], run: Run, arguments: tuple[Any, ...]) -> Told:
    """The answer; or None, the sentence that says why there is none, and whether the arguments are to blame.

    >>> asked(int, "x", ())[1:]
    ("invalid literal for int() with base 10: 'x'", True)
    """
    try:
        return question(run, *arguments), "", False
    except (ValueError, TypeError) as error:
        return None, str(error), True
    except MemoryError:
        return None, f"run {run.name!r} does not fit into memory.", False
    except (RunError, OSError) as error:
        return None, str(error), False
    except Exception as error:  # a run that nobody thought of must not cost the answers of the others
        return None, f"run {run.name!r} has no answer: {type(error).__name__}: {error}.", False


def _by_processes(
    question: Callable[..., A], runs: list[Run], arguments: tuple[Any, ...], count: int
) -> Iterator[Outcome[A]]:
    """Outcomes in order. Workers are in ``busy`` while they start or answer, and in ``idle`` else."""
    busy, idle = [Worker(asked, question, arguments) for _ in range(count)], list[Worker]()
    found: dict[int, Told] = {}
    given = 0
    try:
        for turn, asking in enumerate(runs):
            while turn not in found:
                while idle and given < min(len(runs), turn + _AHEAD * count):
                    busy.append(idle.pop())
                    busy[-1].give(given, runs[given])
                    given += 1
                if not busy:  # none could be started
                    found[turn] = asked(question, asking, arguments)
                    given = turn + 1
                for worker in first_ready(busy) if busy else ():
                    busy.remove(worker)
                    place = worker.place
                    try:
                        told = worker.take()
                    except EOFError:
                        ended = worker.end()
                        if place is not None:
                            found[place] = None, _died(runs[place], ended), False
                            busy.append(Worker(asked, question, arguments))
                        continue
                    idle.append(worker)
                    if place is not None and told is not None:
                        found[place] = told
            yield Outcome(asking, *found.pop(turn))
    finally:
        for worker in (*busy, *idle):
            worker.end()


def _died(run: Run, ended: str) -> str:
    return (
        f"run {run.name!r} has no answer: the process that read it was ended {ended}; "
        "memory may have run out, try processes=1, or --jobs 1."
    )


def _can_travel(question: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    try:
        pickle.dumps((question, arguments))
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
