"""Whatever happens to a file, a reader neither dies nor hangs nor deceives, and the run beside it is read unchanged."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import mutations
import pytest
from asking import Worker
from pyarrow.parquet import ParquetFile

from gradlens.store.segments import Segment

Count = Callable[[str, int], None]
SOAK = bool(os.environ.get("GRADLENS_SOAK"))
SEGMENTS = [name for name, kind in mutations.FORMATS.items() if "seg" in kind.file]
KINDS = [
    *((name, "random", 300) for name in mutations.FORMATS),
    *((name, "renamed", 60) for name in SEGMENTS),  # the checksum in its name made to fit
    *((name, "resealed", 60) for name in (*SEGMENTS, "log") if "version" not in name),  # and all others within
]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs that are damaged: sealed, live, resumed, and one of schema version 1."""
    root = tmp_path_factory.mktemp("pristine")
    hostile.record(root, "sealed")
    hostile.record(root, "live", sealed=False)
    hostile.resume(hostile.record(root, "resumed"))
    shutil.copytree(hostile.SAMPLE, root / "old")
    return root


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A process to ask in."""
    made = Worker()
    yield made
    made.close()


@pytest.mark.parametrize(("name", "adversary", "many"), KINDS)
def test_no_damage_to_a_file_gives_a_wrong_number(
    name: str, adversary: str, many: int, pristine: Path, worker: Worker, tmp_path: Path, count: Count
) -> None:
    many = 100_000 if SOAK else many
    cases = [[name, adversary, seed] for seed in range(many)]
    results = worker.run("mutations:mutation", cases, str(pristine), str(tmp_path / "root"))
    count("files mutated", many)
    count("wrong numbers", sum(len(result.get("wrong", ())) for result in results))
    count("children killed by a signal", len(worker.killed))
    assert [result["failed"] for result in results if "failed" in result] == []
    assert [(case, result["wrong"]) for case, result in zip(cases, results, strict=True) if result.get("wrong")] == []
    assert [case for case, result in zip(cases, results, strict=True) if result.get("unnamed")] == []
    assert all(result["untouched"] for result in results)
    assert worker.killed == []


def test_the_comparison_can_fail(
    pristine: Path, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where checksums are made to fit, or not looked at, readers are deceived, and that is seen."""
    cases = [["log", "deceiving", seed] for seed in range(40)]
    results = worker.run("mutations:mutation", cases, str(pristine), str(tmp_path / "root"))
    assert sum(bool(result.get("wrong")) for result in results) > 3
    monkeypatch.setattr(Segment, "_check", lambda own, file, group, place: 0)
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", _unchecked(ParquetFile))
    deceived = 0
    for seed in range(60):
        with contextlib.suppress(Exception):  # an unprotected reader may also stumble
            result = mutations.mutation(
                ("steps of version 1", "deceiving", seed), str(pristine), str(tmp_path / "here")
            )
            deceived += bool(result["wrong"])
    assert deceived > 0


def _unchecked(opening: Callable[..., object]) -> Callable[..., object]:
    return lambda *given, **options: opening(*given, **options | {"page_checksum_verification": False})
