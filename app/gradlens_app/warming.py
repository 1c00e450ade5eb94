"""Computing what a page will ask for while the browser still starts its scripts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from flask import Flask, request

from gradlens_app.data import Data
from gradlens_app.looking import drawn, look
from gradlens_app.page import Page

logger = logging.getLogger(__name__)


def warm_pages(server: Flask, data: Data, pages: Mapping[str, Page], prefix: str) -> None:
    """When a page of charts is opened, begin with its charts at once; their requests find them, or wait for them."""
    free = threading.Lock()  # one page at a time: many that are opened at once need no more than each other's answers

    @server.before_request
    def begin() -> None:
        page = pages.get("/" + request.path.removeprefix(prefix).strip("/")) if request.method == "GET" else None
        if page is not None and page.answer is not None and free.acquire(blocking=False):
            search = "?" + request.query_string.decode("latin-1")
            threading.Thread(target=work, args=(page, search), daemon=True).start()

    def work(page: Page, search: str) -> None:
        try:
            for chart in look(page, data, search).answer.charts:
                drawn(chart)
        except Exception:  # the request itself will say what is wrong
            logger.exception("a page cannot be prepared")
        finally:
            free.release()
