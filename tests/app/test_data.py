"""The data module: answers kept by the state of the files, one computation however many ask, several roots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import gradlens
from gradlens.analysis import norm_smoothness, summarize
from gradlens.store import Disk, Run, RunWriter, open_run, snapshot
from gradlens_app import create_app
from gradlens_app.data import UNKNOWN, Data
from gradlens_app.responses import SMALLEST
from gradlens_app.view import ViewError

from .asking import callback, fill_table, keys_of
from .conftest import STEPS, MakeRun, add_steps, write_run


def _grow(writer: RunWriter) -> None:
    add_steps(writer, 100, 101)


def _beat(writer: RunWriter) -> None:
    path = writer.path / "health-0.json"
    Disk().write(path, path.read_bytes() + b" ")


def _resume(writer: RunWriter) -> None:
    (writer.path / "session-1.json").write_text("{}")


def _seal(writer: RunWriter) -> None:
    writer.close("finished")


def _rename(writer: RunWriter) -> None:
    path = writer.path / "run.json"
    Disk().write(path, path.read_bytes().replace(b"live", b"dead"))


def _remove(writer: RunWriter) -> None:
    (writer.path / "active-0-0.log").unlink()


def _overwrite(writer: RunWriter) -> None:
    path = writer.path / "parameters-0.parquet"
    path.write_bytes(path.read_bytes()[::-1])


@pytest.mark.parametrize("change", [_grow, _beat, _resume, _seal, _rename, _remove, _overwrite])
def test_nothing_is_kept_once_a_file_has_changed(live: RunWriter, change: Callable[[RunWriter], None]) -> None:
    data = Data([live.path.parent], fresh=0)
    asked: list[Run] = []

    def question(run: Run) -> int:
        asked.append(run)
        return len(asked)

    (key,) = (entry.key for entry in data.listing().entries)
    assert [data.ask(question, *data.find([key])) for _ in range(3)] == [1, 1, 1]
    before = data.find([key])[0].stamp
    time.sleep(0.01)  # a clock of the file system may tick slowly
    change(live)
    assert not data.is_now(key, before)
    assert data.ask(question, *data.find([key])) == 2


def test_the_stamp_is_that_of_the_files_alone(live: RunWriter) -> None:
    run = gradlens.open_run(live.path)
    before = run.stamp
    (live.path / "steps" / ".seg-0-0-9.tmp").write_text("")  # a write under way
    assert run.stamp == before
    assert {name for name, *_ in before} == {
        "run.json", "health-0.json", "parameters-0.parquet", "active-0-0.log",
    }  # fmt: skip
    live.close("finished")
    assert {name.partition("/")[0] for name, *_ in run.stamp} >= {"steps"}
    assert all(size == (live.path / name).stat().st_size for name, _, size, _ in run.stamp)


def test_a_look_at_the_folder_is_good_for_as_long_as_said(live: RunWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Data([live.path.parent], fresh=60)
    looks: list[object] = []
    whole = Run.stamp.fget
    monkeypatch.setattr(Run, "stamp", property(lambda run: looks.append(run) or whole(run)))
    (key,) = (entry.key for entry in data.listing().entries)
    for _ in range(5):
        data.find([key])
        data.listing()
    assert looks == []


def test_a_run_whose_files_stay_is_looked_through_once(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Path] = []
    whole = snapshot.take
    monkeypatch.setattr(snapshot, "take", lambda path: looks.append(path) or whole(path))
    data = Data([pair], fresh=0)
    key = keys_of(pair)[0]

    def steps() -> int:
        return len(data.find([key])[0].run.series("loss")[0])

    assert [steps(), steps(), len(data.find([key])[0].run.columns) > 3] == [STEPS, STEPS, True]
    assert len(looks) == 1
    segment = next((data.find([key])[0].run.path / "steps").iterdir())
    segment.rename(segment.with_name(".hidden"))
    assert data.find([key])[0].run.columns == ()
    held = open_run(segment.parents[1]).held()
    segment.with_name(".hidden").rename(segment)
    assert len(held.series("loss")[0]) == STEPS
    segment.unlink()
    with pytest.raises(KeyError):  # what it had looked at has gone: it looks again
        held.series("grad_norm")


def test_many_who_ask_at_once_wait_for_one_computation(read_pair: Path) -> None:
    data = Data([read_pair])
    (entry, _) = data.listing().entries
    count: list[int] = []

    def question(run: Run) -> int:
        count.append(1)
        time.sleep(0.05)
        return len(count)

    found: list[int] = []
    readers = [threading.Thread(target=lambda: found.append(data.ask(question, entry))) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert (found, count) == ([1] * 8, [1])


def test_a_failure_is_told_to_all_who_wait_and_is_not_kept(read_pair: Path) -> None:
    data = Data([read_pair])
    (entry, other) = data.listing().entries
    tries: list[int] = []

    def question(run: Run) -> str:
        tries.append(1)
        if run.run_id == entry.run.run_id:
            raise ZeroDivisionError
        return run.name

    for _ in range(2):
        found = data.ask_each(question, [entry, other])
        assert found.answers == ("clipped",)
        assert found.problems == (
            "plain cannot be shown: what it recorded is not what it should be. The terminal of gradlens says more.",
        )
    assert len(tries) == 3


def test_time_is_kept_and_what_is_known_costs_none(read_pair: Path) -> None:
    data = Data([read_pair])
    entries = data.listing().entries
    assert len(data.ask_each(summarize, entries, seconds=-1)) == 0
    assert len(data.ask_each(summarize, entries)) == 2
    assert len(data.ask_each(summarize, entries, seconds=-1)) == 2
    assert data.ask(norm_smoothness, entries[0]).n == 100


def test_several_roots_are_shown_together(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "runs", "one")
    write_run(tmp_path / "b" / "runs", "two", seed=1)
    data = Data([tmp_path / "a" / "runs", tmp_path / "b" / "runs", tmp_path / "a"])
    listed = data.listing().entries
    assert sorted(entry.run.name for entry in listed) == ["one", "two"]
    assert len({entry.key for entry in listed}) == 2
    assert data.name == "a/runs, b/runs, a"
    with create_app(tmp_path / "a" / "runs", tmp_path / "b" / "runs").server.test_client() as client:
        assert len(fill_table(client).json["response"]["run-table"]["rowData"]) == 2


def test_a_run_that_is_gone_or_outside_is_not_found(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("one")
    data = Data([tmp_path / "runs"], fresh=0)
    (key,) = (entry.key for entry in data.listing().entries)
    run = data.find([key])[0].run
    run.path.rename(tmp_path / "elsewhere")
    with pytest.raises(ViewError, match=UNKNOWN[:20]):
        data.find([key])
    run.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ViewError, match=UNKNOWN[:20]):
        data.find([key])


def test_the_same_request_gets_the_same_bytes_until_a_run_changes(live: RunWriter) -> None:
    client = create_app(live.path.parent, fresh=0).server.test_client()
    small = {"Accept-Encoding": "gzip"}
    first = fill_table(client, **small)
    again = fill_table(client, **small)
    assert first.headers["Content-Encoding"] == again.headers["Content-Encoding"] == "gzip"
    assert first.data == again.data
    add_steps(live, 100, 150)
    assert fill_table(client, **small).data != first.data
    assert fill_table(client).json["response"]["run-table"]["rowData"][0]["steps"] == 150


def test_an_answer_that_leaves_runs_out_is_not_kept(read_pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = create_app(read_pair).server.test_client()
    monkeypatch.setattr("gradlens_app.pages.runs.FILL_SECONDS", -1.0)
    first = fill_table(client)
    assert len(first.data) > SMALLEST
    assert first.json["response"]["table-foot"]["children"] == "2 of 2 runs still to be read."
    monkeypatch.undo()
    assert fill_table(client).json["response"]["run-table"]["rowData"][0]["steps"] == STEPS


def test_a_cursor_moves_only_when_a_run_shown_has_changed(live: RunWriter, tmp_path: Path) -> None:
    write_run(tmp_path / "live", "still")
    client = create_app(live.path.parent, fresh=0).server.test_client()
    moving, still = sorted(keys_of(live.path.parent), key=lambda key: key != _key_of(live))

    def poll(key: str, cursor: str | None) -> dict[str, object]:
        outputs = [("cursor", "data"), ("run-count", "children"), ("there", "data"), ("poll-answered", "data")]
        state = {("chosen", "data"): {"runs": key, "cursor": cursor}, ("there", "data"): True}
        state |= {("address", "search"): "", ("cursor", "data"): None}
        found: dict[str, object] = callback(client, outputs, {("poll-tick", "data"): 0}, state).json["response"]
        return found

    cursors = {key: poll(key, None)["cursor"]["data"] for key in (moving, still)}  # type: ignore[index]
    assert "cursor" not in poll(moving, cursors[moving])
    time.sleep(0.01)
    add_steps(live, 100, 101)
    assert poll(moving, cursors[moving])["cursor"]["data"] != cursors[moving]  # type: ignore[index]
    assert "cursor" not in poll(still, cursors[still])
    assert poll(moving, None)["run-count"]["children"] == "2 runs, 1 recording"  # type: ignore[index]
    gone = poll("0" * 12, "kept")  # a run shown was deleted: the page stays, and the number of runs is told
    assert gone["run-count"] == {"children": "2 runs"}
    assert "cursor" not in gone


def _key_of(writer: RunWriter) -> str:
    return next(e.key for e in Data([writer.path.parent]).listing().entries if e.run.path == writer.path)


def test_the_folder_is_only_read(pair: Path) -> None:
    def state() -> dict[str, tuple[int, int, int]]:
        return {
            str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.stat().st_size)
            for path in [pair, *pair.rglob("*")]
        }

    before = state()
    with create_app(pair).server.test_client() as client:
        client.get("/")
        fill_table(client)
        for form in ("pdf", "csv"):
            client.get(f"/export/dynamics.{form}?runs={','.join(keys_of(pair))}")
    assert state() == before


def test_a_missing_root_speaks(tmp_path: Path) -> None:
    with pytest.raises(gradlens.RunError, match="does not exist; give the folder that your recorder writes to"):
        Data([tmp_path / "none"])
