from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

import gradlens
from gradlens.figures.palette import THEMES
from gradlens.figures.plotly_renderer import render
from gradlens.store import Disk, Run, RunWriter
from gradlens.store.segments import Segment
from gradlens_app import create_app, security, serve
from gradlens_app.catalogue import UNKNOWN, Catalogue
from gradlens_app.dynamics_figure import Figures, labels
from gradlens_app.pages.dynamics import _chosen, _drawable, _shown, default_pair

from .conftest import HOSTILE, STEPS, FullDisk, MakeRun, add_steps, begin_run, lose_steps


def keys_of(root: Path) -> list[str]:
    return [entry.key for entry in Catalogue(root).listing().entries]


def fill_table(client: FlaskClient, columns: list[dict[str, Any]] | None = None, **headers: str) -> Any:
    """What the browser asks for to fill the run table, and which columns it shows."""
    outputs = [
        ("run-table", "rowData"),
        ("table-foot", "children"),
        ("table-problems", "children"),
        ("fill", "disabled"),
        ("fill", "interval"),
        ("run-table", "columnDefs"),
    ]
    return client.post(
        "/_dash-update-component",
        headers=headers,
        json={
            "output": ".." + "...".join(f"{name}.{prop}" for name, prop in outputs) + "..",
            "outputs": [{"id": name, "property": prop} for name, prop in outputs],
            "inputs": [{"id": "fill", "property": "n_intervals", "value": 0}],
            "state": [{"id": "run-table", "property": "columnDefs", "value": columns}],
            "changedPropIds": [],
        },
    )


def choose(client: FlaskClient, keys: list[str]) -> dict[str, Any]:
    """What the browser asks for to show runs on the Dynamics page."""
    outputs = [("head", "children"), ("body", "children"), ("picker", "data"), ("picker", "value")]
    outputs += [("shown", "data"), ("steps", "data")]
    answer = client.post(
        "/_dash-update-component",
        json={
            "output": ".." + "...".join(f"{name}.{prop}" for name, prop in outputs) + "..",
            "outputs": [{"id": name, "property": prop} for name, prop in outputs],
            "inputs": [{"id": "address", "property": "search", "value": "?runs=" + ",".join(keys)}],
            "state": [
                {"id": "address", "property": "pathname", "value": "/dynamics"},
                {"id": "shown", "property": "data", "value": None},
            ],
            "changedPropIds": [],
        },
    )
    found: dict[str, Any] = answer.json["response"]
    return found


# ---- the gate --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8050", "127.0.0.1", "127.0.0.1:9000", "[::1]", "[::1]:8050"])
def test_requests_that_name_this_machine_are_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.org",
        "example.org:8050",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "localhost@example.org",
        "example.org#localhost",
        "0.0.0.0",  # noqa: S104 - refused
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "localhost.",
        "localhost:99999",
        "localhost:80:80",
        "[::ffff:10.0.0.1]",
        "::1",
        "localhost, example.org",
        "local host",
    ],
)
def test_requests_that_name_another_host_are_misdirected(client: FlaskClient, host: str) -> None:
    answer = client.get("/", headers={"Host": host})
    assert answer.status_code == 421
    assert "localhost and 127.0.0.1 only" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {"Origin": "https://localhost"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://localhost.example.org"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_posts_from_other_sites_are_refused(client: FlaskClient, headers: dict[str, str]) -> None:
    assert fill_table(client, **headers).status_code == 403
    assert fill_table(client, Origin="http://localhost").status_code == 200


def test_bodies_over_a_mebibyte_are_refused(client: FlaskClient) -> None:
    large = b" " * (security.MAX_BODY + 1)
    assert client.post("/_dash-update-component", data=large).status_code == 413
    for length in ("-1", "9" * 30, "many"):
        answer = client.post("/_dash-update-component", environ_overrides={"CONTENT_LENGTH": length})
        assert answer.status_code == 413
    unannounced = client.post(
        "/_dash-update-component",
        input_stream=io.BytesIO(large),
        environ_overrides={"wsgi.input_terminated": True},
        content_type="application/json",
    )
    assert unannounced.status_code == 413


def test_a_body_nested_too_deeply_is_refused_in_a_sentence(client: FlaskClient) -> None:
    answer = client.post("/_dash-update-component", data="[" * 200_000, content_type="application/json")
    assert answer.status_code == 400
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("path", ["/", "/dynamics", "/assets/gradlens.css", "/export/training_dynamics.pdf", "/x"])
def test_every_answer_carries_the_headers(client: FlaskClient, path: str) -> None:
    for host in ("localhost", "example.org"):
        headers = client.get(path, headers={"Host": host}, buffered=True).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "'unsafe-inline'" not in re.search("script-src ([^;]*)", policy)[1]  # type: ignore[index]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "no-referrer"


def test_nothing_on_the_page_points_away_from_the_server(client: FlaskClient) -> None:
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", client.get("/").text)


# ---- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//....//etc/passwd",
        "/etc/passwd",
        "C:\\Windows\\win.ini",
        "..\\..\\etc\\passwd",
        "file:///etc/passwd",
        "%00",
        "0123456789ab/../x",
        "0123456789AB",
        "0123456789abc",
        "-1",
        "~root",
        "0123456789ab\n",
        "*",
        "𝟎123456789ab",
        "ffffffffffff",
    ],
)
@pytest.mark.parametrize("parameter", ["runs", "steps", "panel", "style", "column"])
def test_traversal_gets_a_sentence_and_no_path(client: FlaskClient, read_pair: Path, key: str, parameter: str) -> None:
    given = {"runs": ",".join(keys_of(read_pair)), parameter: key}
    answer = client.get("/export/training_dynamics.csv" if parameter in ("runs", "steps", "panel") else
                        "/export/training_dynamics.svg", query_string=given)  # fmt: skip
    assert answer.status_code == 400
    assert answer.text.endswith((".", "'."))
    assert str(read_pair) not in answer.text
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "path", ["/assets/../server.py", "/assets/%2e%2e/server.py", "/assets/..%2fserver.py", "/assets//etc/passwd",
             "/_dash-component-suites/dash/../../../etc/passwd", "/export/..%2f..%2fetc%2fpasswd"]
)  # fmt: skip
def test_files_outside_the_assets_are_not_served(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert "import waitress" not in answer.text
    assert "root:" not in answer.text
    assert "Traceback" not in answer.text


def test_keys_are_opaque_and_survive_restarts(read_pair: Path) -> None:
    keys = keys_of(read_pair)
    assert keys == keys_of(read_pair)
    assert all(re.fullmatch("[0-9a-f]{12}", key) for key in keys)
    assert len(set(keys)) == 2


def test_a_link_out_of_the_root_is_not_followed(make_run: MakeRun, tmp_path: Path) -> None:
    outside = make_run("outside")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(outside)
    assert keys_of(root) == []


def test_an_address_of_no_run_is_met_with_a_sentence(read_pair: Path) -> None:
    catalogue = Catalogue(read_pair)
    assert _chosen(catalogue, "?runs=ffffffffffff")[0] == UNKNOWN
    assert "twelve hexadecimal digits" in _chosen(catalogue, "?runs=../x")[0]
    assert "first and a later last step" in _chosen(catalogue, "?steps=9-1")[0]
    assert "No run is chosen" in _chosen(catalogue, "?runs=")[0]


def test_without_runs_in_the_address_the_nearest_pair_is_chosen(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("far", clipped=True, lr=0.3)
    make_run("plain", lr=0.1)
    make_run("near", clipped=True, lr=0.1)
    entries = Catalogue(tmp_path / "runs").listing().entries
    assert [entry.run.name for entry in default_pair(entries)] == ["plain", "near"]


# ---- exports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "start"),
    [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG"), ("csv", b"panel,mark,label,x,x_end,y,low")],
)
def test_the_figure_is_exported(client: FlaskClient, read_pair: Path, form: str, start: bytes) -> None:
    answer = client.get(f"/export/training_dynamics.{form}?runs={','.join(keys_of(read_pair))}")
    assert answer.status_code == 200
    assert answer.data.startswith(start)
    assert f'filename="training_dynamics.{form}"' in answer.headers["Content-Disposition"]


def test_an_export_holds_the_panel_and_steps_asked_for(client: FlaskClient, read_pair: Path) -> None:
    answer = client.get(f"/export/training_dynamics.csv?runs={keys_of(read_pair)[0]}&panel=0&steps=100-199")
    rows = [line.split(",") for line in answer.text.splitlines()[1:]]
    assert {row[0] for row in rows} == {"Step size"}
    assert [float(row[3]) for row in rows if row[1] == "line"] == list(range(100, 200))


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("training_dynamics.exe?runs=K", "Expected one of the formats pdf, svg, png, csv."),
        ("training_dynamics.pdf", "runs= expects the keys of 1 to 8 runs; got 0."),
        ("training_dynamics.pdf?runs=ffffffffffff", UNKNOWN),
        ("training_dynamics.pdf?runs=K&panel=7", "panel= expects a number from 0 to 2."),
        ("training_dynamics.pdf?runs=K&steps=9-9", "steps= expects a first and a later last step"),
        ("training_dynamics.pdf?runs=K&style=word", "expected one of the styles"),
        ("training_dynamics.pdf?runs=K&column=third", "column is 'full' or 'half'"),
        ("training_dynamics.pdf?runs=K&debug=1", "Expected each of runs, steps, panel, style, column once"),
        ("training_dynamics.pdf?runs=K&runs=K", "Expected each of runs, steps, panel, style, column once"),
    ],
)
def test_a_wrong_export_says_what_was_expected(client: FlaskClient, read_pair: Path, path: str, sentence: str) -> None:
    answer = client.get("/export/" + path.replace("K", keys_of(read_pair)[0]))
    assert answer.status_code == 400
    assert answer.mimetype == "text/plain"
    assert sentence in answer.text


# ---- content ---------------------------------------------------------------------------------------------------------


def test_the_table_holds_the_numbers_of_each_run(client: FlaskClient) -> None:
    rows = fill_table(client).json["response"]["run-table"]["rowData"]
    assert [row["name"] for row in rows] == ["plain", "clipped"]
    assert [row["steps"] for row in rows] == [STEPS, STEPS]
    assert rows[0]["clipped"] is None
    assert 0.5 < rows[1]["clipped"] < 1


def test_a_damaged_run_is_named_and_leaves_the_others_alone(pair: Path) -> None:
    victim = next((gradlens.open_runs(pair)[0].path / "steps").iterdir())
    victim.write_bytes(victim.read_bytes()[:-20])
    (pair / "broken").mkdir()
    (pair / "broken" / "run.json").write_text("{")
    with create_app(pair).server.test_client() as client:
        answer = fill_table(client)
    rows = answer.json["response"]["run-table"]["rowData"]
    assert [row["final_loss"] is None for row in rows] == [True, False]
    panel = json.dumps(answer.json["response"]["table-problems"])
    assert "broken/run.json cannot be read" in panel
    assert "is damaged or cut short" in panel
    assert str(pair) not in panel


def test_summaries_are_kept_until_the_files_change(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = Catalogue(pair)
    entries = catalogue.listing().entries
    assert len(catalogue.overviews(entries, seconds=60)) == 2
    assert len(catalogue.overviews(entries, seconds=0)) == 2
    steps = entries[0].run.path / "steps"
    (steps / "foreign.txt").write_text("")
    assert len(catalogue.overviews(entries, seconds=0)) == 1
    assert "not a gradlens segment" in catalogue.problems(entries[0])[0]


# ---- runs that are being written, and what was lost ------------------------------------------------------------------


@pytest.fixture
def live(tmp_path: Path) -> Iterator[RunWriter]:
    """A run under way, its rows in the active log only."""
    writer = begin_run(tmp_path / "live")
    add_steps(writer, 0, 100)
    while not (writer.path / "health-0.json").exists():
        time.sleep(0.01)
    yield writer
    writer.close("stopped")


def table_of(root: Path) -> tuple[list[dict[str, Any]], str]:
    """The rows of the run table, and what stands under it, as JSON."""
    with create_app(root).server.test_client() as client:
        found = fill_table(client).json["response"]
    return found["run-table"]["rowData"], json.dumps(found["table-problems"])


def dynamics_of(catalogue: Catalogue) -> list[Any]:
    """Every part of the Dynamics page on all runs of a catalogue."""
    figures = Figures(catalogue)
    entries = catalogue.find([entry.key for entry in catalogue.listing().entries])
    return list(_shown(catalogue, figures, entries, None, None, "light", []))


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
    catalogue = Catalogue(live.path.parent)
    (entry,) = catalogue.listing().entries
    before = catalogue.stamp(entry)
    assert len(catalogue.overviews([entry], seconds=60)) == 1
    assert len(catalogue.overviews([entry], seconds=0)) == 1
    time.sleep(0.01)  # a clock of the file system may tick slowly
    change(live)
    assert catalogue.stamp(entry) != before
    assert len(catalogue.overviews([entry], seconds=0)) == 0


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


def test_a_run_under_way_is_listed_and_drawn_and_grows(live: RunWriter) -> None:
    rows, problems = table_of(live.path.parent)
    assert [(row["name"], row["status"], row["steps"]) for row in rows] == [("live", "running", 100)]
    assert "problems" not in problems
    catalogue = Catalogue(live.path.parent)
    feet = dynamics_of(catalogue)[1]
    assert feet[0].startswith("100 of 100 points")
    assert feet[2].startswith("25 of 25 points")
    add_steps(live, 100, 200)
    *_, disabled, note = shown = dynamics_of(catalogue)
    assert shown[1][0].startswith("200 of 200 points")
    assert shown[1][2].startswith("50 of 50 points")
    assert "iteration 199" in shown
    assert (disabled, note) == (False, "recording, read anew every 5 s")
    assert table_of(live.path.parent)[0][0]["steps"] == 200
    live.close("finished")
    *_, disabled, note = dynamics_of(catalogue)
    assert (disabled, note) == (True, "")
    assert table_of(live.path.parent)[0][0]["status"] == "finished"


def test_a_run_that_has_only_begun_is_listed_and_drawn(tmp_path: Path) -> None:
    writer = begin_run(tmp_path / "runs")
    assert [row["steps"] for row in table_of(tmp_path / "runs")[0]] == [0]
    shown = dynamics_of(Catalogue(tmp_path / "runs"))
    assert len(shown[0]) == 3
    writer.close("stopped")


def test_rows_that_the_disk_did_not_take_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.store.writer.MOST_ROWS", 16)
    disk = FullDisk()
    writer = begin_run(tmp_path / "runs", "full disk", disk)
    add_steps(writer, 0, 100)
    lose_steps(writer, disk, 100, 500)
    writer.close("finished")
    sentence = r"full disk: \d+ rows lost while recording: OSError: \[Errno 28\] No space left on device\."
    rows, panel = table_of(tmp_path / "runs")
    assert re.search(sentence, panel)
    lost = int(re.search(r"(\d+) rows lost", panel)[1])  # type: ignore[index]
    assert rows[0]["steps"] + lost == 500
    shown = dynamics_of(Catalogue(tmp_path / "runs"))
    assert re.search(sentence, str(shown[5]))
    assert "Damaged, lost or left out" in str(shown[5])


def test_what_is_said_of_a_run_is_not_older_than_its_stamp(live: RunWriter) -> None:
    catalogue = Catalogue(live.path.parent)
    (entry,) = catalogue.listing().entries  # the run as it was opened
    live.dropped = 3  # what the writer then says of its health
    live.close("finished")
    assert "3 rows lost while recording" in catalogue.problems(entry)[0]
    (entry,) = catalogue.listing().entries
    assert "3 rows lost while recording" in catalogue.problems(entry)[0]


def test_a_look_at_problems_reads_little(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "verify", lambda _self: pytest.fail("every byte was read"))
    monkeypatch.setattr(Segment, "check", lambda _self: pytest.fail("every byte was read"))
    table_of(pair)
    dynamics_of(Catalogue(pair))


def test_damage_that_a_drawing_finds_is_told_of(pair: Path) -> None:
    victim = gradlens.open_runs(pair)[0]
    segment = next((victim.path / "steps").iterdir())
    data = bytearray(segment.read_bytes())
    data[300] ^= 1
    segment.write_bytes(data)
    assert "is damaged: the bytes of" in table_of(pair)[1]
    assert "is damaged: the bytes of" in str(dynamics_of(Catalogue(pair))[5])


@pytest.mark.parametrize("broken", ["problems", "status", "several", "created"])
def test_one_broken_run_never_blanks_the_page(pair: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    victim = gradlens.open_runs(pair)[0].run_id
    if broken == "created":
        path = next(pair.glob(f"*{victim}*")) / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"created": 1e300}))
    else:
        whole = getattr(Run, broken)

        def fails(self: Run, *names: str) -> Any:
            if self.run_id == victim:
                raise OverflowError("int too large to convert to float")
            return whole(self, *names) if broken == "several" else whole.fget(self)

        monkeypatch.setattr(Run, broken, fails if broken == "several" else property(fails))
    rows, panel = table_of(pair)
    assert sorted(row["name"] for row in rows) == ["clipped", "plain"]
    assert next(row["final_loss"] for row in rows if row["name"] == "clipped") is not None
    assert ("the terminal of gradlens says more" in panel) == (broken in ("problems", "several"))


def test_a_run_that_cannot_be_drawn_is_left_out_and_named(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Run.series

    def fails(self: Run, name: str) -> Any:
        if self.name == "plain" and name == "loss":
            raise ZeroDivisionError
        return whole(self, name)

    catalogue = Catalogue(pair)
    entries = catalogue.listing().entries
    assert _drawable(catalogue, Figures(catalogue), entries) == entries
    monkeypatch.setattr(Run, "series", fails)
    assert [entry.run.name for entry in _drawable(catalogue, Figures(catalogue), entries)] == ["clipped"]
    assert _drawable(catalogue, Figures(catalogue), entries[:1]) == ()
    with create_app(pair).server.test_client() as client:
        answer = choose(client, keys_of(pair))
    assert answer["shown"]["data"] == [entries[1].key]
    body = json.dumps(answer["body"])
    assert "plain cannot be drawn: what it recorded is not what it should be." in body
    assert "Step size" in body


def test_a_run_that_comes_later_keeps_each_number_under_its_name(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("first", lr=0.1, decay=0.5, width=8)
    with create_app(tmp_path / "runs").server.test_client() as client:
        shown = fill_table(client).json["response"]["run-table"]["columnDefs"]
        assert headers(shown) == ["lr", "decay", "width"]
        assert fill_table(client, shown).json["response"]["run-table"].keys() == {"rowData"}  # the columns stay
        make_run("second", lr=0.1, decay=0.7, width=9)
        found = fill_table(client, shown).json["response"]["run-table"]
    assert headers(found["columnDefs"]) == ["decay", "width"]  # which tell them apart
    for columns in (shown, found["columnDefs"]):
        for name, values in (("decay", [0.5, 0.7]), ("width", [8, 9])):
            field = next(column["field"] for column in columns if column["headerName"] == name)
            assert [row[field] for row in found["rowData"]] == values


def headers(columns: list[dict[str, Any]]) -> list[str]:
    """Names of the columns that come from the runs' configs."""
    return [column["headerName"] for column in columns if column.get("headerTooltip") == "from the run's config"]


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
            client.get(f"/export/training_dynamics.{form}?runs={','.join(keys_of(pair))}")
    assert state() == before


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_escaped_in_figures(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    make_run(name)
    runs = gradlens.open_runs(tmp_path / "runs")
    figure = gradlens.figures.training_dynamics(runs, labels=labels([runs[0]]))
    picture = json.dumps(render(figure), default=str)
    assert not re.search(r"<(script|img|svg|a|iframe|style|link|b)\b", picture)


def test_an_error_shows_no_traceback_and_no_path(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(pair)
    monkeypatch.setattr(Catalogue, "listing", lambda _self: 1 / 0)
    with app.server.test_client() as client:
        answer = fill_table(client)
    assert answer.status_code == 500
    assert answer.text == "gradlens could not answer this request; the terminal it runs in says why."


def test_run_colours_on_the_page_are_those_of_the_figures() -> None:
    text = (Path(create_app.__code__.co_filename).parent / "assets" / "gradlens.css").read_text()
    light, dark = text.split('[data-mantine-color-scheme="dark"]')[:2]
    for part, theme in ((light, "light"), (dark, "dark")):
        for role, shade in THEMES[theme].items():
            if role.startswith(("run-", "unclipped", "clipped")) and shade != (theme == "dark") * THEMES["light"][role]:
                assert f"--{role}: {shade};" in part
        assert f"--card: {THEMES[theme]['ground']};" in part


# ---- serving ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", ""])  # noqa: S104 - refused
def test_other_hosts_are_refused_with_the_tunnel_recipe(read_pair: Path, host: str) -> None:
    with pytest.raises(ValueError, match=r"host expects a loopback address, .*ssh -L 8050:127.0.0.1:8050 user@machine"):
        serve(read_pair, host=host)


def test_a_missing_root_speaks_before_the_server_starts(tmp_path: Path) -> None:
    with pytest.raises(gradlens.RunError, match="does not exist; give the folder that your recorder writes to"):
        serve(tmp_path / "none")


_SERVE = """
import sys
from gradlens_app import serve
serve(sys.argv[1], port=int(sys.argv[2]), announce=lambda address: print(address, flush=True))
"""


def test_it_serves_on_the_next_free_port_and_stops_at_an_interrupt(read_pair: Path) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        taken = busy.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(read_pair), str(taken)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert int(address.rstrip("/").rsplit(":", 1)[1]) > taken
            with urllib.request.urlopen(address, timeout=10) as answer:
                assert answer.status == 200
            wrong = urllib.request.Request(address, headers={"Host": "example.org"})
            with pytest.raises(urllib.error.HTTPError, match="421") as refused:
                urllib.request.urlopen(wrong, timeout=10)
            refused.value.close()
        finally:
            process.send_signal(2)
            code = process.wait(timeout=10)
            process.stdout.close()
        assert code == 0


def test_many_readers_at_once_get_the_same_figure(read_pair: Path) -> None:
    app = create_app(read_pair)
    path = f"/export/training_dynamics.pdf?runs={','.join(keys_of(read_pair))}"
    found: list[bytes] = []
    readers = [threading.Thread(target=lambda: found.append(app.server.test_client().get(path).data)) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(found) == 4
    assert len(set(found)) == 1
