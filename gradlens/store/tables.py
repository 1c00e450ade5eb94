"""Rows and blocks as Arrow tables, and Arrow tables as Parquet bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gradlens.schema import STEP_COLUMNS
from gradlens.store.layout import BLOCK

Scalar = float | int | bool | str | None
Row = Mapping[str, Scalar]

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
        ("offsets", pa.list_(pa.uint8())),  # step - 256 * block of each value
        ("values", pa.list_(pa.float32())),
    ]
)

PARAMETER_SCHEMA = pa.schema(
    [("id", pa.int32()), ("name", pa.string()), ("shape", pa.string()), ("dtype", pa.string()), ("group", pa.int32())]
)


def steps_table(rows: Sequence[Row]) -> pa.Table:
    """Step records as one wide table: gradlens' columns in their order, then the user's by name.

    A name missing from a row is null there; NaN stays NaN.
    """
    present = {name for row in rows for name in row}
    names = [name for name in STEP_COLUMNS if name in present] + sorted(present - STEP_COLUMNS.keys())
    types = {name: _TYPES[STEP_COLUMNS[name].dtype] if name in STEP_COLUMNS else pa.float64() for name in names}
    return pa.table({name: pa.array([row.get(name) for row in rows], types[name]) for name in names})


@dataclass(slots=True)
class TensorBlock:
    """One kind's values of all parameters over at most 256 steps."""

    kind: str
    block: int
    offsets: list[int] = field(default_factory=list)
    values: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, step: int, values: NDArray[np.float32]) -> None:
        """Add the values of one step, (parameters,) float32."""
        self.offsets.append(step - self.block * BLOCK)
        self.values.append(values)


def tensors_table(blocks: Sequence[TensorBlock], session: int) -> pa.Table:
    """Blocks as rows: one per parameter, with minimum, maximum, mean and last of its finite values.

    The four summaries are NaN where a row has no finite value.
    """
    parts = [_block_table(block, session) for block in blocks]
    return pa.concat_tables(parts) if parts else TENSOR_SCHEMA.empty_table()


def _block_table(block: TensorBlock, session: int) -> pa.Table:
    values = np.stack(block.values, axis=1)  # (parameters, steps)
    parameters, steps = values.shape
    finite = np.isfinite(values)
    some = finite.any(axis=1)
    mean = np.where(finite, values, 0.0).sum(axis=1, dtype=np.float64) / np.maximum(finite.sum(axis=1), 1)
    last = np.take_along_axis(values, (steps - 1 - finite[:, ::-1].argmax(axis=1))[:, None], axis=1)[:, 0]
    starts = np.arange(0, (parameters + 1) * steps, steps, dtype=np.int32)
    offsets = np.tile(np.asarray(block.offsets, dtype=np.uint8), parameters)
    return pa.table(
        [
            np.arange(parameters, dtype=np.int32),
            pa.array([block.kind] * parameters, pa.string()),
            np.full(parameters, block.block, dtype=np.int64),
            np.full(parameters, session, dtype=np.int64),
            np.where(some, np.where(finite, values, np.inf).min(axis=1), np.float32(np.nan)),
            np.where(some, np.where(finite, values, -np.inf).max(axis=1), np.float32(np.nan)),
            np.where(some, mean, math.nan).astype(np.float32),
            np.where(some, last, np.float32(np.nan)),
            pa.ListArray.from_arrays(starts, offsets),
            pa.ListArray.from_arrays(starts, values.reshape(-1)),
        ],
        schema=TENSOR_SCHEMA,
    )


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as Parquet: zstd, byte-stream split for floats, dictionaries for text, a checksum on every page."""
    floats, texts = _leaves(table.schema)
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression="zstd",
        use_dictionary=texts,
        column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        write_page_checksum=True,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _leaves(schema: pa.Schema) -> tuple[list[str], list[str]]:
    """Parquet paths of the float leaves and of the text leaves."""
    floats, texts = [], []
    for column in schema:
        nested = pa.types.is_list(column.type)
        leaf = column.type.value_type if nested else column.type
        path = f"{column.name}.list.element" if nested else column.name
        if pa.types.is_floating(leaf):
            floats.append(path)
        elif pa.types.is_string(leaf):
            texts.append(path)
    return floats, texts
