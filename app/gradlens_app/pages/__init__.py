"""The pages, one module each, in the order of the rail. A new page is one more line here: see docs/dashboard.md."""

from gradlens_app.pages import clipping, dynamics, micro_batches, runs, smoothness

PAGES = (
    runs.PAGE,
    dynamics.PAGE,
    clipping.PAGE,
    smoothness.PAGE,
    micro_batches.PAGE,
)
