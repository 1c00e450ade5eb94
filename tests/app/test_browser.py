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
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import waitress

from gradlens.store import open_runs
from gradlens_app import create_app

from .asking import keys_of
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
        # A drag must not begin while fonts or tiles still move the axes.
        still, last = 0, None
        while still < 3:
            self.page.wait_for_timeout(50)
            box = self.page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
            still, last = (still + 1 if box == last else 0), box

    def wait_for_first_panels(self, count: int) -> None:
        """Wait until each panel shows something, be it of a run that grows."""
        self.page.wait_for_function(
            "count => { const plots = [...document.querySelectorAll('.plot')];"
            "return plots.length === count && plots.every(plot => plot.querySelector('.trace, .sentence')); }",
            arg=count,
        )

    def wait_for(self, script: str, arg: object = None) -> None:
        self.page.wait_for_function(script, arg=arg)

    def drag(self, index: int, start: float, end: float) -> None:
        """Drag across a chart, from one share of its width to another."""
        box = self.page.locator(".js-plotly-plot .nsewdrag").nth(index).bounding_box()
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + box["width"] * start, y)
        self.page.mouse.down()
        self.page.mouse.move(box["x"] + box["width"] * end, y, steps=4)
        self.page.mouse.up()

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
        page.set_default_timeout(45_000)
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


FOOT = (
    "([index, text]) => (document.querySelectorAll('.card .foot')[index] || {innerText: ''}).innerText.startsWith(text)"
)


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


def test_two_runs_are_chosen_and_their_four_panels_drawn(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    seen.open("/")
    page = seen.page
    page.get_by_text("Losses are means").wait_for()
    boxes = page.locator(".ag-pinned-left-cols-container .ag-checkbox-input")
    for index in range(2):
        boxes.nth(index).check()
    seen.wait_for("keys => keys.every(key => location.search.includes(key))", keys_of(read_pair))
    page.get_by_role("link", name=re.compile("Compare in Dynamics ?2")).click()
    seen.wait_for_panels(4)
    assert set(re.search("runs=([^&]*)", page.url)[1].split(",")) == set(keys_of(read_pair))  # type: ignore[index]
    page.locator(".tile-value").nth(3).wait_for()
    shown = page.locator(".tile-value").nth(3).inner_text().replace("\xa0", " ")
    assert re.fullmatch(r"0 % → \d\d\.\d %", shown)
    assert "Pearson's r between the logs" in page.locator("#caption").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="Step size as CSV").click()
    assert Path(download.value.path()).read_text().startswith("panel,mark,label,x")
    page.get_by_role("link", name="Runs", exact=True).click()  # the choice goes along
    page.locator(".ag-row-selected").nth(1).wait_for()
    assert "runs=" in page.url


def test_a_zoom_in_one_panel_is_a_zoom_in_all_and_they_grow_together(
    visit: Callable[[Path], Visit], read_pair: Path
) -> None:
    seen = visit(read_pair)
    seen.open("/dynamics?runs=" + ",".join(keys_of(read_pair)))
    seen.wait_for_panels(4)
    page = seen.page
    seen.drag(0, 0.25, 0.75)
    seen.wait_for("() => location.search.includes('zoom=')")
    page.get_by_text("of every curve").wait_for()
    first, last = (int(end) for end in re.search(r"zoom=(\d+)\.\.(\d+)", page.url).groups())  # type: ignore[union-attr]
    assert abs(first - 100) < 8
    assert abs(last - 300) < 8
    shown = len([step for step in range(0, STEPS, 4) if first <= step <= last])
    seen.wait_for(FOOT, [2, f"{shown} of 100 points"])
    seen.wait_for(FOOT, [0, f"{2 * (last - first + 1)} of {2 * (last - first + 1)} points"])
    assert seen.range_of(0) == seen.range_of(1) == [first, last]
    page.go_back()
    seen.wait_for(FOOT, [2, "100 of 100 points"])
    plot = page.locator(".plot").first
    plot.focus()
    plot.press("+")
    seen.wait_for("() => location.search.includes('zoom=')")
    page.get_by_role("button", name="Show all").click()
    seen.wait_for(FOOT, [2, "100 of 100 points"])
    slider = page.get_by_role("slider", name="Grow the charts")
    slider.focus()
    slider.press("Home")
    seen.wait_for(FOOT, [2, "1 of 100 points"])
    assert "until=0" in page.url


def test_controls_write_the_address_and_the_address_sets_them(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    first, second = keys_of(read_pair)
    seen.open(f"/dynamics?runs={first}&series=grad_norm&x=time&log=grad-norm:y&smooth=0&zoom=1..2")
    seen.wait_for_panels(2)
    page = seen.page
    kind = "() => document.querySelector('.js-plotly-plot')._fullLayout.yaxis.type"
    assert page.evaluate(kind) == "log"
    assert page.get_by_role("button", name="Gradient norm: logarithmic y axis").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="Gradient norm: logarithmic y axis").click()
    seen.wait_for(f"() => ({kind})() === 'linear'")
    assert "log=" not in page.url
    page.get_by_role("combobox", name="Runs shown").or_(page.get_by_role("textbox", name="Runs shown")).first.click()
    page.get_by_role("option", name="clipped").click()
    seen.wait_for_panels(3)
    assert f"runs={first},{second}" in page.url
    page.locator(".behind summary").first.click()
    page.locator(".numbers th", has_text="With AutoClip").wait_for()
    page.get_by_role("button", name="live").click()
    seen.wait_for("() => location.search.includes('live=off')")
    page.get_by_role("button", name="paused").wait_for()


def test_the_pointer_of_one_chart_is_that_of_all(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    seen.open("/dynamics?runs=" + ",".join(keys_of(read_pair)))
    seen.wait_for_panels(4)
    box = seen.page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    for share in (0.4, 0.5):
        seen.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
    seen.page.locator(".crosshair").wait_for(state="attached")
    assert seen.page.locator(".crosshair").count() == 1
    assert seen.page.locator(".plot").nth(1).locator(".crosshair").count() == 1
    assert seen.page.locator(".plot").nth(1).locator(".hoverlayer .legend, .hoverlayer .hovertext").count() > 0


def test_the_pointer_names_the_curve_that_it_is_on_among_many(visit: Callable[[Path], Visit], tmp_path: Path) -> None:
    for number in range(9):
        write_run(tmp_path, f"run {number}", seed=number, probes=False, lr=number)
    seen = visit(tmp_path)
    seen.open("/dynamics?series=loss&smooth=0&runs=" + ",".join(keys_of(tmp_path)))
    seen.wait_for_panels(1)
    plot = seen.page.locator(".js-plotly-plot")
    box = plot.locator(".nsewdrag").bounding_box()
    for share in (0.4, 0.5):
        seen.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
    said = plot.locator(".tip").inner_text()
    name, value = re.fullmatch(r"(run [0-8]): ([0-9.]+)", said).groups()  # type: ignore[union-attr]
    assert plot.locator(".hoverlayer > *").count() == 0  # in the place of Plotly's own
    number = int(name.split()[1])
    losses = next(run for run in open_runs(tmp_path) if run.name == f"run {number}").series("loss")[1]
    assert np.isclose(losses, float(value), rtol=1e-3).any()
    seen.page.mouse.move(5, 5)
    plot.locator(".tip").wait_for(state="detached")
    for start, end in ((0.0, 1.0), (0.2, 0.6)):
        if start:
            seen.drag(0, start, end)
            seen.wait_for("() => location.search.includes('zoom=')")
        seen.wait_for("() => { const [inked, points] = (" + INK + ")(); return inked === points && points > 300; }")
        assert 0 < seen.page.evaluate(INK)[2] < 0.6


INK = """() => {
    const plot = document.querySelector('.js-plotly-plot'), canvas = plot.querySelector('.curves');
    const { xaxis, yaxis } = plot._fullLayout, ratio = window.devicePixelRatio;
    const copy = new OffscreenCanvas(canvas.width, canvas.height);
    const pen = copy.getContext('2d', { willReadFrequently: true });
    pen.drawImage(canvas, 0, 0);
    const { data, width } = pen.getImageData(0, 0, canvas.width, canvas.height);
    const alpha = (x, y) => data[4 * (Math.floor(y * ratio) * width + Math.floor(x * ratio)) + 3];
    let inked = 0, points = 0;
    for (const { x, y } of plot.data) {
        for (let index = 0; index < x.length; index += 1) {
            const across = xaxis.d2p(x[index]), up = yaxis.d2p(y[index]);
            if (!(across >= 1 && across < xaxis._length - 1 && up >= 1 && up < yaxis._length - 1)) { continue; }
            points += 1;
            inked += alpha(across, up) > 0;
        }
    }
    const all = data.filter((_, index) => index % 4 === 3);
    return [inked, points, all.filter((value) => value > 0).length / all.length];
}"""
"""How many points of a chart's curves are where Plotly has them, of how many, and what share of the canvas is inked."""


def test_the_table_keeps_its_state_in_the_address(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    plain, clipped = keys_of(read_pair)
    seen.open(f"/?find=clipped&baseline={clipped}&runs={plain}&sort=name:asc")
    page = seen.page
    page.locator(".ag-floating-top .ag-row").first.wait_for()
    page.get_by_role("columnheader", name=re.compile("Δ final loss")).wait_for()
    seen.wait_for("() => document.querySelectorAll('.ag-pinned-left-cols-container .ag-row').length === 1")
    assert page.get_by_role("textbox", name="Filter the runs").input_value() == "clipped"
    page.get_by_role("textbox", name="Filter the runs").fill("")
    seen.wait_for("() => document.querySelectorAll('.ag-pinned-left-cols-container .ag-row').length === 2")
    seen.wait_for("() => !location.search.includes('find=')")
    assert f"runs={plain}" in page.url
    assert f"baseline={clipped}" in page.url
    few = '{"final_loss":{"filterType":"number","type":"lessThan","filter":0}}'
    for api in ("setFilterModel({final_loss: {filterType: 'number', type: 'lessThan', filter: 0}})",
                "applyColumnState({state: [{colId: 'steps', sort: 'desc', sortIndex: 0},"
                "{colId: 'name', sort: 'asc', sortIndex: 1}]})"):  # fmt: skip
        page.evaluate(f"() => window.dash_ag_grid.getApi('run-table').{api}")
    seen.wait_for("() => location.search.includes('sort=steps:desc,name:asc') && location.search.includes('filter=')")
    assert parse_qs(urlsplit(page.url).query)["filter"] == [few]
    page.reload()
    page.locator(".ag-floating-top .ag-row").first.wait_for()
    seen.wait_for("() => document.querySelectorAll('.ag-pinned-left-cols-container .ag-row').length === 0")
    assert page.locator('.ag-header-cell[col-id="steps"][aria-sort="descending"]').count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["/", "/dynamics", "/smoothness", "/none"])
def test_nothing_keeps_a_reader_out(visit: Callable[[Path], Visit], read_pair: Path, path: str, scheme: str) -> None:
    seen = visit(read_pair)
    seen.page.emulate_media(color_scheme=scheme)
    seen.open(path)
    if path in ("/dynamics", "/smoothness"):
        seen.wait_for_panels(4 if path == "/dynamics" else 8)
        seen.page.locator(".tile-value").first.wait_for()
    else:
        seen.page.get_by_role("heading", level=1).wait_for()
    assert barriers(seen.page) == []


def barriers(page: Any) -> list[str]:
    """What keeps a reader out of a page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    return [f"{each['id']}: {[node['html'][:160] for node in each['nodes'][:3]]}" for each in grave]


def test_the_theme_is_remembered_and_a_narrow_page_folds(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    seen.open("/dynamics")
    seen.wait_for_panels(4)
    page = seen.page
    navy = "() => getComputedStyle(document.querySelector('.js-plotly-plot .js-line')).stroke"
    light = page.evaluate(navy)
    page.get_by_role("button", name="Dark theme").click()
    seen.wait_for(f"() => ({navy})() !== '{light}'")
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == "rgb(17, 19, 23)"
    assert "theme=dark" in page.url
    seen.open("/dynamics")
    seen.wait_for_panels(4)
    assert page.evaluate("() => document.documentElement.dataset.mantineColorScheme") == "dark"
    page.evaluate("() => localStorage.clear()")
    assert "The address names no runs" in page.locator(".note").inner_text()
    assert "runs=" not in page.url
    page.evaluate("() => { navigator.clipboard.writeText = async (text) => { window.copied = text; }; }")
    page.get_by_role("button", name="Copy link").click()
    seen.wait_for("() => window.copied")
    link = page.evaluate("() => window.copied")
    assert f"runs={','.join(keys_of(read_pair))}" in link
    page.goto(link)  # the browser has forgotten the theme; the link has not
    seen.wait_for_panels(4)
    assert page.evaluate("() => document.documentElement.dataset.mantineColorScheme") == "dark"
    page.set_viewport_size({"width": 390, "height": 800})
    seen.wait_for("() => document.querySelector('.rail').getBoundingClientRect().height < 80")
    boxes = [page.locator(".card").nth(index).bounding_box() for index in range(2)]
    assert boxes[1]["y"] > boxes[0]["y"] + boxes[0]["height"]
    seen.wait_for("() => document.documentElement.scrollWidth <= 390")
    page.get_by_role("link", name="Runs", exact=True).click()
    page.locator(".table").wait_for()
    seen.wait_for("() => document.documentElement.scrollWidth <= 390")


def test_hostile_names_are_text(visit: Callable[[Path], Visit], tmp_path: Path) -> None:
    root = tmp_path / "runs"
    for index, name in enumerate(HOSTILE):
        write_run(root, name, clipped=index % 2 == 1, probes=False, seed=index, note=name)
    seen = visit(root)
    seen.open("/")
    for name in HOSTILE[:3]:
        seen.page.get_by_role("gridcell", name=name, exact=True).first.wait_for()
    for start in (0, 12):
        chosen = keys_of(root)[start : start + 8]
        seen.open("/dynamics?group=note&series=loss,<img src=x onerror=alert(1)>&runs=" + ",".join(chosen))
        seen.wait_for_panels(2 + len(chosen))
        heads = seen.page.locator("h2").all_inner_texts()
        assert heads[2:] == [name.strip() for name in HOSTILE[start : start + 8]]


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


def test_damaged_roots_say_why(visit: Callable[[Path], Visit], make_run: MakeRun, tmp_path: Path) -> None:
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


def test_under_a_base_path_and_a_token_everything_works(
    context: Any, read_pair: Path, visit: Callable[[Path], Visit]
) -> None:
    app = create_app(read_pair, base_path="/team/lens", token="0123456789abcdef")  # noqa: S106 - of this test
    server = waitress.create_server(app.server, host="127.0.0.1", port=0, threads=8)
    threading.Thread(target=server.run, daemon=True).start()
    seen = visit(read_pair)
    seen.address = f"http://127.0.0.1:{server.effective_port}"
    seen.open("/team/lens/?token=0123456789abcdef")
    assert "token" not in seen.page.url
    seen.page.get_by_role("gridcell", name="plain", exact=True).wait_for()
    seen.page.get_by_role("link", name="Dynamics", exact=True).click()
    seen.wait_for_panels(4)
    assert "/team/lens/dynamics" in seen.page.url
    with seen.page.expect_download() as download:
        seen.page.get_by_role("link", name="Step size as CSV").click()
    assert Path(download.value.path()).read_text().startswith("panel,mark,label,x")
    server.close()


def drag_by(page: Any, handle: Any, x: float, y: float) -> None:
    """Drag the middle of something by so many pixels."""
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + x, middle[1] + y, steps=3)
    page.mouse.up()


def test_a_threshold_is_dragged_written_or_moved_by_keys_and_the_address_holds_it(
    visit: Callable[[Path], Visit], read_pair: Path
) -> None:
    seen = visit(read_pair)
    page = seen.page
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 900})
    seen.open(f"/clipping?runs={keys_of(read_pair)[0]}")
    seen.wait_for_panels(10)
    page.get_by_text("not how training would have gone").first.wait_for()
    percentile = page.get_by_role("slider", name="Percentile of AutoClip", exact=True)
    drag_by(page, percentile, 0, -60)
    seen.wait_for("() => location.search.includes('p=')")
    dragged = float(re.search("p=([0-9.]+)", page.url)[1])  # type: ignore[index]
    assert 20 < dragged < 90
    percentile.press("ArrowUp")
    seen.wait_for("p => Number(new URLSearchParams(location.search).get('p')) > p", dragged + 0.5)
    now = re.search("p=([0-9.]+)", page.url)[1]  # type: ignore[index]
    assert float(now) == pytest.approx(dragged + 1, abs=0.2)
    seen.wait_for("p => document.querySelector('.slider [role=slider]').ariaValueNow === p", now)

    number = page.get_by_role("textbox", name="threshold", exact=True)
    assert not number.is_visible()
    page.get_by_role("combobox", name="rule").or_(page.get_by_role("textbox", name="rule")).first.click()
    page.get_by_role("option", name="fixed norm").click()
    number.fill("2.5")
    seen.wait_for("() => document.querySelector('.handle.along-x').ariaValueNow === '2.5'")
    assert "norm=2.5" in page.url
    drag_by(page, page.get_by_role("slider", name="Fixed threshold", exact=True), -80, 0)
    seen.wait_for("() => Number(new URLSearchParams(location.search).get('norm')) < 2.5")
    norm = re.search("norm=([0-9.]+)", page.url)[1]  # type: ignore[index]
    seen.wait_for("norm => document.querySelector('.number-box input').value === norm", norm)
    page.locator(".card-subtitle", has_text=f"fixed(max_norm={norm})").first.wait_for()
    assert barriers(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.go_back()
    seen.wait_for("() => document.querySelector('.number-box input').value === '2.5'")


def test_a_sweep_over_micro_batches_is_drawn_and_its_controls_write_the_address(
    visit: Callable[[Path], Visit], sweep: Path
) -> None:
    seen = visit(sweep)
    page = seen.page
    page.set_viewport_size({"width": 390, "height": 900})
    page.emulate_media(color_scheme="dark")
    seen.open("/micro-batches")
    seen.wait_for_panels(10)
    assert page.locator(".tile-value").first.inner_text() == "b = 16"
    seen.wait_for("() => document.documentElement.scrollWidth <= 390")
    assert barriers(page) == []
    box = page.get_by_role("combobox", name="can memorise").or_(page.get_by_role("textbox", name="can memorise")).first
    box.focus()
    box.press("ArrowDown")  # a keyboard reaches every control
    page.get_by_role("option", name="no", exact=True).wait_for()
    box.press("Enter")
    seen.wait_for("() => location.search.includes('memorise=no')")
    page.get_by_text("best b by").first.wait_for()
    page.get_by_role("link", name="Smoothness", exact=True).click()
    page.get_by_role("heading", name="Smoothness", exact=True, level=1).wait_for()
    seen.wait_for("() => document.querySelectorAll('.tile-value').length > 0")


def test_pages_of_an_empty_root_say_so(visit: Callable[[Path], Visit], tmp_path: Path) -> None:
    seen = visit(tmp_path)
    for path in ("/smoothness", "/micro-batches"):
        seen.open(path)
        seen.page.get_by_text("holds no recorded run").wait_for()
