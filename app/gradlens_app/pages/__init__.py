"""The pages, one module each, in the order of the rail. A new page is one more line here: see docs/dashboard.md."""

from gradlens_app.pages import clipping, dynamics, runs

PAGES = (
    runs.PAGE,
    dynamics.PAGE,
    clipping.PAGE,
)
