"""A real browser on a dashboard that is served."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import waitress

from gradlens_app import create_app

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
