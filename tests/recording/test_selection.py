"""Which parameters are kept one by one, and which series their groups are."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import ALWAYS, batches, loss_of, norm64, small_net
from torch import nn

import gradlens


def record(root: Path, model: nn.Module, **options: Any) -> tuple[gradlens.Run, list[dict[str, float]]]:
    """A run of three steps, and the float64 norm of each parameter's gradient at each step, by name."""
    first, *rest = model.parameters()
    optimizer = torch.optim.SGD([{"params": [first]}, {"params": rest, "lr": 0.03}], lr=0.1)
    truth = []
    with gradlens.Recorder(model, optimizer, root, **ALWAYS, **options) as recorder:
        for x, y in batches(3):
            optimizer.zero_grad()
            recorder.loss(loss_of(model), x, y).backward()
            truth.append({name: norm64([p.grad]) for name, p in model.named_parameters() if p.grad is not None})
            optimizer.step()
    assert recorder.skipped == 0
    return gradlens.open_run(recorder.path or ""), truth


def test_groups_are_series_and_filters_leave_the_global_norm_alone(tmp_path: Path) -> None:
    model = small_net()
    model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    groups = {"first": "0.*", "weights": ["0.weight", "2.weight"], "idle": "unused"}
    run, truth = record(tmp_path, model, include=["*.weight", "unused"], exclude="2.*", groups=groups)
    assert run.parameters == ("unused", "0.weight")
    frame = run.tensors("grad_norm")
    assert set(frame["name"]) == {"unused", "0.weight"}
    kept = frame[frame["name"] == "0.weight"]["value"].to_numpy()
    assert np.allclose(kept, [norms["0.weight"] for norms in truth], rtol=1e-6)
    assert np.allclose(run.series("grad_norm")[1], [math.hypot(*norms.values()) for norms in truth], rtol=1e-6)
    for name, members in {"first": ("0.weight", "0.bias"), "weights": ("0.weight", "2.weight"), "idle": ()}.items():
        expected = [math.hypot(*(norms[member] for member in members)) for norms in truth]
        assert np.allclose(run.series(f"grad_norm[{name}]")[1], expected, rtol=1e-6)
    moved = run.series("update_norm[first]")[1] ** 2 + run.series("update_norm[idle]")[1] ** 2
    assert (moved < run.series("update_norm")[1] ** 2).all()
    assert np.allclose(run.series("param_norm[idle]")[1], math.sqrt(3))
    assert run.series("lr")[1].tolist() == [0.1] * 3
    assert run.series("lr[1]")[1].tolist() == [0.03] * 3


def test_a_group_that_is_not_finite_is_not_finite(tmp_path: Path) -> None:
    model = small_net()
    weight = model.get_parameter("0.weight")
    weight.register_hook(lambda gradient: gradient * math.nan)
    run, _ = record(tmp_path, model, groups={"bad": "0.*", "good": "2.*"})
    assert np.isnan(run.series("grad_norm[bad]")[1]).all()
    assert np.isfinite(run.series("grad_norm[good]")[1][0])


def test_one_parameter_has_to_be_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave no parameter; keep at least one"):
        record(tmp_path, small_net(), exclude="*")


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    model = small_net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for options in ({"include": "encoder.*"}, {"exclude": ["0.*", "nothing"]}, {"groups": {"a": "b"}}):
        with pytest.raises(ValueError, match=r"matches no parameter; their names are 0.weight, 0.bias"):
            gradlens.Recorder(model, optimizer, tmp_path, **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_what_gradlens_calls_a_groups_series_cannot_be_logged(tmp_path: Path) -> None:
    model = small_net()
    recorder = gradlens.Recorder(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path)
    with pytest.raises(ValueError, match="gradlens fills itself"):
        recorder.log(**{"grad_norm[first]": 1.0})
    recorder.log(**{"accuracy[first]": 1.0})
    recorder.close()


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")], ids=["module", "orig"])
def test_wrappers_leave_no_trace_in_the_names(tmp_path: Path, wrap: Any) -> None:
    model = small_net()
    recorder = gradlens.Recorder(wrap(model), torch.optim.SGD(model.parameters(), lr=0.1), tmp_path)
    recorder.close()
    run = gradlens.open_run(recorder.path or "")
    assert run.parameters == tuple(name for name, _ in model.named_parameters())


def test_names_that_only_a_wrappers_name_tells_apart_stay_whole(tmp_path: Path) -> None:
    model = nn.ModuleDict({"module": nn.Linear(1, 1), "other": nn.Linear(1, 1)})
    model.register_parameter("weight", nn.Parameter(torch.ones(1)))
    recorder = gradlens.Recorder(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path)
    recorder.close()
    names = gradlens.open_run(recorder.path or "").parameters
    assert {"weight", "module.weight"} <= set(names)
