"""gradlens: a training-dynamics toolkit for PyTorch.

Attach a recorder to a training loop, read what it recorded, draw it for a paper::

    import gradlens
    from gradlens import clipping

    with gradlens.Recorder(model, optimizer, "runs", clip=clipping.autoclip(percentile=10)) as recorder:
        for x, y in loader:
            optimizer.zero_grad()
            loss = recorder.loss(compute, x, y)
            loss.backward()
            optimizer.step()

Importing the package loads nothing heavy: each name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradlens import analysis, clipping, figures
    from gradlens.recording import Recorder, watch
    from gradlens.recording.per_sample import per_sample_gradients
    from gradlens.schedules import every, log_spaced, never, on_spike
    from gradlens.store import Run, RunError, Runs, open_run, open_runs

__version__ = "0.1.0"

_ROOMS = {
    "Recorder": "gradlens.recording",
    "Run": "gradlens.store",
    "RunError": "gradlens.store",
    "Runs": "gradlens.store",
    "every": "gradlens.schedules",
    "log_spaced": "gradlens.schedules",
    "never": "gradlens.schedules",
    "on_spike": "gradlens.schedules",
    "open_run": "gradlens.store",
    "open_runs": "gradlens.store",
    "per_sample_gradients": "gradlens.recording.per_sample",
    "watch": "gradlens.recording",
}

__all__ = [
    "Recorder",
    "Run",
    "RunError",
    "Runs",
    "analysis",
    "clipping",
    "every",
    "figures",
    "log_spaced",
    "never",
    "on_spike",
    "open_run",
    "open_runs",
    "per_sample_gradients",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in ("analysis", "clipping", "figures"):
        return import_module(f"gradlens.{name}")
    if name in _ROOMS:
        return getattr(import_module(_ROOMS[name]), name)
    raise AttributeError(f"module 'gradlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
