"""A run in numbers, from its summaries: to the bit what its whole columns say."""

import dataclasses
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import gradlens
from gradlens.analysis import Summary, summarize
from gradlens.cli.answers import ask_each
from gradlens.cli.questions import thresholds as question
from gradlens.store import Disk, Run, RunWriter, layout, sealing, segments, session


def naive(run: Run) -> Summary:
    """From the data frame of everything."""
    frame = run.steps()
    columns = {
        name: frame[name].dropna().to_numpy(np.float64) if name in frame and name not in ODD else _of(run, name)
        for name in ("loss", "update_norm", "clipped", "nonfinite", "time", "overhead_ms")
    }
    moves = columns["update_norm"][len(columns["update_norm"]) // 20 :]
    moves = moves[np.isfinite(moves)]
    loss, clipped, between = columns["loss"], columns["clipped"], np.diff(columns["time"])
    return Summary(
        steps=len(frame),
        final_loss=float(loss[-max(1, len(loss) // 20) :].mean()),
        step_variation=float(moves.std() / moves.mean()),
        clipped=float(clipped.mean()),
        nonfinite=int((columns["nonfinite"] > 0).sum()),
        overhead=float(np.median(columns["overhead_ms"]) / 1e3 / np.median(between)),
        seconds=float(columns["time"][-1] - columns["time"][0]),
    )


ODD = ("loss", "update_norm")  # a data frame does not tell NaN from null


def _of(run: Run, name: str) -> Any:
    return run.series(name)[1]


def written(root: Path, steps: np.ndarray[Any, Any], outcome: str | None = "finished", onto: Run | None = None) -> Run:
    rng = np.random.default_rng(len(steps))
    weight = [("weight", (2,), "float32", 0)]
    writer = RunWriter.resume(onto.path, {}, weight) if onto else RunWriter.create(root, "run", {}, weight)
    for place, step in enumerate(steps.tolist()):
        row: dict[str, Any] = {"step": step, "time": 1.8e9 + 0.01 * step, "overhead_ms": 0.05}
        row |= {"nonfinite": int(rng.random() < 0.02) if 300 < step < 900 else 0, "clipped": bool(rng.random() < 0.3)}
        if place % 7:  # not measured at every step
            row |= {"loss": rng.random(), "update_norm": np.nan if rng.random() < 0.01 else rng.random()}
        writer.append(row, {})
        if place % 500 == 499:
            writer.flush()
    if outcome is not None:
        writer.close(outcome)
    else:
        writer.flush()
    return gradlens.open_run(writer.path)


@pytest.mark.parametrize("case", ["consecutive", "under way", "with gaps", "short"])
def test_the_numbers_of_summaries_are_those_of_the_columns(case: str, tmp_path: Path) -> None:
    steps = {"with gaps": np.flatnonzero(np.arange(1300) % 11 != 3), "short": np.arange(5)}.get(case, np.arange(1300))
    run = written(tmp_path, steps, None if case == "under way" else "finished")
    assert (run.dense is None) == (case == "with gaps")
    expected = naive(run)
    assert dataclasses.astuple(summarize(run)) == pytest.approx(
        dataclasses.astuple(expected), rel=0, abs=0, nan_ok=True
    )
    untimed = dataclasses.replace(expected, overhead=np.nan, seconds=np.nan)
    assert dataclasses.astuple(summarize(run, timed=False)) == pytest.approx(
        dataclasses.astuple(untimed), rel=0, abs=0, nan_ok=True
    )


def test_a_resumed_run_counts_each_step_once(tmp_path: Path) -> None:
    run = written(tmp_path, np.arange(1000))
    run = written(tmp_path, np.arange(700, 1300), onto=run)
    assert run.dense == range(1300)
    assert dataclasses.astuple(summarize(run)) == pytest.approx(dataclasses.astuple(naive(run)), rel=0, abs=0)


def long_run(root: Path, steps: int) -> Run:
    """A run as sealing leaves it, without pushing its rows through a log."""
    disk, step = Disk(), np.arange(steps)
    norms = np.random.default_rng(0).lognormal(size=steps)
    columns = {"step": step, "session": 0 * step, "seq": step, "loss": norms, "grad_norm": norms, "update_norm": norms}
    begun = session.start(disk, root, "long", {}, [("weight", (1,), "float32", 0)])
    table = pa.table(columns | {"lr": np.full(steps, 0.1)})
    segments.write(disk, begun.path / layout.STEPS, (0, 0, steps - 1), [table], sealing.pyramids(table))
    begun.close()
    return gradlens.open_run(begun.path)


@pytest.mark.parametrize("rule", [(None, 1.0, None), (10.0, None, None)], ids=["fixed", "autoclip"])
def test_memory_does_not_grow_with_the_number_of_runs(rule: tuple[Any, Any], tmp_path: Path) -> None:
    run = long_run(tmp_path, 4_000)

    def peak(count: int) -> int:
        tracemalloc.start()
        ask_each(1, question._ask, [run] * count, rule)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)  # what is loaded and kept the first time
    assert peak(8) < peak(1) + 8 * 8 * 4_000 // 4  # a quarter of one series a run
