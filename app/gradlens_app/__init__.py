"""The dashboard: recorded runs in a browser, on this machine only."""

from gradlens_app.application import create_app
from gradlens_app.server import serve

__all__ = ["create_app", "serve"]
