"""``gradlens show``: the dashboard."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser("show", help="browse runs in the dashboard")
    parser.add_argument("root", nargs="?", type=Path, help="folder of runs")
    parser.add_argument("--logdir", type=Path, help="the same as root")
    add_server_options(parser)
    parser.set_defaults(run=run, parser=parser)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Where to serve, for every verb that ends in the dashboard."""
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to serve on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8050, help="first port to try (default: %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def run(given: argparse.Namespace) -> int:
    """Serve a folder of runs until interrupted."""
    root = given.root or given.logdir
    if root is None:
        given.parser.error("expected a folder of runs, as in: gradlens show runs")
    return serve(root, given)


def serve(root: Path, given: argparse.Namespace) -> int:
    """Serve with the options that the command line gave."""
    from gradlens_app import serve as serve_app

    def announce(address: str) -> None:
        print(f"gradlens shows {root} at {address}   (Ctrl-C stops it)", flush=True)

    serve_app(root, host=given.host, port=given.port, open_browser=not given.no_browser, announce=announce)
    return 0
