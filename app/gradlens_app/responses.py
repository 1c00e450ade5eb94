"""Answers as bytes: compressed, and the same to the same request while nothing that it is about has changed."""

from __future__ import annotations

import gzip
import hashlib

from flask import Flask, Response, g, request

from gradlens_app.data import Data
from gradlens_app.kept import Kept, Touched, noting

SMALLEST = 1024
MOST_BYTES = 8 << 20
MOST_KEPT_BYTES = 64 << 20
_LEVEL = 4
_CALLBACKS = "_dash-update-component"
_ROUTES = ("drawing/", "numbers/")


def keep_responses(server: Flask, data: Data, prefix: str) -> None:
    """Answer identical requests from kept bytes, and compress what is sent.

    What a request asked ``data`` about is noted while it runs; its answer is good until one of those runs changes.
    """
    routes = tuple(prefix + route for route in _ROUTES)

    def asked() -> bytes | None:
        """What tells the request from others; None where its answer is not kept."""
        if request.method == "POST" and request.path.endswith(_CALLBACKS):
            return request.get_data(cache=True)
        return request.full_path.encode() if request.path.startswith(routes) else None

    kept = Kept(most=1024, most_bytes=MOST_KEPT_BYTES)

    @server.before_request
    def from_kept() -> Response | None:
        what = asked()
        if what is None:
            return None
        g.asked = hashlib.sha256(what).digest()
        found = kept.get(g.asked, "")
        if found is not None and all(data.is_now(key, identity) for key, identity in found[0].items()):
            return _sent(found[1])
        g.notes = noting()
        g.touched = g.notes.__enter__()
        return None

    @server.after_request
    def to_kept(response: Response) -> Response:
        touched: Touched | None = g.pop("touched", None)
        if touched and response.status_code == 200 and not response.is_streamed:
            body = response.get_data()
            if SMALLEST <= len(body) <= MOST_BYTES:
                packed = gzip.compress(body, _LEVEL, mtime=0)
                kept.put(g.asked, "", (touched, (body, packed, response.content_type)), len(body) + len(packed))
                return _sent((body, packed, response.content_type))
        return response

    @server.teardown_request
    def stop_noting(_error: BaseException | None) -> None:
        notes = g.pop("notes", None)
        if notes is not None:
            notes.__exit__(None, None, None)


def _sent(answer: tuple[bytes, bytes, str | None]) -> Response:
    body, packed, kind = answer
    small = "gzip" in request.headers.get("Accept-Encoding", "") and len(body) >= SMALLEST
    response = Response(packed if small else body, content_type=kind)
    response.headers["Vary"] = "Accept-Encoding"
    if small:
        response.headers["Content-Encoding"] = "gzip"
    return response
