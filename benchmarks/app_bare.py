"""What Dash and Plotly alone take for the same six charts: a page with nothing else, whose curves lie ready."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks.app_peer import ARGUMENTS, CHROMIUM

_SERVE = """
import json, sys, waitress
from dash import Dash, dcc, html
figures = json.load(open(sys.argv[1]))
app = Dash("bare")
style = {"width": "45%", "height": 300, "display": "inline-block"}
app.layout = html.Div([dcc.Graph(figure=figure, style=style) for figure in figures])
server = waitress.create_server(app.server, host="127.0.0.1", port=0, threads=8)
print(server.effective_port, flush=True)
server.run()
"""
_DRAWN = """count => { const plots = [...document.querySelectorAll('.js-plotly-plot')];
return plots.length === count && plots.every(plot => plot.querySelector('.trace .js-line')); }"""


def bare_paints(drawings, rounds=3):
    """Seconds from the navigation until a bare page has drawn all charts, reloaded.

    Args:
        drawings: addresses of the drawings that gradlens sends its own page.
        rounds: how often.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        figures.write_text(json.dumps([_figure(each) for each in drawings]))
        server = subprocess.Popen([sys.executable, "-c", _SERVE, figures], stdout=subprocess.PIPE, text=True)
        try:
            return _paints(f"http://127.0.0.1:{int(server.stdout.readline())}/", len(drawings), rounds)
        finally:
            server.terminate()
            server.wait()
            server.stdout.close()


def _figure(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        sent = json.load(answer)
    layout, _ = sent["around"]
    return {"data": list(sent["traces"].values()), "layout": {k: v for k, v in layout.items() if k != "meta"}}


def _paints(address, count, rounds):
    taken = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        for _ in range(rounds + 2):  # scripts are compiled, as for anyone who has been here before
            begin = time.perf_counter()
            page.goto(address, wait_until="commit")
            page.wait_for_function(_DRAWN, arg=count, polling=20, timeout=120_000)
            taken.append(time.perf_counter() - begin)
            page.wait_for_timeout(3000)
        browser.close()
    return taken[2:]
