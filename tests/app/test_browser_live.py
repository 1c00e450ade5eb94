"""Pages that stand open while runs are written, and while the server is slow or away."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gradlens_app.table
from gradlens_app.table import Rows

from .asking import keys_of
from .browsing import FOOT, Visit
from .conftest import FullDisk, add_steps, begin_run, lose_steps, write_run

pytestmark = pytest.mark.browser


def test_a_drawing_that_did_not_arrive_is_asked_for_again(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    lost: list[str] = []

    def lose(route: Any) -> None:
        if len(lost) == 4:
            route.continue_()
        else:
            lost.append(route.request.url)
            route.abort()

    seen.page.route("**/drawing/**", lose)
    seen.page.set_default_timeout(15_000)
    seen.open("/dynamics")
    seen.wait_for_panels(4)
    assert len(lost) == 4
    seen.complaints[:] = [text for text in seen.complaints if "ERR_FAILED" not in text]  # Chromium's word on those


def test_a_server_that_is_away_is_asked_once_for_each_chart_in_two_seconds(
    visit: Callable[[Path], Visit], read_pair: Path
) -> None:
    seen = visit(read_pair)
    seen.page.add_init_script("""
        const real = window.fetch;
        window.asked = 0;
        window.fetch = (address, options) => {
            if (!String(address).includes('drawing/')) { return real(address, options); }
            window.asked += 1;
            return new Promise((_, fail) => window.setTimeout(fail, 150 * (window.asked % 4)));
        };""")
    seen.open("/dynamics")
    seen.wait_for("() => window.asked >= 4")
    seen.page.wait_for_timeout(5500)
    assert 5 <= seen.page.evaluate("() => window.asked") <= 24  # 43 where each failure asked for all


def test_a_run_grows_on_the_page_while_it_is_written(
    visit: Callable[[Path], Visit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlens_app.layout.LIVE_MS", 400)
    root = tmp_path / "runs"
    root.mkdir()
    seen = visit(root)
    page = seen.page
    seen.open("/")
    page.get_by_text("holds no recorded run").wait_for()
    disk = FullDisk()
    writer = begin_run(root, "under way", disk)
    add_steps(writer, 0, 100)
    cell = page.locator(".ag-center-cols-container [col-id=steps]")
    cell.get_by_text("100", exact=True).wait_for()
    page.get_by_role("gridcell", name="running", exact=True).wait_for()
    add_steps(writer, 100, 150)
    cell.get_by_text("150", exact=True).wait_for()

    seen.open("/dynamics?runs=" + keys_of(root)[0])
    seen.wait_for_first_panels(3)
    foot = page.locator(".card .foot")
    foot.nth(0).get_by_text("150 of 150 points").wait_for()
    page.get_by_text("1 run, 1 recording").wait_for()
    add_steps(writer, 150, 300)
    foot.nth(0).get_by_text("300 of 300 points").wait_for()
    foot.nth(2).get_by_text("75 of 75 points").wait_for()
    seen.drag(0, 0.2, 0.6)
    seen.wait_for("() => location.search.includes('zoom=')")
    zoomed = seen.range_of(0)
    with page.expect_response(lambda answer: "/drawing/dynamics/" in answer.url):
        add_steps(writer, 300, 350)
    page.wait_for_timeout(300)
    assert seen.range_of(0) == pytest.approx(zoomed, abs=1)  # a refresh never moves what the reader looks at
    monkeypatch.setattr("gradlens.store.writer.MOST_ROWS", 16)
    lose_steps(writer, disk, 350, 500)
    writer.close("finished")
    page.get_by_text(re.compile("under way: [0-9]+ rows lost while recording: .*No space left on device")).wait_for()
    seen.wait_for("() => document.querySelector('#run-count').innerText === '1 run'")


def test_a_refresh_draws_only_what_is_new(
    visit: Callable[[Path], Visit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlens_app.layout.LIVE_MS", 300)
    root = tmp_path / "runs"
    write_run(root, "still")
    writer = begin_run(root, "under way")
    add_steps(writer, 0, 100)
    seen, keys = visit(root), ",".join(keys_of(root))
    page = seen.page

    def grow(first: int, last: int) -> Any:
        with page.expect_response(lambda answer: "/drawing/dynamics/loss?" in answer.url) as answer:
            add_steps(writer, first, last)
        return answer.value

    seen.open(f"/dynamics?series=loss&smooth=0&zoom=20..60&runs={keys}")
    seen.wait_for_panels(3)
    page.evaluate(
        "() => { window.drawn = 0; const plot = document.querySelector('.js-plotly-plot');"
        "plot.on('plotly_afterplot', () => { window.drawn += 1; }); }"
    )
    assert grow(100, 150).status == 204  # what is shown of the runs has not changed
    assert page.evaluate("() => window.drawn") == 0
    page.get_by_role("button", name="Show all").click()
    seen.wait_for(FOOT, [0, "550 of 550 points"])
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.45, box["y"] + box["height"] / 2)
    told = "name => document.querySelector('.plot .hoverlayer').textContent.includes(name)"
    seen.wait_for(told, "still")
    assert not page.evaluate(told, "under way")  # it has not come so far
    page.evaluate("() => { window.drawn = 0; }")
    news = grow(150, 200).json()
    assert (news["base"] is None, list(news["traces"])) == (False, ["1"])  # the run under way
    seen.wait_for("() => window.drawn > 0")
    seen.wait_for(told, "under way")  # the pointer rests, and says what is there now
    assert page.evaluate(told, "still")
    writer.close("finished")


def test_a_server_slower_than_the_clocks_is_heard_and_asked_one_thing_at_a_time(
    visit: Callable[[Path], Visit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlens_app.layout.LIVE_MS", 200)
    real, lock, asked = gradlens_app.table.rows, threading.Lock(), []
    under_way, most = 0, 0

    def slow(*arguments: Any) -> Rows:
        nonlocal under_way, most
        with lock:
            asked.append(arguments[3])  # the baseline
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.5)
        with lock:
            under_way -= 1
        return real(*arguments)

    monkeypatch.setattr(gradlens_app.table, "rows", slow)
    write_run(tmp_path / "runs", "still")
    writer = begin_run(tmp_path / "runs", "under way")
    add_steps(writer, 0, 100)
    seen = visit(tmp_path / "runs")
    seen.open(f"/?baseline={keys_of(tmp_path / 'runs')[0]}")
    cell = seen.page.locator(".ag-center-cols-container [col-id=steps]")
    seen.page.locator(".ag-floating-top .ag-row").first.wait_for()
    cell.get_by_text("100", exact=True).wait_for()
    add_steps(writer, 100, 150)
    cell.get_by_text("150", exact=True).wait_for()
    writer.close("finished")
    assert asked.count("") <= 2  # what the address says is asked once the first answer is there
    assert most <= 2  # where the reader's choice came beside a clock's question


def test_what_was_asked_while_the_server_was_away_is_shown_once_it_is_back(
    visit: Callable[[Path], Visit], read_pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlens_app.layout.LIVE_MS", 300)
    seen = visit(read_pair)
    seen.open("/dynamics?smooth=0")
    seen.wait_for_panels(4)
    lost: list[str] = []

    def lose(route: Any) -> None:
        if not lost and "view.data" in (route.request.post_data_json or {}).get("output", ""):
            lost.append(route.request.url)
            route.abort()
        else:
            route.fallback()

    seen.page.route("**/_dash-update-component*", lose)
    is_zoomed = "() => document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range[1] < 70"
    assert not seen.page.evaluate(is_zoomed)
    seen.page.evaluate("() => window.gradlens.go(new URLSearchParams('smooth=0&zoom=20..60'))")
    seen.wait_for(is_zoomed)
    assert lost
    about_that = ("ERR_FAILED", "the server did not respond")
    seen.complaints[:] = [text for text in seen.complaints if not any(part in text for part in about_that)]


HASTE = """() => {
    const { fetch, setTimeout } = window, late = [];
    const wait = (time) => new Promise((done) => setTimeout(done, time));
    const onward = () => new Promise((done) => {
        window.addEventListener('popstate', done, { once: true });
        window.history.forward();
    });
    let count = 0;
    window.fetch = async (url, options) => {
        const answer = await fetch(url, options);
        if (!String((options || {}).body).includes('"changedPropIds":["asked.data"]')) { return answer; }
        count += 1;
        if (count === 1) {  // the table has it; what follows from that comes after the next Forward
            window.setTimeout = (run, time, ...rest) => time ? setTimeout(run, time, ...rest) : late.push(run);
            const go = async () => {
                while (document.querySelector('#find').value !== 'clipped') { await wait(5); }
                await onward();
                window.setTimeout = setTimeout;
                late.forEach((run) => run());
            };
            go();
        } else if (count === 2) {
            await wait(400);  // until all else is answered
            await onward();
            await wait(400);
        } else {
            await wait(400);
            window.isThere = true;
        }
        return answer;
    };
}"""
"""The reader goes Forward twice more, each time when the table has not yet followed the last."""


def test_a_table_that_has_not_yet_followed_the_reader_writes_no_address(
    visit: Callable[[Path], Visit], read_pair: Path
) -> None:
    seen = visit(read_pair)
    seen.open("/?live=off")  # no clock asks beside the reader
    page = seen.page
    page.get_by_text("Losses are means").wait_for()
    find = "() => document.querySelector('#find').value"
    texts = ["", "clipped", "plain", "un"]
    for text in texts[1:]:
        page.get_by_role("textbox", name="Filter the runs").fill(text)
        seen.wait_for(f"() => location.search === '?live=off&find={text}'")
    address, length = page.url, page.evaluate("() => history.length")
    for text in texts[-2::-1]:
        page.go_back()
        seen.wait_for(f"() => ({find})() === '{text}'")
        page.wait_for_timeout(400)  # until it is told, after a fifth of a second
    page.evaluate(HASTE)
    page.go_forward()
    seen.wait_for(f"() => window.isThere && ({find})() === 'un'")
    page.wait_for_timeout(400)
    assert (page.url, page.evaluate("() => history.length")) == (address, length)
    assert page.evaluate(find) == "un"


def test_back_and_at_once_forward_leave_the_text_that_was_sought(
    visit: Callable[[Path], Visit], read_pair: Path
) -> None:
    seen = visit(read_pair)
    seen.open("/")
    page = seen.page
    page.get_by_text("Losses are means").wait_for()
    page.get_by_role("textbox", name="Filter the runs").fill("clipped")
    seen.wait_for("() => location.search === '?find=clipped'")
    address, length = page.url, page.evaluate("() => history.length")
    page.evaluate("""() => {
        const { setTimeout } = window;
        window.setTimeout = (run, time, ...rest) => setTimeout(run, time === 200 ? 1500 : time, ...rest);
    }""")  # Back and Forward are within the wait for more letters, however slow the machine
    page.go_back()
    seen.wait_for("() => document.querySelector('#find').value === ''")
    page.go_forward()
    page.wait_for_timeout(2500)
    seen.wait_for("() => document.querySelector('#find').value === 'clipped'")
    seen.wait_for("() => document.querySelectorAll('.ag-pinned-left-cols-container .ag-row').length === 1")
    assert (page.url, page.evaluate("() => history.length")) == (address, length)


def test_a_clock_asks_again_once_answered_or_after_long(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    seen.open("/")
    seen.wait_for("() => window.dash_clientside && window.dash_clientside.gradlens.pace")
    told = seen.page.evaluate("""() => {
        const real = Date.now, { pace } = window.dash_clientside.gradlens, same = window.dash_clientside.no_update;
        const context = window.dash_clientside.callback_context;
        let now = 0;
        const at = (seconds, tick, answered, asking = "live.n_intervals", value = 2) => {
            now = 1000 * seconds;
            window.dash_clientside.callback_context = { triggered: [{ prop_id: asking, value: value }] };
            const said = pace(value, 1, "a baseline", tick, answered, "a test's");
            return said === same ? null : said;
        };
        Date.now = () => now;
        const told = [
            at(0, 0, -1), at(9, 0, -1), at(10, 0, -1),  // the first has had no answer for ten seconds
            at(11, 1, -1), at(30, 1, -1), at(31, 1, -1),  // nor has the second, for twenty
            at(32, 2, 1), at(33, 2, 2),  // that was an old answer; this is the one
            at(34, 3, 2), at(43, 3, 2), at(44, 3, 2),
            at(45, 4, 2), at(46, 4, 2, "baseline.value"), at(47, 5, 2), at(57, 5, 2), at(58, 5, 5),  // the reader asks
            at(60, 0, -1), at(75, 0, -1, "live.n_intervals", 1), at(84, 0, -1), at(85, 0, -1),  // the page anew
        ];
        Object.assign(window.dash_clientside, { callback_context: context });
        Date.now = real;
        return told;
    }""")
    assert told == [None, None, 1, None, None, 2, None, 3, None, None, 4, None, 5, None, 6, 6, None, None, None, 1]
