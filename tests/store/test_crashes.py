"""A crash at any operation on disk, at any point of it: nothing acknowledged is lost or doubled, and all resumes."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import (
    FRACTIONS,
    PARAMETERS,
    Crash,
    DyingDisk,
    begin,
    check,
    left_on_disk,
    micro_batches,
    mortal,
    open_only,
    record,
    row,
    tensors,
)

from gradlens.store import Disk, compact_run, session
from gradlens.store.snapshot import Snapshot

Count = Callable[[str, int], None]
SHARDS = 4


@pytest.fixture(autouse=True)
def _small_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.store.session.SEAL_ROWS", 4)
    monkeypatch.setattr("gradlens.store.session.BLOCK", 1)  # a log may end anywhere
    monkeypatch.setattr("gradlens.store.sealing.STALE_SECONDS", 0.0)


def points(operations: list[str], shard: int) -> list[tuple[int, int]]:
    """Where to die: in a write after each part of it, around anything else before and after."""
    whole = [
        (at, percent)
        for at, name in enumerate(operations)
        for percent in (FRACTIONS if name == "append" else (FRACTIONS[0], FRACTIONS[-1]))
    ]
    return whole[len(whole) * shard // SHARDS : len(whole) * (shard + 1) // SHARDS]


def fresh(disk: Disk, root: Path, acknowledged: list[int]) -> None:
    record(begin(disk, root), 0, range(14), acknowledged)


def left_by_a_crash(root: Path) -> None:
    """A run whose first session died between sealing its third log and removing it."""
    rehearsal = DyingDisk()
    fresh(rehearsal, root, [])
    shutil.rmtree(root)
    removals = [
        at
        for at, target in enumerate(rehearsal.targets)
        if rehearsal.operations[at] == "remove" and target.endswith(".log")
    ]
    dying = DyingDisk(removals[2])
    with contextlib.suppress(Crash):
        fresh(dying, root, [])
    dying.bury()


def resumed(disk: Disk, root: Path, acknowledged: list[int]) -> None:
    (path,) = (each for each in root.iterdir() if each.is_dir())
    turn = mortal(disk, session.resume(disk, path, {}, PARAMETERS))
    turn.tidy()
    record(turn, 1, range(9, 18), acknowledged)


def go_on(root: Path, turns: dict[int, tuple[list[int], int]]) -> None:
    """Resume the run once more, without a crash: it ends whole and tidy."""
    run = open_only(root)
    if run is None:  # the crash came before the run was a run: the next process begins another
        return
    turn = session.resume(Disk(), run.path, {}, [("a", (), "", 0), ("b", (), "", 0), ("c", (), "", 0)])
    turn.tidy()
    turns = {
        number: rows for number, rows in turns.items() if number < turn.number
    }  # one that did not claim is not there
    more: list[int] = []
    record(turn, turn.number, range(11, 14), more)
    compact_run(run.path)
    run = open_only(root)
    assert run is not None
    seen = run.steps(superseded=True)
    was = {t: (seen[seen["session"] == t]["step"].tolist(), -1) for t in turns}
    for t, (acknowledged, under_way) in turns.items():
        assert was[t][0] in (acknowledged, [*acknowledged, under_way])
    check(run, {**was, turn.number: (more, -1)})
    assert run.problems == ()
    assert run.status == "finished"
    assert [p.name for p in run.path.rglob("*") if p.name.startswith(".") or p.suffix == ".log"] == []
    for table in ("steps", "tensors", "micro_batches"):
        names = sorted(path.name.split("-")[1] for path in (run.path / table).iterdir())
        assert len(names) == len(set(names)), "one segment a session"


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.parametrize("scenario", ["fresh", "resumed"])
def test_a_crash_at_any_point_loses_and_doubles_nothing(
    scenario: str, shard: int, tmp_path: Path, count: Count
) -> None:
    before = tmp_path / "before"
    before.mkdir()
    first: list[int] = []
    if scenario == "resumed":
        left_by_a_crash(before)
        run = open_only(before)
        assert run is not None
        first = run.steps()["step"].tolist()
        assert len(first) > 9
        assert list(run.path.glob("active-*.log"))
    play = fresh if scenario == "fresh" else resumed
    rehearsal = DyingDisk()
    root = tmp_path / "rehearsal"
    shutil.copytree(before, root)
    whole: list[int] = []
    play(rehearsal, root, whole)
    tried = points(rehearsal.operations, shard)
    assert {"create", "append", "sync", "close", "rename", "sync_folder", "remove"} <= set(rehearsal.operations)
    seen = set()  # a death between two operations leaves what one before the second leaves, which is checked once
    for at, percent in tried:
        root = tmp_path / "root"
        shutil.copytree(before, root)
        disk = DyingDisk(at, percent)
        acknowledged: list[int] = []
        with contextlib.suppress(Crash):
            play(disk, root, acknowledged)
        assert len(disk.operations) > at, "the rehearsal's operations are those of the play"
        disk.bury()
        left = left_on_disk(root), len(acknowledged)
        if left in seen:
            shutil.rmtree(root)
            continue
        seen.add(left)
        run = open_only(root)
        under_way = whole[len(acknowledged)] if len(acknowledged) < len(whole) else -1
        turns = (
            {0: (acknowledged, under_way)} if scenario == "fresh" else {0: (first, -1), 1: (acknowledged, under_way)}
        )
        assert run is not None or not acknowledged
        if run is not None:
            check(run, turns)
            go_on(root, turns)
        shutil.rmtree(root)
    count("crash points tried, of which rows lost or doubled: 0", len(tried))


def test_the_check_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that acknowledged before it wrote, and a reader that took a row twice, would be seen."""
    disk = DyingDisk()
    turn = begin(disk, tmp_path)
    for seq in range(3):
        turn.append(seq, row(seq, 0), tensors(seq, 0), micro_batches(seq, 0))
    disk.bury()
    run = open_only(tmp_path)
    assert run is not None
    check(run, {0: ([0, 1, 2], -1)})
    with pytest.raises(AssertionError):
        check(run, {0: ([0, 1, 2, 3], -1)})
    with pytest.raises(AssertionError):
        check(run, {0: ([0, 1], -1)})
    fresh_rows = Snapshot.fresh
    monkeypatch.setattr(Snapshot, "fresh", lambda found, turn, table: fresh_rows(found, turn, table) * 2)
    with pytest.raises(AssertionError):
        check(run, {0: ([0, 1, 2], -1)})


def test_a_crash_while_a_run_of_an_older_version_is_taken_up_leaves_a_run(tmp_path: Path, count: Count) -> None:
    """Its version is raised, and the folders that it lacks are made, before anything of the new version is written."""
    old = begin(Disk(), tmp_path / "before")
    whole = [step for step in range(12) if not micro_batches(step, 0)]
    for seq, step in enumerate(whole):
        old.append(seq, row(step, 0), tensors(step, 0))
    old.rotate()
    old.seal()
    old.close()
    (old.path / "micro_batches").rmdir()
    about = old.path / "run.json"
    about.write_text(about.read_text().replace('"schema_version": 3', '"schema_version": 2'))
    rehearsal = DyingDisk()
    shutil.copytree(tmp_path / "before", tmp_path / "rehearsal")
    session.resume(rehearsal, tmp_path / "rehearsal" / old.path.name, {}, []).close()
    assert rehearsal.operations[:2] == ["make_folder", "sync_folder"]
    tried = [point for shard in range(SHARDS) for point in points(rehearsal.operations, shard)]
    for at, percent in tried:
        root = tmp_path / "root"
        shutil.copytree(tmp_path / "before", root)
        disk = DyingDisk(at, percent)
        with contextlib.suppress(Crash):
            session.resume(disk, root / old.path.name, {}, []).close()
        disk.bury()
        run = open_only(root)
        assert run is not None
        assert run.problems == ()
        check(run, {0: (whole, -1)})
        go_on(root, {0: (whole, -1)})
        shutil.rmtree(root)
    count("crash points tried, of which rows lost or doubled: 0", len(tried))
