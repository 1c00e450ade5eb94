"""Parts of a model: each one's norm against the smoothness of the whole."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gradlens
from gradlens import analysis
from gradlens.store import Run, RunWriter

WriteRun = Callable[..., Run]
STEPS = 300


@pytest.fixture
def layered(tmp_path: Path) -> tuple[Run, np.ndarray]:
    """A run of three parameters in two layers; smoothness goes with the norm of the first layer."""
    rng = np.random.default_rng(0)
    norms = np.exp(rng.standard_normal((STEPS, 3))).astype(np.float32)
    smoothness = np.hypot(norms[:, 0], norms[:, 1]).astype(np.float64) ** 0.5
    parameters = [(name, (2,), "float32", 0) for name in ("a.weight", "a.bias", "b")]
    writer = RunWriter.create(tmp_path, "layers", {"config": {}, "clip": None, "environment": {}}, parameters)
    for step in range(STEPS):
        row = {"step": step, "time": 1.8e9, "grad_norm": 1.0}
        if step % 3 == 0:
            row["smoothness"] = smoothness[step]
        writer.append(row, {"grad_norm": norms[step]})
    writer.close("finished")
    return gradlens.open_run(writer.path), smoothness


def test_layers_are_put_together_from_their_parameters(layered: tuple[Run, np.ndarray]) -> None:
    found = analysis.smoothness_by_group(layered[0], tries=99)
    assert found.source == "layers"
    assert [group.name for group in found.groups] == ["a", "b"]
    assert [group.n for group in found.groups] == [100, 100]
    assert found.groups[0].raw.pearson == pytest.approx(1.0)  # only of the root of the sum of squares
    assert found.groups[0].detrended.pearson == pytest.approx(1.0)
    assert abs(found.groups[1].raw.pearson) < 0.3
    assert "smoothness is that of the whole model" in found.note


def test_recorded_groups_are_used_where_there_are_any(write_run: WriteRun) -> None:
    rng = np.random.default_rng(0)
    norm = np.exp(rng.standard_normal((2, STEPS)))
    norm[1, :250] = np.nan
    groups = {"grad_norm[encoder]": norm[0], "grad_norm[head]": norm[1]}
    run = write_run(steps=STEPS, smoothness=2 + 3 * norm[0], **groups)
    found = analysis.smoothness_by_group(run, tries=99)
    assert found.source == "recorded groups"
    assert [(group.name, group.n) for group in found.groups] == [("encoder", 300), ("head", 50)]
    assert (found.groups[0].line.l0, found.groups[0].line.l1) == pytest.approx((2.0, 3.0))


def test_says_why_it_cannot_answer(write_run: WriteRun) -> None:
    found = analysis.smoothness_by_group(write_run(smoothness=[None] * 400))
    assert found.status == "run 'run' has 0 smoothness probes with a positive value; r needs 16."
    absent = {"grad_norm[head]": np.full(400, np.nan)}
    (group,) = analysis.smoothness_by_group(write_run(**absent), tries=9).groups
    assert group.n == 0
    assert group.raw.status == "a correlation needs at least 16 pairs of finite values; there are 0."
