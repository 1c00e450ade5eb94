"""Per-tensor blocks of a snapshot: each session's up to where a later one takes over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gradlens.store import layout
from gradlens.store.errors import RunError
from gradlens.store.layout import BLOCK
from gradlens.store.log_tables import tensors_table
from gradlens.store.pages import Group
from gradlens.store.segments import Segment, TooMuchError
from gradlens.store.snapshot import Snapshot
from gradlens.store.tables import TENSOR_SCHEMA

MAX_BYTES: Final = 5 << 26
"""Five bytes a value: its step within the block, and itself."""
SUMMARIES: Final = ("min", "max", "mean", "last")
"""Of the finite values of a block."""


def blocks(found: Snapshot, kind: str, low: int, high: int, columns: tuple[str, ...]) -> pa.Table | None:
    """Blocks of one kind, superseded steps cut off, in the order of session and row.

    Raises:
        TooMuchError: if they are more than memory should hold.
    """
    parts = []
    for session in found.sessions:
        limit = found.limit(session)
        tables = []
        for segment in found.segments(session, layout.TENSORS):
            names = (*columns, "offsets", "values") if takes_values(found, session, segment) else columns
            try:
                tables.append(read_tensors(segment, kind, low, high, names))
            except TooMuchError:
                raise
            except RunError:
                continue
        fresh = found.fresh(session, layout.TENSORS)
        if fresh:
            table = tensors_table(fresh, session, [kind])
            chosen = pc.and_(pc.greater_equal(table["parameter"], low), pc.less(table["parameter"], high))
            tables.append(table.filter(chosen))
        parts += [below(table, limit).select(list(columns)) for table in tables]
        if sum(part.nbytes for part in parts) > MAX_BYTES:
            raise TooMuchError(f"{kind} of all parameters is too much to read at once; give the name of one.")
    schema = pa.schema([TENSOR_SCHEMA.field(name) for name in columns])
    return pa.concat_tables([part.cast(schema) for part in parts]) if parts else None


def takes_values(found: Snapshot, session: int, segment: Segment) -> bool:
    """Whether :func:`below` needs the values of a segment's blocks."""
    return not segment.thin and found.limit(session) != float("inf")


def below(table: pa.Table, limit: float) -> pa.Table:
    """Blocks below a step; the one that it lies in keeps its values before it, and is summarised again."""
    if limit == float("inf"):
        return table
    if "values" not in table.column_names:  # thinned: what lies on both sides of the limit cannot be told apart
        return table.filter(pc.less(table["block"], int(limit) // BLOCK))
    block = int(limit) // BLOCK
    whole = table.filter(pc.less(table["block"], block))
    rest = table.filter(pc.equal(table["block"], block))
    if int(limit) % BLOCK == 0 or rest.num_rows == 0:
        return whole
    kept = [(o, v) for o, v in zip(rest["offsets"].to_pylist(), rest["values"].to_pylist(), strict=True)]
    kept = [
        ([a for a in o if a < limit % BLOCK], [b for a, b in zip(o, v, strict=True) if a < limit % BLOCK])
        for o, v in kept
    ]
    for name, values in (("offsets", [o for o, _ in kept]), ("values", [v for _, v in kept])):
        place = rest.schema.get_field_index(name)
        rest = rest.set_column(place, rest.schema.field(place), pa.array(values, rest.schema.field(place).type))
    for name, summary in (("min", np.min), ("max", np.max), ("mean", np.mean), ("last", lambda v: v[-1])):
        if name in rest.column_names:
            finite = [np.array([x for x in v if np.isfinite(x)]) for _, v in kept]
            place = rest.schema.get_field_index(name)
            found = [float(summary(v)) if len(v) else float("nan") for v in finite]
            rest = rest.set_column(place, rest.schema.field(place), pa.array(found, pa.float32()))
    return pa.concat_tables([whole, rest.filter(pc.greater(pc.list_value_length(rest["values"]), 0))])


def values(rows: pa.Table | None, names: Sequence[str]) -> pa.Table:
    """The values in blocks, one row each: step, name and value, ordered by step, then parameter."""
    schema = pa.schema([("step", pa.int64()), ("name", pa.string()), ("value", pa.float32())])
    if rows is None or not pc.sum(pc.list_value_length(rows["values"])).as_py():
        return schema.empty_table()
    counts = pc.list_value_length(rows["values"]).to_numpy()
    step = np.repeat(rows["block"].to_numpy() * BLOCK, counts) + pc.list_flatten(rows["offsets"]).to_numpy()
    parameter = np.repeat(rows["parameter"].to_numpy(), counts)
    value = pc.list_flatten(rows["values"]).to_numpy()
    order = np.lexsort((np.arange(len(step)), parameter, step))
    step, parameter, value = step[order], parameter[order], value[order]
    newest = np.append((np.diff(step) != 0) | (np.diff(parameter) != 0), True)
    return pa.table({"step": step[newest], "name": _named(parameter[newest], names), "value": value[newest]})


def summaries(rows: pa.Table | None, names: Sequence[str]) -> pa.Table:
    """The summaries of blocks: step of the block's begin, name, and the four, ordered by step, then parameter."""
    if rows is None:
        rows = pa.schema([TENSOR_SCHEMA.field(name) for name in ("parameter", "block", *SUMMARIES)]).empty_table()
    rows = rows.sort_by([("block", "ascending"), ("parameter", "ascending")])
    columns = {"step": rows["block"].to_numpy() * BLOCK, "name": _named(rows["parameter"].to_numpy(), names)}
    return pa.table({**columns, **{name: rows[name] for name in SUMMARIES}})


def _named(parameters: NDArray[np.int32], names: Sequence[str]) -> pa.Array:
    known = np.array([*names, "?"], dtype=object)
    inside = (parameters >= 0) & (parameters < len(known))
    return pa.array(known[np.where(inside, parameters, len(known) - 1)], pa.string())


def value_counts(segment: Segment) -> NDArray[np.int64]:
    """(rows,) recorded values in each row of a segment, thinned ones included."""
    if not {"count", "nonfinite"} <= set(segment.columns):  # schema version 1
        lengths: NDArray[np.int64] = (
            pc.list_value_length(segment.read(["values"])["values"]).to_numpy().astype(np.int64)
        )
        return lengths
    table = segment.read(["count", "nonfinite"])
    counts: NDArray[np.int64] = table["count"].to_numpy().astype(np.int64) + table["nonfinite"].to_numpy()
    return counts


def read_tensors(segment: Segment, kind: str, low: int, high: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one kind and of parameters ``low`` to ``high - 1``, without reading the others' where they lie apart.

    Raises:
        RunError: if the segment is damaged.
        FileNotFoundError: if it is gone.
    """
    places = {name: place for place, name in enumerate(segment.columns)}

    def wanted(group: Group) -> bool:
        kinds, parameters = (group.chunks[places[name]].bounds for name in ("kind", "parameter"))
        if kinds is None or parameters is None:
            return True
        first, last = (int.from_bytes(bound, "little", signed=True) for bound in parameters)
        return kinds[0] <= kind.encode() <= kinds[1] and first < high and last >= low

    names = segment.columns if columns is None else (*columns, "kind", "parameter")
    table = segment.read(names, wanted)
    chosen = pc.and_(pc.equal(table["kind"], kind), pc.greater_equal(table["parameter"], low))
    return table.filter(pc.and_(chosen, pc.less(table["parameter"], high)))
