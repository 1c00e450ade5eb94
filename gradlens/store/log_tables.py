"""Rows of active logs as Arrow tables, one maker for each table of a run.

Step records are a wide table, per-tensor values blocks of 256 steps, micro-batches a row each.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradlens.schema import MICRO_BATCH_KEYS
from gradlens.store.frames import DOMAIN
from gradlens.store.layout import BLOCK, MICRO_BATCHES, STEPS
from gradlens.store.scan import Group
from gradlens.store.tables import MICRO_BATCH_SCHEMA, TENSOR_SCHEMA, column_order, column_type


def has(table: str, group: Group) -> bool:
    """Whether rows of a log have anything for a table."""
    if table == MICRO_BATCHES:
        return group.micro_batches is not None and len(group.micro_batches.values) > 0
    return table == STEPS or bool(group.layout.tensors)


def steps_table(groups: Sequence[Group], session: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Step records as one wide table in the order of their seq; a name missing from a row is null, NaN stays NaN.

    Args:
        groups: the rows.
        session: whose rows they are.
        columns: which to make, those among them that there are; all if None.
    """
    seqs = np.concatenate([group.seqs for group in groups]) if groups else np.empty(0, np.int64)
    order = np.argsort(seqs, kind="stable")
    present = {name for group in groups for name in group.layout.columns} | {"session", "seq"}
    wanted = column_order(present if columns is None else present & set(columns))
    own = {"seq": seqs[order], "session": np.full(len(seqs), session, np.int64)}
    parts: dict[str, list[_Part]] = {name: [] for name in wanted}
    begin = 0
    for group in groups:
        for place, name in enumerate(group.layout.columns):
            if name in parts:
                texts = group.layout.categories.get(name, ())
                parts[name].append((begin, group.scalars[:, place], texts))
        begin += len(group.seqs)
    return pa.table(
        {
            name: pa.array(own[name]) if name in own else _column(column_type(name), parts[name], order)
            for name in wanted
        }
    )


_Part = tuple[int, NDArray[np.float64], tuple[str, ...]]
"""Where in the order of groups a column's numbers stand, the numbers, and the texts that they stand for."""


def _column(kind: pa.DataType, parts: Sequence[_Part], order: NDArray[np.int64]) -> pa.Array:
    numbers, mask = np.zeros(len(order)), np.ones(len(order), np.bool_)
    texts: list[str] = []
    places: dict[tuple[str, ...], int] = {}
    for begin, values, meant in parts:
        end = begin + len(values)
        numbers[begin:end], mask[begin:end] = values, False
        if pa.types.is_string(kind):
            mask[begin:end] = ~((values >= 0) & (values < len(meant)))
            if meant not in places:  # what a place means may differ from log to log
                places[meant] = len(texts)
                texts += meant
            numbers[begin:end] += places[meant]
    numbers, mask = numbers[order], mask[order]
    if pa.types.is_floating(kind):
        with np.errstate(over="ignore"):
            return pa.array(numbers.astype(kind.to_pandas_dtype(), copy=False), kind, mask=mask)
    if pa.types.is_boolean(kind):
        return pa.array(numbers != 0, kind, mask=mask)
    mask |= np.isnan(numbers)
    whole = np.where(mask, 0.0, numbers).clip(-(2.0**62), 2.0**62).astype(np.int64)
    if pa.types.is_integer(kind):
        return pa.array(whole, kind, mask=mask)
    if not texts:
        return pa.nulls(len(whole), kind)
    return pa.DictionaryArray.from_arrays(pa.array(whole, pa.int32(), mask=mask), texts).cast(kind)


def tensors_table(groups: Sequence[Group], session: int, kinds: Sequence[str] | None = None) -> pa.Table:
    """Per-tensor values as one row per kind, parameter and block, in that order.

    Minimum, maximum, mean and last are of a row's finite values, NaN where it has none.

    Args:
        groups: the rows.
        session: whose rows they are.
        kinds: which kinds to make; all if None.
    """
    present = sorted({kind for group in groups for kind, _ in group.layout.tensors})
    parts = [_kind_table(kind, groups, session) for kind in present if kinds is None or kind in kinds]
    return pa.concat_tables(parts) if parts else TENSOR_SCHEMA.empty_table()


def _values(groups: Sequence[Group], kind: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Steps and (steps, parameters) values of one kind, ascending in step; of a step written twice, the later."""
    steps, seqs, values = [], [], []
    width = max((dict(group.layout.tensors).get(kind, 0) for group in groups), default=0)
    for group in groups:
        start = 0
        for name, count in group.layout.tensors:
            if name == kind and count == width:
                steps.append(group.steps)
                seqs.append(group.seqs)
                values.append(group.tensors[:, start : start + count])
            start += count
    step, seq = np.concatenate(steps), np.concatenate(seqs)
    order = np.lexsort((seq, step))
    newest = order[np.append(np.diff(step[order]) != 0, True)]
    return step[newest], np.concatenate(values)[newest]


def _kind_table(kind: str, groups: Sequence[Group], session: int) -> pa.Table:
    steps, by_step = _values(groups, kind)
    values = np.ascontiguousarray(by_step.T)  # (parameters, steps): the blocks of a parameter lie side by side
    parameters, count = values.shape
    blocks = steps // BLOCK
    starts = np.flatnonzero(np.append(count > 0, np.diff(blocks) != 0))
    rows = parameters * len(starts)
    ends = np.append((np.arange(parameters)[:, None] * count + starts).reshape(-1), parameters * count)
    ends = ends.astype(np.int32)
    return pa.table(
        [
            np.repeat(np.arange(parameters, dtype=np.int32), len(starts)),
            pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [kind]).cast(pa.string()),
            np.tile(blocks[starts], parameters),
            np.full(rows, session, dtype=np.int64),
            *_summaries(values, starts),
            pa.ListArray.from_arrays(ends, np.tile((steps % BLOCK).astype(np.uint8), parameters)),
            pa.ListArray.from_arrays(ends, values.reshape(-1)),
        ],
        schema=TENSOR_SCHEMA,
    )


def _summaries(values: NDArray[np.float32], starts: NDArray[np.int64]) -> list[NDArray[np.generic]]:
    """min, max, mean, last, count and nonfinite of each block of each parameter, in this order of rows."""
    size = np.diff(np.append(starts, values.shape[1]))
    whole = (size == BLOCK).all()  # then blocks are a third axis, which is faster
    blocks = values.reshape(len(values), -1, BLOCK) if whole else values
    least = blocks.min(axis=2) if whole else np.minimum.reduceat(values, starts, axis=1)
    most = blocks.max(axis=2) if whole else np.maximum.reduceat(values, starts, axis=1)
    last = values[:, starts + size - 1]
    number = np.broadcast_to(size.astype(np.int32), least.shape)
    odd = np.zeros_like(number)
    if np.isfinite(least).all() and np.isfinite(most).all():  # then so is everything between
        total = blocks.sum(axis=2, dtype=np.float64) if whole else np.add.reduceat(values, starts, 1, dtype=np.float64)
        mean = total / size
    else:
        finite = np.isfinite(values)
        number = np.add.reduceat(finite, starts, axis=1, dtype=np.int32)
        odd = size.astype(np.int32) - number
        nan = np.where(number > 0, np.float32(0), np.float32(np.nan))
        least = np.minimum.reduceat(np.where(finite, values, np.float32(np.inf)), starts, axis=1) + nan
        most = np.maximum.reduceat(np.where(finite, values, np.float32(-np.inf)), starts, axis=1) + nan
        total = np.add.reduceat(np.where(finite, values, 0), starts, axis=1, dtype=np.float64)
        mean = total / np.maximum(number, 1) + nan
        place = np.maximum.reduceat(np.where(finite, np.arange(values.shape[1]), 0), starts, axis=1)
        last = np.take_along_axis(values, place, axis=1) + nan
        last[number == 0] = np.nan
    return [part.reshape(-1) for part in (least, most, mean.astype(np.float32), last, number, odd)]


def micro_batches_table(groups: Sequence[Group], session: int) -> pa.Table:
    """Micro-batches in the order of the seq of their rows; a column that a row does not have is null, NaN stays NaN.

    Args:
        groups: the rows.
        session: whose rows they are.
    """
    measured = [(group, group.micro_batches) for group in groups if group.micro_batches is not None]
    if not measured:
        return MICRO_BATCH_SCHEMA.empty_table()
    keys: dict[str, list[NDArray[np.int64]]] = {name: [] for name in MICRO_BATCH_KEYS}
    parts: dict[str, list[_Part]] = {name: [] for name in MICRO_BATCH_SCHEMA.names if name not in keys}
    begin = 0
    for group, found in measured:
        ends = np.cumsum(found.counts)
        places = np.arange(len(found.values)) - np.repeat(ends - found.counts, found.counts)
        own = (np.repeat(group.steps, found.counts), places, places * 0 + session, np.repeat(group.seqs, found.counts))
        for name, key in zip(MICRO_BATCH_KEYS, own, strict=True):
            keys[name].append(key)
        for place, name in enumerate(group.layout.micro_batches):
            if name in parts:
                parts[name].append((begin, found.values[:, place], found.domains if name == DOMAIN else ()))
        begin += len(found.values)
    whole = {name: np.concatenate(each) for name, each in keys.items()}
    order = np.argsort(whole["seq"], kind="stable")
    columns = [
        pa.array(whole[field.name][order], field.type)
        if field.name in whole
        else _column(field.type, parts[field.name], order)
        for field in MICRO_BATCH_SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=MICRO_BATCH_SCHEMA)
