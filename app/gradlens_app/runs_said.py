"""What is broken in the runs that a page shows, or was lost while they were recorded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from gradlens.store import Run, open_run
from gradlens_app.data import Data, Each, Entry

logger = logging.getLogger(__name__)


def problems_of(run: Run) -> tuple[str, ...]:
    """A sentence for each part of a run that is broken."""
    try:
        return open_run(run.path).problems  # opened again: its word on its health must not be older than its stamp
    except Exception:  # one run's odd files must not take the page of all others down
        logger.exception("run %s cannot be looked through", run.run_id)
        return (f"{run.run_id} cannot be looked through; the terminal of gradlens says more.",)


def status_of(run: Run) -> str:
    """How a run is doing, ``unknown`` where its files do not say."""
    try:
        return run.status
    except Exception:  # as above
        logger.exception("run %s does not say how it is doing", run.run_id)
        return "unknown"


def said(data: Data, entries: Sequence[Entry], asked: Iterable[Each] = ()) -> tuple[str, ...]:
    """Those sentences of several runs, after what questions left out; asked last, since reading finds damage."""
    found = [text for each in asked for text in each.problems]
    for entry in entries:
        found += [f"{entry.run.name}: {data.said(text)}" for text in data.ask(problems_of, entry)]
    return tuple(dict.fromkeys(found))
