"""``gradlens show``: the dashboard."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path


def add(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb."""
    parser = verbs.add_parser("show", help="browse runs in the dashboard")
    parser.add_argument(
        "roots", nargs="*", type=Path, metavar="root", help="folder of runs; several are shown together"
    )
    parser.add_argument("--logdir", type=Path, action="append", default=[], help="the same as root")
    add_server_options(parser)
    parser.set_defaults(run=run, parser=parser)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Where to serve, for every verb that ends in the dashboard."""
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on; all but loopback need --token")
    parser.add_argument("--port", type=int, default=8050, help="first port to try (default: %(default)s)")
    parser.add_argument("--token", default="", help="what a reader must bring once (default: GRADLENS_TOKEN)")
    parser.add_argument("--base-path", default="/", help="what every address begins with (default: %(default)s)")
    parser.add_argument("--read-only", action="store_true", help="as always: the dashboard never writes to a folder")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")


def run(given: argparse.Namespace) -> int:
    """Serve folders of runs until interrupted."""
    roots = (*given.roots, *given.logdir)
    if not roots:
        given.parser.error("expected a folder of runs, as in: gradlens show runs")
    return serve(roots, given)


def serve(roots: Sequence[Path], given: argparse.Namespace) -> int:
    """Serve with the options that the command line gave."""
    from gradlens_app import serve as serve_app

    def announce(address: str) -> None:
        print(f"gradlens shows {', '.join(map(str, roots))} at {address}   (Ctrl-C stops it)", flush=True)

    serve_app(
        roots,
        host=given.host,
        port=given.port,
        token=given.token or os.environ.get("GRADLENS_TOKEN", ""),
        base_path=given.base_path,
        open_browser=not given.no_browser,
        announce=announce,
    )
    return 0
