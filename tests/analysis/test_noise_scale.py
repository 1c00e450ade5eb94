"""A planted noise scale is found in what a run recorded, and a run that cannot answer says why."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gradlens import analysis, open_run
from gradlens.store import RunWriter

STEPS, K, SIZE, D = 600, 4, 8, 30
MEAN = np.full(D, 0.2)
NOISE_SCALE = D / (MEAN @ MEAN)  # of standard normal noise


@dataclass
class Recording:
    """Stands in for a run: its series and its table of micro-batches."""

    table: pd.DataFrame
    named: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    name: str = "run"

    def several(self, *names: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {name: self.named[name] for name in names if name in self.named}

    def micro_batches(self) -> pd.DataFrame:
        return self.table


def recorded(*, steps: int = STEPS, k: int = K, seed: int = 0, **columns: Any) -> Recording:
    rng = np.random.default_rng(seed)
    own = MEAN + rng.standard_normal((steps, k, D)) / np.sqrt(SIZE)
    at = np.arange(steps)
    table = pd.DataFrame(
        {
            "step": np.repeat(at, k),
            "micro_batch": np.tile(np.arange(k, dtype=np.int32), steps),
            "grad_norm": np.linalg.norm(own, axis=-1).ravel(),
            "scale": 1 / k,
            "samples": pd.array([SIZE] * (steps * k), dtype="Int64"),
            "domain": None,
        }
    ).assign(**columns)
    whole = np.linalg.norm(own.mean(axis=1), axis=-1)
    return Recording(table, {"grad_norm": (at, whole), "batch_size": (at, np.full(steps, float(k * SIZE)))})


def test_a_planted_noise_scale_is_found() -> None:
    found = analysis.noise_scale(recorded(), window=200)
    low, high = found.overall.interval
    assert found.status == ""
    assert low < NOISE_SCALE < high
    assert high / low < 1.5
    assert found.overall.trace == pytest.approx(D, rel=0.02)
    assert found.steps.tolist() == list(range(STEPS))
    assert found.batch_size.tolist() == [K * SIZE] * STEPS
    assert np.isnan(found.moving[:199]).all()
    assert found.moving[199:] == pytest.approx(NOISE_SCALE, rel=0.4)
    assert found.moving[-1] == pytest.approx(found.trace[-200:].mean() / found.g_squared[-200:].mean())


def test_the_store_gives_it_what_it_reads(tmp_path: Path) -> None:
    """Written through the store, in its float32, the answer is the same."""
    stands_in = recorded(steps=40)
    writer = RunWriter.create(tmp_path, "run", {}, [])
    for step in range(40):
        rows = stands_in.table[stands_in.table["step"] == step]
        columns = {name: rows[name].tolist() for name in ("grad_norm", "scale", "samples")}
        norm = stands_in.named["grad_norm"][1][step]
        writer.append({"step": step, "grad_norm": norm, "batch_size": K * SIZE}, {}, columns)
    writer.close("finished")
    found, expected = analysis.noise_scale(open_run(writer.path)), analysis.noise_scale(stands_in)
    assert found.steps.tolist() == list(range(40))
    assert found.trace == pytest.approx(expected.trace, rel=1e-5)
    assert found.overall.value == pytest.approx(expected.overall.value, rel=1e-5)


def test_only_steps_that_are_all_there_count() -> None:
    run = recorded()
    run.table.loc[run.table["step"] == 3, "samples"] = pd.NA
    run.table.loc[5 * K, "grad_norm"] = np.nan
    run.table = run.table.drop(index=7 * K)  # its micro-batches no longer add up to its batch
    norms = run.named["grad_norm"][1]
    norms[9], norms[13] = np.nan, np.inf
    run.named["grad_norm"] = (np.delete(np.arange(STEPS), 11), np.delete(norms, 11))
    found = analysis.noise_scale(run)
    assert sorted(set(range(STEPS)) - set(found.steps.tolist())) == [3, 5, 7, 9, 11, 13]
    whole = analysis.noise_scale(recorded())
    assert np.array_equal(found.g_squared, np.delete(whole.g_squared, [3, 5, 7, 9, 11, 13]))


def test_an_answer_that_the_data_do_not_give_is_a_sentence() -> None:
    few = analysis.noise_scale(recorded(steps=10))
    assert few.status == "run 'run': a noise scale needs at least 16 steps with two finite estimates; there are 10."
    assert few.overall.status == few.status
    assert len(few.g_squared) == 10
    one = analysis.noise_scale(recorded(k=1))
    assert one.status == (
        "run 'run' has one micro-batch in each step; a noise scale compares at least two with their mean."
    )
    run = recorded(steps=20)
    run.table = run.table.iloc[:0]
    assert analysis.noise_scale(run).status == (
        "run 'run' recorded no micro-batches; a noise scale compares their gradients with the step's. Record them, as "
        "with several recorder.loss(..., of=K) in a step."
    )
    run = recorded(steps=20)
    del run.named["batch_size"]
    found = analysis.noise_scale(run)
    assert found.status == (
        "run 'run' has no step whose micro-batches have all their norms, scales and samples, add up to batch_size, and "
        "whose grad_norm is there too."
    )
    assert np.isnan(found.overall.value)
    with pytest.raises(ValueError, match=r"^window must be at least 1; got 0\.$"):
        analysis.noise_scale(recorded(steps=20), window=0)


@pytest.mark.parametrize("factor", [1.0, 4.0, 1000.0])
def test_how_losses_were_divided_does_not_matter(factor: float) -> None:
    run = recorded()
    run.table["scale"] *= factor
    steps, norms = run.named["grad_norm"]
    run.named["grad_norm"] = steps, norms * factor
    found, expected = analysis.noise_scale(run).overall, analysis.noise_scale(recorded()).overall
    assert found.value == pytest.approx(expected.value, rel=1e-9)
