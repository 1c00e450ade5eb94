"""The pages in a real browser: drawn, linked, themed, and quiet."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import waitress

from gradlens.store import open_runs
from gradlens_app import create_app

from .asking import keys_of
from .browsing import FOOT, Visit
from .conftest import HOSTILE, STEPS, MakeRun, write_run

pytestmark = pytest.mark.browser


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
    seen.wait_for("() => document.querySelector('.js-plotly-plot').data.every(trace => trace.x.length < 2)")
    assert seen.range_of(0) == [0, STEPS - 1]


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


def test_back_and_forward_set_the_table_as_the_address_says(visit: Callable[[Path], Visit], read_pair: Path) -> None:
    seen = visit(read_pair)
    plain, _ = keys_of(read_pair)
    seen.open("/")
    page = seen.page
    page.locator(".ag-center-cols-container .ag-row").first.wait_for()
    seen.wait_for("() => document.querySelector('#table-foot').innerText.startsWith('Losses')")
    cell = page.locator(".ag-cell.with-swatch").first
    text, place = cell.locator(".ag-cell-value").bounding_box(), cell.bounding_box()
    assert place["y"] <= text["y"] < text["y"] + text["height"] <= place["y"] + place["height"]  # beside its swatch
    page.get_by_role("textbox", name="Filter the runs").fill("clipped")
    seen.wait_for("() => location.search.includes('find=')")
    page.get_by_role("columnheader", name=re.compile("final loss")).locator(".ag-header-cell-label").click()
    seen.wait_for("() => location.search.includes('sort=')")
    page.locator("#baseline").click()
    page.get_by_role("option").first.click()
    seen.wait_for(f"() => location.search.includes('baseline={plain}')")
    page.locator(".ag-floating-top .ag-row").first.wait_for()
    length = page.evaluate("() => history.length")
    page.go_back()
    page.locator(".ag-floating-top .ag-row").first.wait_for(state="detached")
    assert page.locator("#baseline").input_value() == ""
    page.go_back()
    page.locator('.ag-header-cell[col-id="final_loss"][aria-sort="none"]').wait_for()
    page.go_back()
    seen.wait_for("() => document.querySelectorAll('.ag-pinned-left-cols-container .ag-row').length === 2")
    assert page.get_by_role("textbox", name="Filter the runs").input_value() == ""
    for _ in range(3):
        page.go_forward()
    page.locator(".ag-floating-top .ag-row").first.wait_for()
    page.locator('.ag-header-cell[col-id="final_loss"][aria-sort="ascending"]').wait_for()
    assert page.get_by_role("textbox", name="Filter the runs").input_value() == "clipped"
    page.wait_for_timeout(500)
    assert f"find=clipped&sort=final_loss:asc&baseline={plain}" in page.url
    assert page.evaluate("() => history.length") == length


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
    link = f'<a href="{seen.address}/team/lens/?token=0123456789abcdef">the runs</a>'
    seen.page.route("http://elsewhere.test/", lambda asked: asked.fulfill(body=link, content_type="text/html"))
    seen.page.goto("http://elsewhere.test/")  # as in a chat
    seen.complaints.clear()
    seen.page.get_by_role("link", name="the runs").click()
    seen.page.get_by_role("gridcell", name="plain", exact=True).wait_for()
    assert "token" not in seen.page.url
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
