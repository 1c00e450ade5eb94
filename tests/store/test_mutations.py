"""Whatever a file holds, a reader neither dies nor hangs nor deceives, and the run beside it is read unchanged."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hostile
import mutations
import pytest
from asking import Worker

from gradlens.store.segments import Segment

Count = Callable[[str, int], None]
SOAK = bool(os.environ.get("GRADLENS_SOAK"))
EACH = 100_000 if SOAK else 300
KINDS = [(name, "random") for name in mutations.FORMATS] + [
    (name, adversary)
    for name in mutations.FORMATS
    for adversary in ("renamed", "resealed")  # names, or all checksums, made to fit the damage
    if ("steps" in name or "tensors" in name) and not (adversary == "resealed" and "version" in name)
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
    """A process to ask in, so that a crash of it would be seen."""
    made = Worker()
    yield made
    made.close()


def test_every_hand_made_bad_folder_is_read_as_far_as_it_goes(
    pristine: Path, worker: Worker, tmp_path: Path, count: Count
) -> None:
    names = sorted(hostile.CASES)
    assert len(names) >= 120
    results = worker.run("hostile:exercise", names, str(pristine), str(tmp_path / "root"))
    failed = {name: result["failed"] for name, result in zip(names, results, strict=True) if "failed" in result}
    assert failed == {}
    for name, result in zip(names, results, strict=True):
        assert result["wrong"] == [], name
        assert result["untouched"], name
        assert result["problems"] or name in hostile.SILENT, name
    assert worker.killed == []
    count("hand-made bad files and folders", len(names))


@pytest.mark.parametrize(("name", "adversary"), KINDS)
def test_no_damage_to_a_file_gives_a_wrong_number(
    name: str, adversary: str, pristine: Path, worker: Worker, tmp_path: Path, count: Count
) -> None:
    many = EACH if adversary == "random" else EACH // 3
    cases = [[name, adversary, seed] for seed in range(many)]
    results = worker.run("mutations:mutation", cases, str(pristine), str(tmp_path / "root"))
    for case, result in zip(cases, results, strict=True):
        assert "failed" not in result, result["failed"]
        assert not result.get("wrong"), (case, result["wrong"])
        assert not result.get("unnamed"), (case, "values are missing and no problem names it")
        assert result["untouched"], case
    assert worker.killed == []
    count(f"files mutated ({adversary} damage), of which wrong numbers: 0", many)


def test_the_comparison_can_fail(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the checksums of column chunks, damage to a segment is taken for numbers, and seen here."""
    monkeypatch.setattr(
        Segment, "_check", lambda own, file, group, place: own._footer.groups[group].chunks[place].values
    )
    monkeypatch.setattr("pyarrow.parquet.ParquetFile", _unchecked())
    (name,) = [each for each in mutations.FORMATS if "steps" in each and "version" not in each][:1]
    deceived = 0
    for seed in range(80):
        try:
            deceived += bool(mutations.mutation((name, "random", seed), str(pristine), str(tmp_path / "root"))["wrong"])
        except Exception:  # noqa: S112 - an unprotected reader may also stumble
            continue
    assert deceived > 0


def _unchecked() -> Callable[..., object]:
    from pyarrow.parquet import ParquetFile

    def opened(*arguments: object, **options: object) -> object:
        options.pop("page_checksum_verification", None)
        return ParquetFile(*arguments, **options)

    return opened
