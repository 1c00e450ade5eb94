"""Runs with several parameters or micro-batches, written through the store; and one that stands in for a long run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradlens
from gradlens.store import Run, RunWriter
from gradlens.store.pyramid import summarise

Columns = Mapping[str, Any]


@pytest.fixture
def write_layers(tmp_path: Path) -> Callable[..., Run]:
    """Write a run of some parameters, each with a value a step; None is a step without a gradient."""

    def write(
        layers: Mapping[str, Any],
        kind: str = "grad_norm",
        *,
        clip: Any = None,
        micro_batches: Callable[[int], Columns] | None = None,
        **columns: Any,
    ) -> Run:
        parameters = [(name, (2,), "float32", 0) for name in layers]
        writer = RunWriter.create(tmp_path / "runs", "run", {"clip": clip, "config": {}}, parameters)
        values = np.array(list(layers.values()), dtype=np.float64) if layers else np.empty((0, len(columns["loss"])))
        for step in range(values.shape[1]):
            row = {"step": step} | {name: series[step] for name, series in columns.items()}
            if kind == "grad_norm" and "grad_norm" not in columns:
                row["grad_norm"] = float(np.sqrt(np.nansum(values[:, step] ** 2)))
            tensors = {kind: values[:, step].astype(np.float32)} if layers else {}
            writer.append(row, tensors, micro_batches(step) if micro_batches else {})
        writer.close("finished")
        return gradlens.open_run(writer.path)

    return write


@dataclass
class Series:
    """Stands in for a run that has nothing but series."""

    named: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    name: str = "long"
    clip: Any = None
    parameters: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.named)

    def series(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self.named[name]

    def pyramid(self, name: str) -> np.ndarray:
        return summarise(*self.named[name])

    def several(self, *names: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return {name: self.named[name] for name in names if name in self.named}


@pytest.fixture
def series() -> Callable[..., Any]:
    """A run of series given as arrays, one value a step."""
    return lambda **named: Series({name: (np.arange(len(v)), np.asarray(v)) for name, v in named.items()})
