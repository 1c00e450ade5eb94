"""The pages, one module each, in the order of the rail. A new page is one more line here: see docs/dashboard.md."""

from gradlens_app.pages import dynamics, micro_batches, runs, smoothness

PAGES = (
    runs.PAGE,
    dynamics.PAGE,
    smoothness.PAGE,
    micro_batches.PAGE,
)
