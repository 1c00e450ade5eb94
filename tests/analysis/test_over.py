"""One question to many runs: in order, equal to asking one by one, and no run's failure is another's."""

import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from gradlens import clipping
from gradlens.analysis import over, thresholds
from gradlens.store import Run

MODULE = importlib.import_module("gradlens.analysis.over")  # the package has the function under this name
WriteRun = Callable[..., Run]


def rates(run: Run, percentile: float) -> Any:
    """Where it was asked, and an answer."""
    if run.name == "kills":
        os.kill(os.getpid(), signal.SIGKILL)
    if run.name == "raises":
        raise ZeroDivisionError("of no use")
    if run.name == "refuses":
        raise ValueError("percentile does not fit.")
    if run.name == "clings":
        return lambda: run
    found = thresholds(run, clipping.autoclip(percentile))
    return os.getpid(), found.rate, float(found.thresholds[-1])


@pytest.fixture
def runs(write_run: WriteRun) -> list[Run]:
    return [write_run(name=f"run {seed}", seed=seed, steps=40) for seed in range(6)]


def renamed(runs: list[Run], names: dict[int, str]) -> list[Run]:
    return [replace(run, name=names.get(place, run.name)) for place, run in enumerate(runs)]


def test_processes_answer_as_this_one_does_and_in_order_whatever_happens_to_some(runs: list[Run]) -> None:
    alone = list(over(rates, runs, 10.0, processes=1))
    asked = renamed(runs, {1: "kills", 2: "clings", 3: "raises", 4: "refuses"})
    found = list(over(rates, asked, 10.0, processes=2))
    assert [outcome.run for outcome in found] == asked
    good = [(one.answer, other.answer) for one, other in zip(alone, found, strict=True) if other.answer]
    assert len(good) == 2
    for one, other in good:
        assert one is not None
        assert one[1:] == other[1:]
        assert one[0] == os.getpid() != other[0]
    kills, clings, raises, refuses = found[1:5]
    assert kills.problem == (
        "run 'kills' has no answer: the process that read it was ended by signal 9; memory may have run out, "
        "try processes=1, or --jobs 1."
    )
    assert clings.problem.startswith("run 'clings': its answer cannot leave the process: ")
    assert raises.problem == "run 'raises' has no answer: ZeroDivisionError: of no use."
    assert (refuses.problem, refuses.refused, raises.refused) == ("percentile does not fit.", True, False)


def test_few_or_quick_runs_start_no_process(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(MODULE, "Worker", none)
    for given, processes in ((runs, None), (runs[:1], 4), ([], 4), (runs, 1)):
        outcomes = list(over(rates, given, 10.0, processes=processes))
        assert [outcome.answer[0] for outcome in outcomes if outcome.answer] == [os.getpid()] * len(given)


def test_what_would_take_long_goes_to_processes_that_end_with_the_iterator(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(MODULE, "_cores", lambda: 2)
    asking = over(rates, runs, 10.0)
    places = [next(asking).answer[0] for _ in range(4)]
    assert places[0] == os.getpid()
    assert set(places[1:]) <= {child.pid for child in multiprocessing.active_children()}
    asking.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_what_cannot_travel_is_said_or_stays(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        TypeError, match=r"another process cannot import the question; give a function of a module, not"
    ):
        over(lambda run: run.name, runs, processes=2)
    with pytest.raises(ValueError, match=r"processes must be 1 or more, or None; got 0\."):
        over(rates, runs, 10.0, processes=0)
    assert [outcome.answer for outcome in over(lambda run: run.name, runs)] == [run.name for run in runs]
