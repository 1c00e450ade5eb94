"""Rows of active logs as Arrow tables: a wide one of step records, and one of 256-step blocks of per-tensor values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradlens.schema import STEP_COLUMNS
from gradlens.store.frames import Group
from gradlens.store.layout import BLOCK, STEPS

_TYPES = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_(), "category": pa.string()}

TENSOR_SCHEMA = pa.schema(
    [
        ("parameter", pa.int32()),
        ("kind", pa.string()),
        ("block", pa.int64()),
        ("session", pa.int64()),
        ("min", pa.float32()),
        ("max", pa.float32()),
        ("mean", pa.float32()),
        ("last", pa.float32()),
        ("count", pa.int32()),  # finite values, those that the four summarise
        ("nonfinite", pa.int32()),
        ("offsets", pa.list_(pa.uint8())),  # step - 256 * block of each value
        ("values", pa.list_(pa.float32())),
    ]
)

PARAMETER_SCHEMA = pa.schema(
    [("id", pa.int32()), ("name", pa.string()), ("shape", pa.string()), ("dtype", pa.string()), ("group", pa.int32())]
)

Parameters = Sequence[tuple[str, tuple[int, ...], str, int]]
"""(name, shape, dtype, group) of each parameter, in the order of the tensor values."""


def column_order(names: Iterable[str]) -> list[str]:
    """Columns of gradlens in their order, then the user's by name."""
    present = set(names)
    return [name for name in STEP_COLUMNS if name in present] + sorted(present - STEP_COLUMNS.keys())


def column_type(name: str) -> pa.DataType:
    """The Arrow type of a column of the step table."""
    return _TYPES[STEP_COLUMNS[name].dtype] if name in STEP_COLUMNS else pa.float64()


def fits(schema: pa.Schema, table: str) -> bool:
    """Whether a file of this schema may be a segment of ``steps`` or ``tensors``."""
    if table == STEPS:
        keys = {"step", "session", "seq"} <= set(schema.names)
        return keys and all(column.type == column_type(column.name) for column in schema)
    types = {column.name: column.type for column in schema}
    later = ("count", "nonfinite")  # not in schema version 1
    if len(types.keys() & set(later)) == 1:
        return False
    return all(types.get(c.name) == c.type or (c.name in later and c.name not in types) for c in TENSOR_SCHEMA)


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
        {name: pa.array(own[name]) if name in own else _column(name, parts[name], order) for name in wanted}
    )


_Part = tuple[int, NDArray[np.float64], tuple[str, ...]]
"""Where in the order of groups a column's numbers stand, the numbers, and the texts that they stand for."""


def _column(name: str, parts: Sequence[_Part], order: NDArray[np.int64]) -> pa.Array:
    numbers, mask = np.zeros(len(order)), np.ones(len(order), np.bool_)
    texts: tuple[str, ...] = ()
    for begin, values, meant in parts:
        numbers[begin : begin + len(values)] = values
        mask[begin : begin + len(values)] = False
        texts = meant or texts
    numbers, mask = numbers[order], mask[order]
    kind = column_type(name)
    if pa.types.is_floating(kind):
        return pa.array(numbers, kind, mask=mask)
    if pa.types.is_boolean(kind):
        return pa.array(numbers != 0, kind, mask=mask)
    whole = np.nan_to_num(np.where(mask, 0.0, numbers)).clip(-(2.0**62), 2.0**62).astype(np.int64)
    if pa.types.is_integer(kind):
        return pa.array(whole, kind, mask=mask)
    if not texts:
        return pa.nulls(len(whole), kind)
    mask |= (whole < 0) | (whole >= len(texts))
    return pa.DictionaryArray.from_arrays(pa.array(np.where(mask, 0, whole), pa.int32(), mask=mask), texts).cast(kind)


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


def parameters_table(parameters: Parameters) -> pa.Table:
    """What a session measured, one row a parameter."""
    names, shapes, dtypes, groups = zip(*parameters, strict=True) if parameters else ((),) * 4
    ids = range(len(parameters))
    return pa.table([ids, names, [json.dumps(shape) for shape in shapes], dtypes, groups], schema=PARAMETER_SCHEMA)
