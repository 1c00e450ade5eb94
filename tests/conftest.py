"""Runs to test on: written through the store, or recorded from a small training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch_process import TorchProcess

import gradlens
from gradlens.store import Run, RunWriter

torch.set_num_threads(1)  # two pytest workers share the machine's cores
settings.register_profile("gradlens", deadline=None, derandomize=True, print_blob=False, database=None)
settings.load_profile("gradlens")


@pytest.fixture(autouse=True)
def _enabled_and_seeded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test starts from the same random state, with recording enabled."""
    monkeypatch.delenv("GRADLENS_DISABLED", raising=False)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - tests look at the global state
    yield
    assert "GRADLENS_DISABLED" not in os.environ


COUNTED = "counted: "


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Add to a number that is printed at the end of all tests, such as the crash points tried."""
    return lambda what, number: record_property(COUNTED + what, number)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    totals: dict[str, int] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()) if getattr(report, "when", "") == "call" else ():
                if name.startswith(COUNTED):
                    totals[name.removeprefix(COUNTED)] = totals.get(name.removeprefix(COUNTED), 0) + value
    if totals:
        terminalreporter.section("counted")
        for name, total in sorted(totals.items()):
            terminalreporter.line(f"{total:>10,} {name}")


@pytest.fixture(scope="session")
def torch_process() -> Iterator[TorchProcess]:
    """Runs scripts in processes of their own."""
    made = TorchProcess()
    yield made
    made.close()


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Run]:
    """Write a run straight through the store, without a training."""

    def write(
        root: Path | None = None,
        name: str = "run",
        steps: int = 400,
        clip: dict[str, Any] | None = None,
        config: dict[str, Any] | None = None,
        outcome: str | None = "finished",
        seed: int = 0,
        **columns: Any,
    ) -> Run:
        rng = np.random.default_rng(seed)
        norms = np.exp(0.4 * rng.standard_normal(steps) + 1.0)
        smoothness = norms**0.8 * np.exp(0.2 * rng.standard_normal(steps))
        description = {"config": config or {}, "clip": clip, "environment": {"optimizer": {"class": "SGD"}}}
        writer = RunWriter.create(root or tmp_path / "runs", name, description, [("weight", (2, 3), "float32", 0)])
        for step in range(steps):
            row = {
                "step": step,
                "time": 1.8e9 + 0.01 * step,
                "loss": 2.0 / (1 + step / 100) + 0.05 * rng.random(),
                "lr": 0.1,
                "grad_norm": norms[step],
                "update_norm": 0.1 * norms[step],
                "overhead_ms": 0.05,
            }
            if step % 4 == 0:
                row |= {"smoothness": smoothness[step], "smoothness_method": "same_batch"}
            if clip is not None:
                row |= {"clip_threshold": 2.0, "clip_coef": min(1.0, 2.0 / norms[step]), "clipped": norms[step] > 2.0}
            row |= {key: values[step] for key, values in columns.items()}
            writer.append(row, {"grad_norm": np.array([norms[step]], dtype=np.float32)})
            if step % 1000 == 999:
                writer.flush()  # a queue that is full drops rows, as on a busy machine
        if outcome is None:
            writer.flush()
        else:
            writer.close(outcome)
        return gradlens.open_run(writer.path)

    return write


class Quadratic(torch.nn.Module):
    """f(theta) = theta' H theta / 2 for a given diagonal H, in float64."""

    def __init__(self, eigenvalues: list[float], start: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("eigenvalues", torch.tensor(eigenvalues, dtype=torch.float64))
        self.theta = torch.nn.Parameter(torch.full((len(eigenvalues),), start, dtype=torch.float64))

    def forward(self) -> torch.Tensor:
        return 0.5 * (self.eigenvalues * self.theta**2).sum()


@pytest.fixture
def quadratic() -> Callable[..., Quadratic]:
    """Make a quadratic with known eigenvalues."""
    return Quadratic
