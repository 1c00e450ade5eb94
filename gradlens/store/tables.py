"""The tables of a run: what their files may hold, and what no row of them may say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from gradlens.schema import MICRO_BATCH_COLUMNS, MICRO_BATCH_KEYS, STEP_COLUMNS
from gradlens.store.frames import MAX_MICRO_BATCHES
from gradlens.store.layout import MICRO_BATCHES, STEPS, TENSORS

MAX_ROWS: Final = 1 << 21
"""Rows in a segment; gradlens writes no larger, and reads no larger."""
PARAMETERS: Final = "parameters"
STEP_KEYS: Final = ("step", "session", "seq")
ROW_KEYS: Final = {STEPS: STEP_KEYS, MICRO_BATCHES: (*STEP_KEYS, "micro_batch")}
"""What tells the rows of a table apart whose rows are of one step each."""
MAX_STEP: Final = 1 << 62
_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "category": pa.string(),
    "text": pa.string(),
}

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

MICRO_BATCH_SCHEMA = pa.schema([(name, _TYPES[column.dtype]) for name, column in MICRO_BATCH_COLUMNS.items()])

PARAMETER_SCHEMA = pa.schema(
    [("id", pa.int32()), ("name", pa.string()), ("shape", pa.string()), ("dtype", pa.string()), ("group", pa.int32())]
)

Parameters = Sequence[tuple[str, tuple[int, ...], str, int]]
"""(name, shape, dtype, group) of each parameter, in the order of the tensor values."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a reader expects of the files of one table.

    Attributes:
        fits: whether a file of this schema may be one of its.
        keys: columns that are null in no row.
        most_a_step: rows for one step record.
        most_values: how many values are read at once.
        impossible: what no row may say, of the columns that were read; None if nothing is wrong.
    """

    fits: Callable[[pa.Schema], bool]
    keys: frozenset[str]
    most_a_step: int
    most_values: int
    impossible: Callable[[pa.Table], str | None]


def column_order(names: Iterable[str]) -> list[str]:
    """Columns of gradlens in their order, then the user's by name."""
    present = set(names)
    return [name for name in STEP_COLUMNS if name in present] + sorted(present - STEP_COLUMNS.keys())


def column_type(name: str) -> pa.DataType:
    """The Arrow type of a column of the step table."""
    return _TYPES[STEP_COLUMNS[name].dtype] if name in STEP_COLUMNS else pa.float64()


def parameters_table(parameters: Parameters) -> pa.Table:
    """What a session measured, one row a parameter."""
    names, shapes, dtypes, groups = zip(*parameters, strict=True) if parameters else ((),) * 4
    ids = range(len(parameters))
    return pa.table([ids, names, [json.dumps(shape) for shape in shapes], dtypes, groups], schema=PARAMETER_SCHEMA)


def _fits_steps(schema: pa.Schema) -> bool:
    return set(STEP_KEYS) <= set(schema.names) and all(each.type == column_type(each.name) for each in schema)


def _fits_tensors(schema: pa.Schema) -> bool:
    types = {column.name: column.type for column in schema}
    later = ("count", "nonfinite")  # not in schema version 1
    if len(types.keys() & set(later)) == 1:
        return False
    return all(types.get(c.name) == c.type or (c.name in later and c.name not in types) for c in TENSOR_SCHEMA)


def _fits_exactly(expected: pa.Schema) -> Callable[[pa.Schema], bool]:
    """Whether a file has these columns in this order; it may say that they are never null."""
    return lambda schema: schema.names == expected.names and schema.types == expected.types


def _strange_steps(table: pa.Table) -> str | None:
    if "step" not in table.column_names or not len(table):
        return None
    steps = pc.min_max(table["step"]).as_py()
    return None if 0 <= steps["min"] <= steps["max"] < MAX_STEP else "it has steps that no run has"


def _strange_blocks(table: pa.Table) -> str | None:
    if not {"offsets", "values"} <= set(table.column_names) or not len(table):
        return None
    lengths = (pc.list_value_length(table[name]) for name in ("offsets", "values"))
    return None if pc.all(pc.equal(*lengths)).as_py() else "some of its values have no step"


def _strange_micro_batches(table: pa.Table) -> str | None:
    if "micro_batch" in table.column_names and len(table):
        places = pc.min_max(table["micro_batch"]).as_py()
        if not 0 <= places["min"] <= places["max"] < MAX_MICRO_BATCHES:
            return "it has micro-batches that no step has"
    return _strange_steps(table)


def _nothing(_: pa.Table) -> None:
    return None


TABLES: Final = {
    STEPS: Table(_fits_steps, frozenset(STEP_KEYS), 1, 1 << 29, _strange_steps),
    TENSORS: Table(_fits_tensors, frozenset(TENSOR_SCHEMA.names), MAX_ROWS, 1 << 27, _strange_blocks),
    MICRO_BATCHES: Table(
        _fits_exactly(MICRO_BATCH_SCHEMA),
        frozenset(MICRO_BATCH_KEYS),
        MAX_MICRO_BATCHES,
        1 << 25,
        _strange_micro_batches,
    ),
    PARAMETERS: Table(PARAMETER_SCHEMA.equals, frozenset(PARAMETER_SCHEMA.names), MAX_ROWS, 1 << 24, _nothing),
}
"""By the names of their folders; and the file of parameters, which is read by the same means."""
