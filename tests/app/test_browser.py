"""The pages in a real browser: drawn, linked, themed, and quiet."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import waitress

from gradlens_app import create_app
from gradlens_app.catalogue import Catalogue

from .conftest import HOSTILE, STEPS, FullDisk, MakeRun, add_steps, begin_run, lose_steps, write_run

pytestmark = pytest.mark.browser
CHROMIUM = "/usr/bin/chromium" if Path("/usr/bin/chromium").exists() else shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Visit:
    """A page, and everything it did that it should not have."""

    page: Any
    address: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        self.page.goto(self.address + path)

    def wait_for_panels(self, count: int) -> None:
        self.wait_for_first_panels(count)
        # A drag must not begin while fonts, margins or a second drawing still move the axes.
        self.page.wait_for_load_state("networkidle")
        still, last = 0, None
        while still < 5:
            self.page.wait_for_timeout(100)
            box = self.page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
            still, last = (still + 1 if box == last else 0), box

    def wait_for_first_panels(self, count: int) -> None:
        """Wait until each panel shows something, be it of a run that grows."""
        self.page.wait_for_function(
            "count => { const plots = [...document.querySelectorAll('.plot .js-plotly-plot')];"
            "return plots.length === count && plots.every(plot => plot.querySelector('.trace, .annotation')); }",
            arg=count,
        )

    def range_of(self, index: int) -> list[float]:
        script = "index => document.querySelectorAll('.js-plotly-plot')[index]._fullLayout.xaxis.range"
        return [float(end) for end in self.page.evaluate(script, index)]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        if os.environ.get("GRADLENS_REQUIRE_BROWSER") == "1":
            pytest.fail("GRADLENS_REQUIRE_BROWSER=1, but there is no Chromium; install Debian's package chromium.")
        pytest.skip("there is no Chromium; install Debian's package chromium.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def context(browser: Any) -> Any:
    """One for all tests, so that Chromium keeps the scripts it has compiled."""
    return browser.new_context(color_scheme="light")


@pytest.fixture(scope="session")
def served() -> Iterator[Callable[[Path], str]]:
    """Serve a root, once, and give its address."""
    servers: dict[Path, Any] = {}

    def start(root: Path) -> str:
        if root not in servers:
            servers[root] = waitress.create_server(create_app(root).server, host="127.0.0.1", port=0, threads=8)
            threading.Thread(target=servers[root].run, daemon=True).start()
        return f"http://127.0.0.1:{servers[root].effective_port}"

    yield start
    for server in servers.values():
        server.close()


@pytest.fixture
def visit(context: Any, served: Callable[[Path], str]) -> Iterator[Callable[[Path], Visit]]:
    """Serve a root and open a page on it; whatever it complains of fails the test."""
    visits: list[Visit] = []

    def start(root: Path) -> Visit:
        page = context.new_page()
        page.set_viewport_size({"width": 1440, "height": 1000})
        page.set_default_timeout(15_000)
        made = Visit(page, served(root))
        _listen(made)
        visits.append(made)
        return made

    yield start
    for made in visits:
        made.page.close()
    assert [complaint for made in visits for complaint in made.complaints] == []


def _listen(made: Visit) -> None:
    def request(sent: Any) -> None:
        if not sent.url.startswith((made.address + "/", "data:", "blob:")):
            made.complaints.append(f"request to {sent.url}")

    def dialog(shown: Any) -> None:
        made.complaints.append(f"dialog {shown.message}")
        shown.dismiss()

    made.page.on("request", request)
    made.page.on("dialog", dialog)
    made.page.on("pageerror", lambda error: made.complaints.append(f"error {error}"))
    made.page.on(
        "console",
        lambda said: made.complaints.append(f"console {said.text}") if said.type in ("error", "warning") else None,
    )


def keys_of(root: Path) -> list[str]:
    return [entry.key for entry in Catalogue(root).listing().entries]


def test_two_runs_are_chosen_and_their_four_panels_drawn(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    seen.open("/")
    page = seen.page
    page.get_by_role("gridcell", name="plain", exact=True).wait_for()
    boxes = page.locator(".ag-pinned-left-cols-container .ag-checkbox-input")
    for index in range(2):
        boxes.nth(index).check()
    page.get_by_role("link", name=re.compile("Compare in Dynamics")).click()
    seen.wait_for_panels(4)
    assert set(re.search("runs=([^&]*)", page.url)[1].split(",")) == set(keys_of(read_pair))  # type: ignore[index]
    traces = [
        page.evaluate(
            "index => document.querySelectorAll('.js-plotly-plot')[index].querySelectorAll('.trace').length", i
        )
        for i in range(4)
    ]
    assert traces[:2] == [4, 4]
    assert all(count > 3 for count in traces[2:])
    assert page.locator(".tile-value").count() == 4
    assert re.fullmatch(r"0 % → \d\d\.\d %", page.locator(".tile-value").nth(3).inner_text().replace("\xa0", " "))
    assert "Training dynamics." in page.locator("#caption").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Step size as CSV").click()
    assert Path(download.value.path()).read_text().startswith("panel,mark,label,x,x_end,y,low,high,value")


def test_a_zoom_in_one_panel_is_a_zoom_in_all_and_they_grow_together(
    visit: Callable[[Path], Visit], read_pair: Path
) -> None:
    seen = visit(read_pair)
    seen.open("/dynamics?runs=" + ",".join(keys_of(read_pair)))
    seen.wait_for_panels(4)
    page = seen.page
    assert seen.range_of(1) == [0, STEPS - 1]
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.25, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, y, steps=4)
    page.mouse.up()
    page.wait_for_function("() => location.search.includes('steps=')")
    page.locator("#range").get_by_text("of every panel").wait_for()
    first, last = (int(end) for end in re.search(r"steps=(\d+)-(\d+)", page.url).groups())  # type: ignore[union-attr]
    assert abs(first - 100) < 5
    assert abs(last - 300) < 5
    page.wait_for_function(
        f"() => document.querySelectorAll('.js-plotly-plot')[1]._fullLayout.xaxis.range[0] === {first}"
    )
    assert seen.range_of(0) == seen.range_of(1) == [first, last]
    shown = len([step for step in range(0, STEPS, 4) if first <= step <= last])
    for index in (2, 3):
        assert page.locator(".card .foot").nth(index).inner_text().startswith(f"{shown} of 100 points")
    page.mouse.dblclick(box["x"] + box["width"] / 2, y)
    page.wait_for_function("() => !location.search.includes('steps=')")
    page.wait_for_function("() => document.querySelectorAll('.foot')[2].innerText.startsWith('100 of 100')")
    assert seen.range_of(1) == [0, STEPS - 1]
    slider = page.get_by_role("slider", name="Draw up to this iteration")
    slider.focus()
    slider.press("Home")
    page.wait_for_function("() => document.querySelectorAll('.foot')[2].innerText.startsWith('1 of 100')")
    assert seen.range_of(0) == [0, STEPS - 1]
    assert "iteration 0" in page.locator("#grown").inner_text()


def test_steps_in_the_address_are_shown_until_all_are_asked_for(
    visit: Callable[[Path], Visit], read_pair: Path
) -> None:
    seen = visit(read_pair)
    seen.open("/dynamics?steps=100-299&runs=" + ",".join(keys_of(read_pair)))
    seen.wait_for_panels(4)
    feet = seen.page.locator(".card .foot")
    seen.page.wait_for_function("() => document.querySelectorAll('.card .foot')[2].innerText.startsWith('50 of 100')")
    seen.page.wait_for_timeout(500)  # nothing may take them back
    assert feet.nth(3).inner_text().startswith("50 of 100")
    assert "steps=100-299" in seen.page.get_by_role("link", name="Step size as PDF").get_attribute("href")
    seen.page.get_by_role("button", name="Show all steps").click()
    seen.page.wait_for_function("() => document.querySelectorAll('.card .foot')[2].innerText.startsWith('100 of 100')")


def test_the_theme_is_remembered_and_a_narrow_page_folds(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    seen.open("/dynamics")
    seen.wait_for_panels(4)
    page = seen.page
    navy = "() => getComputedStyle(document.querySelector('.js-plotly-plot .js-line')).stroke"
    light = page.evaluate(navy)
    page.get_by_role("button", name="Dark theme").click()
    page.wait_for_function(f"() => ({navy})() !== '{light}'")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 23)"
    page.reload()
    seen.wait_for_panels(4)
    assert page.evaluate("() => document.documentElement.dataset.mantineColorScheme") == "dark"
    page.evaluate("() => localStorage.clear()")
    assert "The address names no runs" in page.locator(".note").inner_text()
    assert "runs=" not in page.url
    page.set_viewport_size({"width": 700, "height": 900})
    page.wait_for_function("() => document.querySelector('#rail').getBoundingClientRect().height < 80")
    boxes = [page.locator(".card").nth(index).bounding_box() for index in range(2)]
    assert boxes[1]["y"] > boxes[0]["y"] + boxes[0]["height"]
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 700


def test_the_picker_writes_the_address(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    first, second = keys_of(read_pair)
    seen.open(f"/dynamics?runs={first}")
    seen.wait_for_panels(3)
    seen.page.get_by_role("textbox", name="Runs shown").or_(
        seen.page.get_by_role("combobox", name="Runs shown")
    ).first.click()
    seen.page.get_by_role("option", name="clipped").click()
    seen.wait_for_panels(4)
    assert seen.page.url.endswith(f"?runs={first},{second}")
    seen.page.go_back()
    seen.wait_for_panels(3)


def test_hostile_names_are_text(visit: Callable[[Path], Visit], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for index, name in enumerate(HOSTILE):
        write_run(root, name, clipped=index % 2 == 1, probes=index % 8 == 0, seed=index, note=name)
    seen = visit(root)
    seen.open("/")
    for name in HOSTILE[:3]:
        seen.page.get_by_role("gridcell", name=name, exact=True).first.wait_for()
    for start in (0, 12):
        chosen = keys_of(root)[start : start + 8]
        seen.open("/dynamics?runs=" + ",".join(chosen))
        seen.wait_for_panels(2 + len(chosen))
        heads = seen.page.locator("h2").all_inner_texts()
        assert heads[2:] == [name.strip() for name in HOSTILE[start : start + 8]]


def test_a_run_grows_on_the_page_while_it_is_written(
    visit: Callable[[Path], Visit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradlens_app.pages.runs.REFRESH_MS", 300)
    monkeypatch.setattr("gradlens_app.pages.dynamics_layout.LIVE_MS", 300)
    disk = FullDisk()
    writer = begin_run(tmp_path / "runs", "under way", disk)
    add_steps(writer, 0, 100)
    seen = visit(tmp_path / "runs")
    page = seen.page
    seen.open("/")
    cell = page.locator(".ag-center-cols-container [col-id=steps]")
    cell.get_by_text("100", exact=True).wait_for()
    page.get_by_role("gridcell", name="running", exact=True).wait_for()
    add_steps(writer, 100, 150)
    cell.get_by_text("150", exact=True).wait_for()

    seen.open("/dynamics?runs=" + keys_of(tmp_path / "runs")[0])
    seen.wait_for_first_panels(3)
    foot = page.locator(".card .foot")
    assert foot.nth(0).inner_text().startswith("150 of 150 points")
    assert seen.range_of(0) == [0, 149]
    add_steps(writer, 150, 300)
    foot.nth(0).get_by_text("300 of 300 points").wait_for()
    foot.nth(2).get_by_text("75 of 75 points").wait_for()
    page.wait_for_function("() => document.querySelector('.js-plotly-plot')._fullLayout.xaxis.range[1] === 299")
    assert "iteration 299" in page.locator("#grown").inner_text()
    assert "recording" in page.locator("#live-note").inner_text()

    monkeypatch.setattr("gradlens.store.writer.MOST_ROWS", 16)
    lose_steps(writer, disk, 300, 500)
    writer.close("finished")
    page.get_by_text(re.compile("under way: [0-9]+ rows lost while recording: .*No space left on device")).wait_for()
    page.wait_for_function("() => document.querySelector('#live-note').innerText === ''")


def test_empty_and_damaged_roots_say_why(visit: Callable[[Path], Visit], make_run: MakeRun, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    seen = visit(empty)
    seen.open("/")
    seen.page.get_by_text("holds no recorded run").wait_for()
    segment = next((make_run("victim") / "steps").iterdir())
    segment.write_bytes(b"PAR1")
    make_run("whole")
    seen = visit(tmp_path / "runs")
    seen.open("/")
    seen.page.get_by_text("is damaged or cut short").wait_for()
    seen.open("/dynamics?runs=" + ",".join(keys_of(tmp_path / "runs")))
    seen.page.get_by_text("0 smoothness probes").first.wait_for()
    seen.wait_for_panels(4)
    seen.open("/dynamics?runs=ffffffffffff")
    seen.page.get_by_text("names a run that is not in the folder").wait_for()
    assert seen.page.locator(".js-plotly-plot").count() == 0
