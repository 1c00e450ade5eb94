"""What the dashboard takes over a hundred runs of a million steps, beside TensorBoard: `make bench-app`."""

import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import dash
import plotly
from playwright.sync_api import sync_playwright

from benchmarks import app_runs, machine, report
from benchmarks.app_bare import bare_paints
from benchmarks.app_peer import tensorboard_row
from benchmarks.processes import ROOT
from benchmarks.progress import say
from gradlens_app.data import Data

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
RUNS = 100
SERIES = ("loss", "grad_norm", "update_norm", "accuracy", "perplexity", "overhead_ms")
UNSEEN = ("param_norm", "lr", "samples")
CLIENTS, EVERY, SECONDS = 32, 2.0, 60.0
FEW_STEPS = 2_000  # as many as TensorBoard is asked to draw
_REPORT = report.Report(
    report.RESULTS / "app", "What the dashboard takes", "make bench-app", ("Dash alone", "TensorBoard")
)
_SERVE = """
import sys
from gradlens_app import serve
serve(sys.argv[1], port=0, open_browser=False, announce=lambda address: print(address, flush=True))
"""
_DRAWN = """([count, all]) => { const cards = [...document.querySelectorAll('.card')];
return cards.length === count && cards.every(card => card.querySelector('.curves, .trace .js-line')
    || (!all && card.getBoundingClientRect().top >= window.innerHeight)); }"""
_NOTES = (
    f"{RUNS} runs of {app_runs.STEPS:,} steps, {app_runs.DISTINCT} that differ and links to their files, compacted; "
    "the files are in the page cache.",
    "First paint: from the navigation until every one of the six charts has drawn its curves, in headless Chromium on "
    "the same two cores as the server. First of a server: nothing is kept yet. Again: the page is reloaded. In view: "
    "until those that a window of 1,440 x 1,000 pixels shows are drawn; the others follow.",
    "Dash alone: a page that holds nothing but the same six charts as Dash's graphs, their curves ready, reloaded.",
    f"One chart of short runs: the same page over {RUNS} runs of {FEW_STEPS:,} steps, what TensorBoard is given too.",
    "Callback: one request after another, from its sending to its last byte. Cold: a series that nobody has asked for. "
    "Redrawn: its curves are kept, the figure is drawn anew (another theme). Repeated: the same request.",
    "Zoom: to 2 % of the steps that nobody has asked for, so that every curve is aggregated anew; of two runs, from "
    "the recorded values themselves.",
    f"Load: {CLIENTS} clients ask every {EVERY:g} s for {SECONDS:g} s whether there is something new in {RUNS} runs.",
)


def main():
    """Measure, print and write."""
    others = machine.Others()
    with tempfile.TemporaryDirectory(prefix="gradlens-bench-") as folder:
        root = Path(folder) / "runs"
        root.mkdir()
        say(f"writing {RUNS} runs of {app_runs.STEPS:,} steps")
        app_runs.build(root, RUNS)
        rows = measure(root)
        found, notes = tensorboard_row(Path(folder), RUNS, FEW_STEPS)
        rows.insert(3, short_row(Path(folder) / "short", found))
    known = machine.facts(Dash=dash.__version__, Plotly=plotly.__version__)
    known["other work on the machine meanwhile"] = others.text()
    report.write(_REPORT, rows, known, [*_NOTES, *notes])
    say(f"written to {_REPORT.stem.relative_to(ROOT)}.md")
    print(report.table(rows, _REPORT.peers))
    return 0


def measure(root):
    """Rows of the table."""
    keys = [entry.key for entry in Data([root]).listing().entries]
    with served(root) as (address, process):
        say("painting")
        paints, seen, asked = painted(address, keys, SERIES)
        bare = bare_paints([_drawing(address, name, keys) for name in SERIES])
        say("asking")
        rows = paint_rows(paints, seen, bare) + callback_rows(address, keys)
        say(f"{CLIENTS} clients for {SECONDS:g} s")
        return rows + load_rows(address, asked["poll"], process.pid)


def short_row(root, tensorboard):
    """One chart of short runs, drawn by gradlens, and TensorBoard's time to have its points."""
    root.mkdir()
    app_runs.build(root, RUNS, steps=FEW_STEPS)
    keys = [entry.key for entry in Data([root]).listing().entries]
    with served(root) as (address, _):
        paints, _, _ = painted(address, keys, ("loss",))
    values = {report.OWN: paints[1:], "TensorBoard": tensorboard}
    return report.Row("first paint, one chart of short runs, again (s)", values)


@contextmanager
def served(root):
    """A server of its own process."""
    process = subprocess.Popen([sys.executable, "-c", _SERVE, str(root)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process.stdout.readline().strip().rstrip("/"), process
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def painted(address, keys, series):
    """Seconds until all charts are drawn, and those in view, first and again; and what the page asks every 2 s."""
    asked, paints, seen = {}, [], []
    path = f"{address}/dynamics?series={','.join(series)}&runs={','.join(keys)}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": 1440, "height": 1000}, color_scheme="light")
        page = context.new_page()
        page.goto(f"{address}/dynamics?runs=")  # scripts are compiled, as for anyone who has been here before
        page.wait_for_timeout(4000)
        page.on("request", lambda sent: _note(asked, sent))
        for _ in range(4):
            begin = time.perf_counter()
            page.goto(path, wait_until="commit")
            for times, every in ((seen, False), (paints, True)):
                page.wait_for_function(_DRAWN, arg=[len(series), every], polling=20, timeout=120_000)
                times.append(time.perf_counter() - begin)
            page.wait_for_timeout(4000)
        browser.close()
    return paints, seen, asked


def _note(asked, sent):
    if "_dash-update-component" in sent.url and json.loads(sent.post_data)["output"].startswith("..cursor.data"):
        asked["poll"] = json.loads(sent.post_data)


def paint_rows(paints, seen, bare):
    """First paint."""
    return [
        report.Row("first paint, first of a server (s)", {report.OWN: paints[:1]}, most=1.0),
        report.Row("first paint, again (s)", {report.OWN: paints[1:], "Dash alone": bare}, most=1.0),
        report.Row("charts in view, again (s)", {report.OWN: seen[1:]}, most=1.0),
    ]


def callback_rows(address, keys):
    """One chart of all runs."""
    cold, again, redrawn, sizes, zoomed, few = [], [], [], [], [], []
    for name in UNSEEN:
        path = _drawing(address, name, keys)
        cold.append(_ask(path)[0])
        again += [_ask(path)[0] for _ in range(5)]
        redrawn.append(_ask(_drawing(address, name, keys, theme="dark"))[0])
        sizes.append(_ask(path)[1] / 1e6)
        for start in (0.2, 0.6):
            ends = f"{start * app_runs.STEPS:.0f}..{(start + 0.02) * app_runs.STEPS:.0f}"
            zoomed.append(_ask(_drawing(address, name, keys, zoom=ends))[0])
            few.append(_ask(_drawing(address, name, keys[:2], zoom=ends))[0])
    return [
        report.Row("callback, cold (ms)", {report.OWN: cold}, most=150),
        report.Row("callback, redrawn (ms)", {report.OWN: redrawn}),
        report.Row("callback, repeated (ms)", {report.OWN: again}, most=20),
        report.Row("zoom, 100 runs (ms)", {report.OWN: zoomed}, most=100),
        report.Row("zoom, 2 runs (ms)", {report.OWN: few}, most=100),
        report.Row("payload of a chart, gzipped (MB)", {report.OWN: sizes}, most=0.25),
    ]


def _drawing(address, name, keys, zoom="", theme="light"):
    """Where the browser asks for a series' chart."""
    fields = f"series={name}&zoom={zoom}&theme={theme}&runs={','.join(keys)}"
    return f"{address}/drawing/dynamics/{name.replace('_', '-')}?{fields}"


def _ask(path, body=None):
    """Milliseconds, and bytes on the way."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(path, data, {"Content-Type": "application/json", "Accept-Encoding": "gzip"})
    begin = time.perf_counter()
    with urllib.request.urlopen(request, timeout=60) as answer:
        data = answer.read()
    took = 1e3 * (time.perf_counter() - begin)
    if answer.headers.get("Content-Encoding") == "gzip":
        gzip.decompress(data)
    return took, len(data)


def load_rows(address, poll, pid):
    """Many clients that ask whether there is something new."""
    taken, failed = [], []
    before = _memory(pid)

    def client(number):
        time.sleep(EVERY * number / CLIENTS)
        end = time.monotonic() + SECONDS
        count = 0
        while time.monotonic() < end:
            count += 1
            body = json.loads(json.dumps(poll))
            body["inputs"][0]["value"] = count
            begin = time.monotonic()
            try:
                taken.append(_ask(f"{address}/_dash-update-component", body)[0])
            except (OSError, urllib.error.HTTPError) as error:
                failed.append(str(error))
            time.sleep(max(0.0, EVERY - (time.monotonic() - begin)))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    taken.sort()
    return [
        report.Row("poll, median (ms)", {report.OWN: [statistics.median(taken)]}),
        report.Row("poll, 95th percentile (ms)", {report.OWN: [taken[int(0.95 * len(taken))]]}, most=300),
        report.Row("polls that failed", {report.OWN: [len(failed)]}, most=0),
        report.Row("memory that the server gained (MB)", {report.OWN: [(_memory(pid) - before) / 1e6]}, most=20),
    ]


def _memory(pid):
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    sys.exit(main())
