"""Runs written straight to disk, and a dashboard over them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from micro_batch_sweep import write_sweep

from gradlens.clipping import autoclip
from gradlens.store import Disk, RunWriter
from gradlens_app import create_app

from .browsing import browser, context, served, visit

__all__ = ["browser", "context", "served", "visit"]  # fixtures

STEPS = 400
MakeRun = Callable[..., Path]

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>click</a>",
    "javascript:alert(1)",
    "$\\href{javascript:alert(1)}{x}$",
    "$$\\unicode{<img src=x onerror=alert(1)>}$$",
    "[x](javascript:alert(1))",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<style>body{display:none}</style>",
    "{{constructor.constructor('alert(1)')()}}",
    "${alert(1)}",
    "<b>bold</b><br>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "%{y}<extra></extra>",
    "<link rel=stylesheet href=//example.org/x.css>",
    "</script><script>alert(1)</script>",
    "=HYPERLINK('http://example.org')",
)


def write_run(
    root: Path, name: str = "a run", *, clipped: bool = False, probes: bool = True, seed: int = 0, **config: Any
) -> Path:
    """Write a run of a few hundred steps."""
    rng = np.random.default_rng(seed)
    norms = np.exp(rng.normal(0.0, 0.5, STEPS))
    smoothness = norms * np.exp(rng.normal(0.0, 0.3, STEPS))
    description = {
        "config": config,
        "clip": autoclip(percentile=10).spec() if clipped else None,
        "environment": {"optimizer": {"class": "SGD", "defaults": {"momentum": 0.0}}},
    }
    writer = RunWriter.create(root, name, description, [("weight", (2, 2), "float32", 0)])
    for step in range(STEPS):
        row = {
            "step": step,
            "time": 1.0e9 + 0.01 * step,
            "loss": float(2.0 * np.exp(-step / 150) + 0.1 * rng.random() + 0.1),
            "grad_norm": float(norms[step]),
            "update_norm": float(0.1 * norms[step]),
            "overhead_ms": 0.5,
        }
        if probes and step % 4 == 0:
            row |= {"smoothness": float(smoothness[step]), "smoothness_method": "same_batch"}
        if clipped:
            row |= {"clip_threshold": 0.5, "clipped": bool(norms[step] > 0.5), "clip_source": "observed"}
        writer.append(row, {})
    writer.close("finished")
    return writer.path


def begin_run(root: Path, name: str = "live", disk: Disk | None = None, **config: Any) -> RunWriter:
    """Begin a run that stays under way until the test closes it."""
    return RunWriter.create(root, name, {"config": config}, [("weight", (2, 2), "float32", 0)], disk=disk)


def add_steps(writer: RunWriter, first: int, last: int) -> None:
    """Record steps of a run under way, every fourth with a smoothness; they are on disk then."""
    for step in range(first, last):
        norm, smoothness = np.exp(np.random.default_rng(step).normal(0.0, 0.5, 2))
        row = {"step": step, "time": 1.0e9 + 0.01 * step, "loss": 2.0 / (step + 1), "grad_norm": float(norm)}
        row |= {"update_norm": float(0.1 * norm), "overhead_ms": 0.5}
        if step % 4 == 0:
            row |= {"smoothness": float(smoothness), "smoothness_method": "same_batch"}
        writer.append(row, {})
    assert writer.flush()


class FullDisk(Disk):
    """A disk that takes nothing while it is full."""

    full = False

    def append(self, handle: int, data: bytes) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        super().append(handle, data)


def lose_steps(writer: RunWriter, disk: FullDisk, first: int, last: int) -> None:
    """Record steps while the disk is full, more than wait in memory."""
    disk.full = True
    for step in range(first, last):
        writer.append({"step": step}, {})
    end = time.monotonic() + 30
    while writer.last_error is None:  # the thread that writes may not have come to it yet
        assert time.monotonic() < end
        time.sleep(0.01)
    disk.full = False
    assert writer.flush()


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write a run under ``tmp_path/runs``."""
    return partial(write_run, tmp_path / "runs")


@pytest.fixture
def live(tmp_path: Path) -> Iterator[RunWriter]:
    """A run under way, its rows in the active log only."""
    writer = begin_run(tmp_path / "live")
    add_steps(writer, 0, 100)
    while not (writer.path / "health-0.json").exists():
        time.sleep(0.01)
    yield writer
    writer.close("stopped")


@pytest.fixture(scope="session")
def read_pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair that tests only read."""
    root = tmp_path_factory.mktemp("pair") / "runs"
    write_run(root, "plain", lr=0.1)
    write_run(root, "clipped", clipped=True, seed=1, lr=0.1)
    return root


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Micro-batch sizes at one learning rate, that tests only read."""
    root = tmp_path_factory.mktemp("sweep") / "runs"
    write_sweep(root)
    return root


@pytest.fixture(scope="session")
def client(read_pair: Path) -> Iterator[FlaskClient]:
    """A client of the dashboard over the pair that is only read."""
    with create_app(read_pair).server.test_client() as made:
        yield made


@pytest.fixture
def pair(make_run: MakeRun, tmp_path: Path) -> Path:
    """A pair of its own for a test that changes it."""
    make_run("plain", lr=0.1)
    make_run("clipped", clipped=True, seed=1, lr=0.1)
    return tmp_path / "runs"
