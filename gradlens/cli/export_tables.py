"""``gradlens export csv`` and ``gradlens export parquet``: what runs recorded, as one table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from gradlens.cli.on_disk import count, named_runs
from gradlens.cli.output import print_json, printable
from gradlens.cli.progress import Advance, progress
from gradlens.cli.table_files import check_ending, check_free, table_file
from gradlens.schema import TENSOR_KINDS
from gradlens.store import Run, RunError
from gradlens.store.export_rows import micro_batch_slices, step_slices
from gradlens.store.export_tensors import tensor_slices
from gradlens.store.records import SUPERSEDED
from gradlens.store.slices import Slices
from gradlens.store.tables import column_order

_LEADING = ("run_id", "name")


def add(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add what is exported."""
    for form, title in (("csv", "CSV"), ("parquet", "Parquet")):
        parser = kinds.add_parser(form, help=f"every recorded number as one {title} table")
        parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or folders of runs")
        parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to")
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--tensors", choices=TENSOR_KINDS, metavar="KIND",
            help=f"per-tensor values instead of steps: {', '.join(TENSOR_KINDS)}",
        )  # fmt: skip
        instead.add_argument("--micro-batches", action="store_true", help="micro-batches instead of steps")
        parser.add_argument("--superseded", action="store_true", help="also what a resumed session did again, marked")
        parser.add_argument("--force", action="store_true", help="replace a file that is there")
        parser.add_argument("--json", action="store_true", help="for machines")
        parser.set_defaults(run=run, form=form)


@dataclass(frozen=True, slots=True)
class _Table:
    """The table that several runs make.

    Attributes:
        schema: of the file.
        names: of the columns that come from the runs.
        leading: whether a row says of which run it is.
        marked: whether a row says if it is superseded.
    """

    schema: pa.Schema
    names: tuple[str, ...]
    leading: bool
    marked: bool

    def rows(self, run: Run, part: pa.Table) -> pa.Table:
        """A slice of a run as rows of the file."""
        own = part.select(range(part.num_columns - self.marked))
        places = {name: place for place, name in enumerate(own.column_names)}
        columns = [
            own.column(places[name]) if name in places else pa.nulls(part.num_rows, kind)
            for name, kind in zip(self.names, self.schema.types[len(_LEADING) * self.leading :], strict=False)
        ]
        if self.leading:
            columns = [*(pa.repeat(pa.scalar(text), part.num_rows) for text in _identity(run)), *columns]
        if self.marked:
            columns.append(part.column(part.num_columns - 1))
        return pa.Table.from_arrays(columns, schema=self.schema)


def run(given: argparse.Namespace) -> int:
    """Write the table; 1 where something that was recorded could not be read, and is not in it."""
    if given.tensors and given.superseded:
        raise ValueError("--superseded is about rows of steps, --tensors gives per-tensor values; give one of the two.")
    check_ending(given.out, given.form)
    check_free(given.out, force=given.force)
    runs, problems = named_runs(given.runs)
    sources = [(run, _slices(run, given)) for run in runs]
    empty = [run for run, slices in sources if not slices.rows]
    sources = [(run, slices) for run, slices in sources if slices.rows]
    if not sources:
        raise RunError(_nothing(runs, problems, given))
    problems += [f"{run.name}: {sentence}" for run in empty for sentence in run.problems]
    order = list if given.micro_batches else column_order
    table = _table([slices for _, slices in sources], order, leading=len(runs) > 1, marked=given.superseded)
    written: list[int] = []
    with (
        progress("exporting", sum(slices.rows for _, slices in sources), "rows") as advance,
        table_file(given.out, given.form, table.schema, force=given.force) as file,
    ):
        for run, slices in sources:
            rows = 0
            for part in _watched(slices, run, advance):
                file.write(table.rows(run, part))
                rows += part.num_rows
            written.append(rows)
    exported = [run for run, _ in sources]
    damage = [f"{run.name}: {sentence}" for run, slices in sources for sentence in slices.damage]
    notes = [f"{run.name}: it has no {_what(given)}, and is left out." for run in empty] + _notes(exported, given)
    _report(given, table, exported, written, [*problems, *damage], notes)
    return 1 if problems or damage else 0


def _slices(run: Run, given: argparse.Namespace) -> Slices:
    if given.tensors:
        return tensor_slices(run, given.tensors)
    slices = micro_batch_slices if given.micro_batches else step_slices
    return slices(run, superseded=given.superseded)


def _watched(slices: Slices, run: Run, advance: Advance) -> Iterator[pa.Table]:
    for part in slices:
        yield part
        advance(part.num_rows, run.name)


def _table(
    sources: Sequence[Slices], order: Callable[[Iterable[str]], list[str]], *, leading: bool, marked: bool
) -> _Table:
    """One schema for all: gradlens' columns in their order, then the users'; none has the name of an added one."""
    own = [list(slices.schema)[: -1 if marked else None] for slices in sources]
    types = {column.name: column.type for columns in own for column in columns}
    names = order(types)
    added = [*(_LEADING if leading else ()), *((SUPERSEDED,) if marked else ())]
    fields = [(f"{name} (logged)" if name in added else name, types[name]) for name in names]
    first = [(name, pa.string()) for name in (_LEADING if leading else ())]
    last = [(SUPERSEDED, pa.bool_())] if marked else []
    return _Table(pa.schema([*first, *fields, *last]), tuple(names), leading, marked)


def _identity(run: Run) -> tuple[str, str]:
    """A run's id and name, without what no file can hold."""
    run_id, name = (text.encode("utf-8", "replace").decode() for text in (run.run_id, run.name))
    return run_id, name


def _what(given: argparse.Namespace) -> str:
    if given.micro_batches:
        return "micro-batches"
    return f"per-tensor {given.tensors}" if given.tensors else "readable rows"


def _table_name(given: argparse.Namespace) -> str:
    return given.tensors or ("micro_batches" if given.micro_batches else "steps")


def _nothing(runs: Sequence[Run], problems: Sequence[str], given: argparse.Namespace) -> str:
    if not runs:
        return " ".join(problems)
    names = ", ".join(repr(run.name) for run in runs[:3]) + (", ..." if len(runs) > 3 else "")
    damage = [sentence for run in runs for sentence in run.problems]
    return " ".join([f"expected {_what(given)} in {names}; found none, and wrote nothing.", *damage, *problems])


def _notes(runs: Sequence[Run], given: argparse.Namespace) -> list[str]:
    """What is not in the file, though nothing is broken."""
    thinned = [(run, run.thinned) for run in runs] if given.tensors else []
    return [
        f"{run.name}: steps {steps[0]:,} to {steps[1]:,} have 256-step summaries in place of some or all values "
        "(max_bytes); run.tensor_blocks has them."
        for run, steps in thinned
        if steps
    ]


def _report(
    given: argparse.Namespace,
    table: _Table,
    runs: Sequence[Run],
    rows: Sequence[int],
    problems: Sequence[str],
    notes: Sequence[str],
) -> None:
    size = given.out.stat().st_size
    if given.json:
        listed = [
            {"run_id": run.run_id, "name": run.name, "path": str(run.path), "rows": number}
            for run, number in zip(runs, rows, strict=True)
        ]
        print_json(
            {"file": str(given.out), "format": given.form, "table": _table_name(given), "rows": sum(rows)}
            | {"columns": table.schema.names, "bytes": size, "runs": listed, "problems": problems, "notes": notes}
        )
        return
    for sentence in (*problems, *notes):
        print(f"gradlens: {printable(sentence)}", file=sys.stderr)
    of = f" of {count(len(runs), 'run')}" if len(runs) > 1 else ""
    print(f"{given.out}: {count(sum(rows), 'row')}{of}, {len(table.schema)} columns, {size:,} bytes")
