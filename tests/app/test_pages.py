"""What the pages show: the table, charts, tiles, exports; and that one broken run never blanks them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

import gradlens
from gradlens.figures.figure import Band, Hexbin, Line, Points, Text
from gradlens.figures.plotly_renderer import render
from gradlens.store import Run, RunWriter
from gradlens.store.segments import Segment
from gradlens_app import create_app
from gradlens_app.body import body
from gradlens_app.chart import picture
from gradlens_app.data import UNKNOWN, Data
from gradlens_app.looking import CHOSEN_FOR_YOU, NONE_CHOSEN, drawn, look
from gradlens_app.names import colours, labels
from gradlens_app.pages import PAGES
from gradlens_app.pages.dynamics import MANY
from gradlens_app.pages.pairs import default_pair

from .asking import DYNAMICS, callback, fill_table, keys_of, read, see
from .conftest import HOSTILE, STEPS, FullDisk, MakeRun, add_steps, begin_run, lose_steps, write_run

EXPORTED = ", ".join(page.name for page in PAGES if page.answer is not None)


def test_every_page_is_one_that_the_frame_can_show() -> None:
    assert len({page.path for page in PAGES}) == len({page.title for page in PAGES}) == len(PAGES)
    for page in PAGES:
        assert page.path.startswith("/")
        assert page.question.count("?") >= 1
        assert (page.answer is None) == (page.body is not None)


# ---- the table -------------------------------------------------------------------------------------------------------


def rows_of(answer: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answer.json["response"]["run-table"]["rowData"]
    return found


def test_the_table_holds_the_numbers_of_each_run(client: FlaskClient) -> None:
    rows = rows_of(fill_table(client))
    assert [row["name"] for row in rows] == ["plain", "clipped"]
    assert [row["steps"] for row in rows] == [STEPS, STEPS]
    assert rows[0]["clipped"] is None
    assert 0.5 < rows[1]["clipped"] < 1
    assert "final_loss change" in rows[0]


def test_runs_are_compared_with_the_baseline_on_top(client: FlaskClient, read_pair: Path) -> None:
    plain, clipped = keys_of(read_pair)
    answer = fill_table(client, baseline=clipped)
    first, second = rows_of(answer)
    assert (first["key"], second["key"]) == (clipped, plain)
    assert first["final_loss change"] == 0
    assert second["final_loss change"] == pytest.approx(second["final_loss"] / first["final_loss"] - 1)
    assert second["clipped change"] is None
    fields = [column["field"] for column in answer.json["response"]["run-table"]["columnDefs"]]
    assert fields.index("final_loss change") == fields.index("final_loss") + 1


def test_config_columns_are_those_that_differ_or_those_chosen(make_run: MakeRun, tmp_path: Path) -> None:
    def headers(answer: Any) -> list[str]:
        columns = answer.json["response"]["run-table"]["columnDefs"]
        return [column["headerName"] for column in columns if column.get("headerTooltip") == "from the run's config"]

    make_run("first", lr=0.1, decay=0.5, width=8)
    with create_app(tmp_path / "runs", fresh=0).server.test_client() as client:
        answer = fill_table(client)
        shown = answer.json["response"]["run-table"]["columnDefs"]
        assert headers(answer) == ["lr", "decay", "width"]
        assert fill_table(client, shown).json["response"]["run-table"].keys() == {"rowData"}  # the columns stay
        make_run("second", lr=0.1, decay=0.7, width=9)
        found = fill_table(client, shown)
        assert headers(found) == ["decay", "width"]
        assert headers(fill_table(client, shown, columns=["width", "lr", "none"])) == ["width", "lr"]
    for name, values in (("decay", [0.5, 0.7]), ("width", [8, 9])):
        assert [row[f"config {name}"] for row in rows_of(found)] == values


def test_a_damaged_run_is_named_and_leaves_the_others_alone(pair: Path) -> None:
    victim = next((gradlens.open_runs(pair)[0].path / "steps").iterdir())
    victim.write_bytes(victim.read_bytes()[:-20])
    (pair / "broken").mkdir()
    (pair / "broken" / "run.json").write_text("{")
    with create_app(pair).server.test_client() as client:
        answer = fill_table(client)
    assert [row["final_loss"] is None for row in rows_of(answer)] == [True, False]
    panel = json.dumps(answer.json["response"]["table-problems"])
    assert "broken/run.json cannot be read" in panel
    assert "is damaged or cut short" in panel
    assert str(pair) not in panel


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
    with create_app(pair).server.test_client() as client:
        answer = fill_table(client)
    rows = rows_of(answer)
    assert sorted(row["name"] for row in rows) == ["clipped", "plain"]
    assert next(row["final_loss"] for row in rows if row["name"] == "clipped") is not None
    feet, _ = read(Data([pair]))
    assert feet[0].startswith("800 of 800")


# ---- the Dynamics page -----------------------------------------------------------------------------------------------


def test_the_papers_four_panels_are_drawn(read_pair: Path) -> None:
    shown = see(Data([read_pair])).answer.charts
    panels = [drawn(chart).panels[0] for chart in shown]
    assert [chart.title for chart in shown] == ["Step size", "Training loss", "No clipping", "With AutoClip, p = 10"]
    assert [type(mark) for mark in panels[0].marks] == [Line] * 4
    assert [panel.y.scale for panel in panels[:2]] == ["linear", "log"]
    assert isinstance(panels[2].marks[0], Hexbin)
    assert panels[2].x.limits == panels[3].x.limits


def test_an_address_of_no_run_is_met_with_a_sentence(read_pair: Path) -> None:
    data = Data([read_pair])
    for search, sentence in {
        "?runs=ffffffffffff": UNKNOWN,
        "?runs=../x": "runs= expects the keys of runs, twelve hexadecimal digits each, with commas.",
        "?zoom=9..1": "zoom= expects a first and a later last x, as in zoom=200..800.",
        "?runs=": NONE_CHOSEN,
        "?smooth=30": "smooth= expects a number from 0 to 20.",
        "?until=150": "until= expects a number from 0 to 100.",
    }.items():
        found = look(DYNAMICS, data, search).answer
        assert (found.notes, found.charts) == ((sentence,), ())
        assert sentence in str(body(DYNAMICS, data, "/dynamics", search))  # the page around it comes all the same
    found = look(DYNAMICS, data, "")
    assert found.answer.notes == (CHOSEN_FOR_YOU,)
    assert len(found.entries) == 2


def test_without_runs_in_the_address_the_nearest_pair_is_chosen(make_run: MakeRun, tmp_path: Path) -> None:
    make_run("far", clipped=True, lr=0.3)
    make_run("plain", lr=0.1)
    make_run("near", clipped=True, lr=0.1)
    entries = Data([tmp_path / "runs"]).listing().entries
    assert [entry.run.name for entry in default_pair(entries)] == ["plain", "near"]


def test_the_view_is_what_is_drawn(read_pair: Path) -> None:
    data, keys = Data([read_pair]), ",".join(keys_of(read_pair))
    search = f"?runs={keys}&series=loss,grad_norm,accuracy&x=time&zoom=1..2&smooth=0&log=loss:y,grad-norm:x&until=50"
    found = see(data, search)
    loss, norm, accuracy = (drawn(chart).panels[0] for chart in found.answer.charts[:3])
    assert (loss.y.scale, norm.x.scale) == ("linear", "log")
    assert len(loss.marks) == 2  # no average, so no raw line under it
    assert loss.foot.startswith("202 of 202 points")
    assert all(mark.x.min() >= 1 and mark.x.max() <= 1.5 for mark in loss.marks if isinstance(mark, Line))
    assert [type(mark) for mark in accuracy.marks] == [Text]
    shown = picture(found.answer.charts[0], drawn(found.answer.charts[0]), "light", found.view)
    assert shown["layout"]["xaxis"]["range"] == [1, 2]
    assert shown["layout"]["uirevision"] != picture(
        found.answer.charts[0], drawn(found.answer.charts[0]), "light", see(data, f"?runs={keys}").view
    )["layout"]["uirevision"]  # fmt: skip


def test_groups_are_bands_of_their_runs(tmp_path: Path) -> None:
    for number in range(6):
        write_run(tmp_path, f"run {number}", seed=number, lr=(0.1, 0.3)[number % 2], probes=False)
    data = Data([tmp_path])
    keys = ",".join(entry.key for entry in data.listing().entries)
    (loss, *_) = see(data, f"?runs={keys}&series=loss&group=lr").answer.charts
    panel = drawn(loss).panels[0]
    assert sum(isinstance(mark, Band) for mark in panel.marks) == 2
    assert {mark.label for mark in panel.marks if isinstance(mark, Line)} == {"lr 0.1 (3 runs)", "lr 0.3 (3 runs)"}


def test_many_runs_are_curves_without_clouds(tmp_path: Path) -> None:
    for number in range(20):
        write_run(tmp_path, f"run {number}", seed=number, probes=False)
    found = see(Data([tmp_path]))
    assert [chart.name for chart in found.answer.charts] == ["update-norm", "loss"]
    assert MANY in found.answer.notes
    shown = picture(found.answer.charts[1], drawn(found.answer.charts[1]), "dark", found.view)
    assert shown["layout"]["hovermode"] == "closest"
    assert len(shown["data"]) == 8 + 8  # lines of one colour are one, and so are raw ones
    assert found.answer.words().tiles[0].values[0][0].count(" to ") == 1


def test_a_run_keeps_its_colour_whatever_else_is_chosen(tmp_path: Path) -> None:
    for number in range(12):
        write_run(tmp_path, f"run {number}", seed=number, probes=False)
    entries = Data([tmp_path]).listing().entries
    assert colours(entries[3:6]) == ("run-3", "run-4", "run-5")
    assert colours((entries[5], entries[3])) == ("run-5", "run-3")
    assert len(set(colours((entries[0], entries[8], entries[1])))) == 3


def test_nan_and_infinity_are_marked(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, "odd", {"config": {}}, [("weight", (2, 2), "float32", 0)])
    for step in range(50):
        writer.append(
            {"step": step, "time": 1e9 + step, "loss": float("nan") if step in (7, 9) else 1.0 / (step + 1)}, {}
        )
    writer.close("finished")
    panel = drawn(see(Data([tmp_path]), None).answer.charts[1]).panels[0]
    (crosses,) = (mark for mark in panel.marks if isinstance(mark, Points))
    assert crosses.x.tolist() == [7, 9]
    assert panel.y.limits is not None
    lowest = min(mark.y.min() for mark in panel.marks if isinstance(mark, Line))
    assert panel.y.limits[0] < crosses.y[0] == crosses.y[1] < lowest  # whole, and on no curve
    assert "2 NaN or infinite, marked ×" in panel.foot


def test_a_run_under_way_is_listed_and_drawn_and_grows(live: RunWriter) -> None:
    with create_app(live.path.parent, fresh=0).server.test_client() as client:
        assert [(row["status"], row["steps"]) for row in rows_of(fill_table(client))] == [("running", 100)]
        data = Data([live.path.parent], fresh=0)
        feet, _ = read(data)
        assert feet[0].startswith("100 of 100 points")
        assert feet[2].startswith("25 of 25 points")
        add_steps(live, 100, 200)
        feet, _ = read(data)
        assert feet[0].startswith("200 of 200 points")
        assert feet[2].startswith("50 of 50 points")
        assert rows_of(fill_table(client))[0]["steps"] == 200
        live.close("finished")
        assert rows_of(fill_table(client))[0]["status"] == "finished"


def test_a_run_whose_process_was_killed_stops_running_without_a_change_of_its_files(
    live: RunWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(live.path, tmp_path / "killed" / live.path.name)  # nothing beats there
    with create_app(tmp_path / "killed", fresh=0).server.test_client() as client:
        assert rows_of(fill_table(client))[0]["status"] == "running"
        monkeypatch.setattr("gradlens.store.run.HEARTBEAT_SECONDS", 0)  # as if long ago
        assert rows_of(fill_table(client))[0]["status"] == "stopped"  # the same request, as after a reload


def test_a_run_that_has_only_begun_is_listed_and_drawn(tmp_path: Path) -> None:
    writer = begin_run(tmp_path / "runs")
    feet, said = read(Data([tmp_path / "runs"]))
    assert feet == ["", "", ""]
    assert len(said.tiles) == 4
    writer.close("stopped")


def test_rows_that_the_disk_did_not_take_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens.store.writer.MOST_ROWS", 16)
    disk = FullDisk()
    writer = begin_run(tmp_path / "runs", "full disk", disk)
    add_steps(writer, 0, 100)
    lose_steps(writer, disk, 100, 500)
    writer.close("finished")
    (sentence,) = read(Data([tmp_path / "runs"]))[1].problems
    lost = re.fullmatch(r"full disk: (\d+) rows lost while recording: OSError: \[Errno 28\] No space .*", sentence)
    assert lost is not None
    with create_app(tmp_path / "runs").server.test_client() as client:
        assert rows_of(fill_table(client))[0]["steps"] + int(lost[1]) == 500


def test_a_look_at_problems_reads_little(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "verify", lambda _self: pytest.fail("every byte was read"))
    monkeypatch.setattr(Segment, "check", lambda _self: pytest.fail("every byte was read"))
    read(Data([pair]))


def test_damage_that_a_drawing_finds_is_told_of(pair: Path) -> None:
    segment = next((gradlens.open_runs(pair)[0].path / "steps").iterdir())
    data = bytearray(segment.read_bytes())
    data[300] ^= 1
    segment.write_bytes(data)
    assert any("is damaged: the bytes of" in text for text in read(Data([pair]))[1].problems)


def test_a_run_that_cannot_be_drawn_is_left_out_and_named(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Run.pyramid

    def fails(self: Run, name: str) -> Any:
        if self.name == "plain" and name == "loss":
            raise ZeroDivisionError
        return whole(self, name)

    monkeypatch.setattr(Run, "pyramid", fails)
    feet, said = read(Data([pair]))
    assert feet[0].startswith("800 of 800")
    assert feet[1].startswith("400 of 400")
    assert len(said.tiles) == 4


def test_a_chart_that_fails_says_so_and_the_others_are_drawn(read_pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlens_app.pages.dynamics.norm_clouds", lambda *_given: 1 / 0)
    charts = see(Data([read_pair])).answer.charts
    assert isinstance(drawn(charts[2]).panels[0].marks[0], Text)
    assert isinstance(drawn(charts[0]).panels[0].marks[0], Line)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_escaped_in_figures(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    make_run(name, probes=False)
    runs = gradlens.open_runs(tmp_path / "runs")
    chart = see(Data([tmp_path / "runs"]), None).answer.charts[0]
    for figure in (drawn(chart), gradlens.figures.training_dynamics(runs, labels=labels([runs[0]]))):
        picture_of = json.dumps(render(figure), default=str)
        assert not re.search(r"<(script|img|svg|a|iframe|style|link|b)\b", picture_of)


def test_an_error_shows_no_traceback_and_no_path(pair: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(pair)
    monkeypatch.setattr(Data, "listing", lambda _self: 1 / 0)
    with app.server.test_client() as client:
        answer = fill_table(client)
    assert answer.status_code == 500
    assert answer.text == "gradlens could not answer this request; the terminal it runs in says why."


# ---- exports ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "start"), [("pdf", b"%PDF-"), ("svg", b"<?xml"), ("png", b"\x89PNG"), ("csv", b"panel,mark,label,x")]
)
def test_the_page_is_exported_as_a_figure(client: FlaskClient, read_pair: Path, form: str, start: bytes) -> None:
    answer = client.get(f"/export/dynamics.{form}?runs={','.join(keys_of(read_pair))}")
    assert answer.status_code == 200
    assert answer.data.startswith(start)
    assert f'filename="dynamics.{form}"' in answer.headers["Content-Disposition"]


def test_an_export_holds_what_the_page_shows(client: FlaskClient, read_pair: Path) -> None:
    key = keys_of(read_pair)[0]
    answer = client.get(f"/export/dynamics.csv?runs={key}&chart=update-norm&zoom=100..199&smooth=0")
    rows = [line.split(",") for line in answer.text.splitlines()[1:]]
    assert {row[0] for row in rows} == {"Step size"}
    assert [float(row[3]) for row in rows if row[1] == "line"] == list(range(100, 200))
    assert 'filename="dynamics-update-norm.csv"' in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("dynamics.exe?runs=K", f"Expected one of {EXPORTED} as one of csv, pdf, svg, png."),
        ("nothing.pdf?runs=K", f"Expected one of {EXPORTED} as one of csv, pdf, svg, png."),
        ("dynamics.pdf?runs=", NONE_CHOSEN),
        ("dynamics.pdf?runs=ffffffffffff", UNKNOWN),
        ("dynamics.pdf?runs=K&chart=7", "chart= expects one of update-norm, loss, cloud-K."),
        ("dynamics.pdf?runs=K&zoom=9..9", "zoom= expects a first and a later last x"),
        ("dynamics.pdf?runs=K&style=word", "expected one of the styles"),
        ("dynamics.pdf?runs=K&column=third", "column is 'full' or 'half'"),
        ("dynamics.pdf?runs=K&runs=K", "Expected an address with at most 40 fields, each once."),
    ],
)
def test_a_wrong_export_says_what_was_expected(client: FlaskClient, read_pair: Path, path: str, sentence: str) -> None:
    key = keys_of(read_pair)[0]
    answer = client.get("/export/" + path.replace("K", key))
    assert answer.status_code == 400
    assert answer.mimetype == "text/plain"
    assert sentence.replace("K", key) in answer.text


def test_an_export_of_a_page_without_charts_says_why_there_are_none(client: FlaskClient) -> None:
    answer = client.get("/export/micro-batches.csv")
    assert answer.status_code == 400
    assert answer.text.startswith("No run here is clipped by micro-batches")


def test_a_callback_for_a_page_that_is_not_there_changes_nothing(client: FlaskClient) -> None:
    outputs = [("tiles", "children"), ("problems", "children"), ("caption", "children"), ("again", "disabled")]
    outputs += [("words-answered", "data")]
    view = {"search": "", "path": "/../../etc/passwd", "cursor": None}
    answer = callback(client, outputs, {("words-tick", "data"): 0}, {("view", "data"): view})
    assert answer.status_code in (200, 204)
    assert "root:" not in answer.text
