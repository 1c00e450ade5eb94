"""Summaries of 256 steps each: what a reader needs of a long series when it cannot show every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gradlens.store.layout import BLOCK

SUMMARY: Final = np.dtype(
    [
        ("block", "<i8"),  # steps 256 * block to 256 * block + 255
        ("min", "<f8"),
        ("max", "<f8"),
        ("mean", "<f8"),
        ("last", "<f8"),
        ("count", "<u2"),  # finite values, those that the four summarise
        ("nonfinite", "<u2"),  # NaN and infinite values
        ("odd", "<u2"),  # place in the block of the first of them
        ("pad", "<u2"),
    ]
)
"""One entry; the four summaries are NaN where ``count`` is 0."""

Summaries = NDArray[np.void]


def summarise(steps: NDArray[np.int64], values: NDArray[np.float64]) -> Summaries:
    """Minimum, maximum, mean and last of the finite values in each block of 256 steps.

    Args:
        steps: (n,) ascending.
        values: (n,) as recorded, nulls left out.

    Returns:
        (blocks,) of ``SUMMARY``, ascending in block, only blocks with a value.

    >>> import numpy as np
    >>> entry = summarise(np.arange(3), np.array([1.0, np.nan, 3.0]))[0]
    >>> float(entry["mean"]), int(entry["count"]), int(entry["nonfinite"]), int(entry["odd"])
    (2.0, 2, 1, 1)
    """
    if len(steps) == 0:
        return np.empty(0, SUMMARY)
    blocks = steps // BLOCK
    starts = np.flatnonzero(np.append(True, np.diff(blocks) != 0))
    finite = np.isfinite(values)
    found = np.zeros(len(starts), SUMMARY)
    found["block"] = blocks[starts]
    found["count"] = np.add.reduceat(finite, starts, dtype=np.int64)
    found["nonfinite"] = np.add.reduceat(~finite, starts, dtype=np.int64)
    some = found["count"] > 0
    with np.errstate(over="ignore"):
        total = np.add.reduceat(np.where(finite, values, 0.0), starts)
    found["min"] = np.where(some, np.minimum.reduceat(np.where(finite, values, np.inf), starts), np.nan)
    found["max"] = np.where(some, np.maximum.reduceat(np.where(finite, values, -np.inf), starts), np.nan)
    found["mean"] = np.where(some, total / np.maximum(found["count"], 1), np.nan)
    # A sum of finite values may overflow; then their mean is taken term by term.
    for index in np.flatnonzero(some & ~np.isfinite(found["mean"])):
        part = values[starts[index] :][: int(found["count"][index]) + int(found["nonfinite"][index])]
        found["mean"][index] = (part[np.isfinite(part)] / found["count"][index]).sum()
    place = np.arange(len(steps))
    last = np.maximum.reduceat(np.where(finite, place, -1), starts)
    found["last"] = np.where(some, values[last], np.nan)
    odd = np.minimum.reduceat(np.where(finite, len(steps), place), starts)
    there = odd < len(steps)
    found["odd"][there] = steps[odd[there]] % BLOCK
    return found


def merge(parts: Sequence[Summaries]) -> Summaries:
    """Summaries of one series from several stretches of its steps, given in the order of the steps.

    A block that two stretches share becomes one entry, as if it had been summarised whole, up to the mean's rounding.
    """
    entries = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, SUMMARY), *parts])
    if len(entries) == 0:
        return entries
    blocks = np.ascontiguousarray(entries["block"])
    starts = np.flatnonzero(np.append(True, blocks[1:] != blocks[:-1]))
    if len(starts) == len(entries):
        return entries
    found = entries[starts].copy()
    with np.errstate(invalid="ignore"):
        found["min"] = np.fmin.reduceat(entries["min"], starts)
        found["max"] = np.fmax.reduceat(entries["max"], starts)
    for name in ("count", "nonfinite"):
        found[name] = np.add.reduceat(entries[name], starts, dtype=np.int64)
    weight = entries["count"] / np.repeat(np.maximum(found["count"], 1), np.diff(np.append(starts, len(entries))))
    found["mean"] = np.add.reduceat(np.where(entries["count"] > 0, entries["mean"], 0.0) * weight, starts)
    found["mean"][found["count"] == 0] = np.nan
    place = np.arange(len(entries))
    last = np.maximum.reduceat(np.where(entries["count"] > 0, place, -1), starts)
    found["last"] = np.where(found["count"] > 0, entries["last"][last], np.nan)
    odd = np.minimum.reduceat(np.where(entries["nonfinite"] > 0, place, len(entries)), starts)
    there = odd < len(entries)
    found["odd"][there] = entries["odd"][odd[there]]
    return found
