"""Runs of micro-batch clipping at several sizes, written straight through the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gradlens.clipping import micro_batch
from gradlens.store import RunWriter


def write_sweep(root: Path, *, sizes: tuple[int, ...] = (4, 16, 64), seeds: int = 3, **config: Any) -> None:
    """Write runs of micro-batch clipping whose gradient norm is least at b = 16, and the first with all details."""
    for b in sizes:
        for seed in range(seeds):
            _write_size(root, b, seed, detailed=(b, seed) == (sizes[0], 0), **config)


def _write_size(root: Path, b: int, seed: int, *, detailed: bool, **config: Any) -> None:
    rng = np.random.default_rng([b, seed])
    config = {"lr": 0.5, "seed": seed, "micro_batch_size": b, **config}
    floor = 0.2 + 0.1 * abs(np.log2(b / 16))
    name = f"b = {b}, seed {seed}"
    writer = RunWriter.create(
        root, name, {"config": config, "clip": micro_batch().spec()}, [("weight", (2,), "float32", 0)]
    )
    for step in range(120):
        parts = np.exp(rng.normal(0.0, 0.3, 4)) * (1.0, 1.0, 3.0, 3.0)
        whole = float(np.sqrt((parts**2).mean()) / 1.5)
        row = {"step": step, "time": 1.0e9 + step, "loss": 0.5 + 0.5 * 0.9**step, "lr": 0.5, "grad_norm": whole}
        row |= {"full_grad_norm": floor * float(np.exp(rng.normal(0.0, 0.02))), "full_loss": 0.5, "batch_size": 64}
        row |= {"micro_batches": 64 // b, "test_accuracy": 0.9 - floor / 2 + 0.001 * rng.normal()}
        if detailed and step % 4 == 0:
            row |= {"smoothness": 2.0 * float(np.exp(rng.normal(0.0, 0.1))), "smoothness_method": "same_batch"}
            for size in (4, 16, 64):
                row |= {f"micro_batch_alpha[{size}]": 0.5, f"micro_batch_bias[{size}]": 0.05 * 64 / size / 16}
                row |= {f"micro_batch_noise[{size}]": 0.01 * size / 16}
        table = {"grad_norm": parts, "samples": [16] * 4, "scale": [0.25] * 4}
        table |= {"cosine": [0.5, 0.5, 0.1, 0.1], "clip_coef": parts.min() / parts}
        table |= {"domain": ["speech", "speech", "<b>music</b>", "<b>music</b>"], "loss": [1.0] * 4}
        writer.append(row, {}, {key: list(values) for key, values in table.items()} if detailed else {})
    writer.close("finished")
