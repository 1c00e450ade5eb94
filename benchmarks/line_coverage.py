"""What 95 % intervals of L0 and L1 cover, over planted lines: `python -m benchmarks.line_coverage [tries]`."""

import json
import sys

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

from benchmarks import report
from benchmarks.progress import say
from gradlens.stats import nonnegative_line, power_line, quantile_line

L0, L1 = 1.0, 2.0
LENGTHS = (250, 1000, 4000)
PHIS = (0.0, 0.5, 0.8, 0.95)
ERRORS = (("added", 0.6), ("proportional", 0.6), ("log-normal", 0.6), ("proportional", 1.0))
"""Kind of the error, and standard deviation of log x."""
FITS = {
    "least squares": lambda x, y, seed: nonnegative_line(x, y, tries=199, seed=seed),
    "quantile .9": lambda x, y, seed: quantile_line(x, y, 0.9, tries=199, seed=seed),
    "quantile .95": lambda x, y, seed: quantile_line(x, y, 0.95, tries=199, seed=seed),
    "power": lambda x, y, seed: power_line(x, y, tries=199, seed=seed),
}
QUANTILES = {"quantile .9": 0.9, "quantile .95": 0.95}
NOTES = (
    "y is a line L0 + L1 x over a log-normal x, with an error that is added to it, in proportion to it, or log-normal "
    "in proportion to it; x and the error are AR(1). The power form is fitted to the same lines, rho = 1.",
    "Of each case the share of intervals that hold the planted L0 and L1, among fits that give an interval: of all of "
    "them, and of those that say nothing of few blocks. A dash: fewer than 20 of those.",
)


def main():
    """Measure, print and write."""
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rows = []
    for name, fit in FITS.items():
        for n in LENGTHS:
            for phi in PHIS:
                say(f"{name}, n = {n}, phi = {phi}")
                rows += [case(name, fit, n, phi, *error, tries) for error in ERRORS]
                write(rows, tries)
    return 0


def case(name, fit, n, phi, error, spread, tries):
    """One case: shares of its fits."""
    held, plain, none = [], [], 0
    for seed in range(tries):
        x, y, truth = planted(seed, n, phi, error, spread, QUANTILES.get(name))
        found = fit(x, y, seed)
        if not np.isfinite(found.l0_interval[0]):
            none += 1
            continue
        pairs = zip((found.l0_interval, found.l1_interval), truth, strict=True)
        held.append([low <= value <= high for (low, high), value in pairs])
        plain.append(not found.caveat)
    some, sure = np.array(held).reshape(-1, 2), np.array(plain, dtype=bool)
    return {
        "fit": name, "n": n, "phi": phi, "error": error, "sd of log x": spread, "no interval": none / tries,
        "few blocks named": float((~sure).sum() / tries),
        "L0": share(some[:, 0]), "L1": share(some[:, 1]),
        "L0, nothing named": share(some[sure, 0]), "L1, nothing named": share(some[sure, 1]),
    }  # fmt: skip


def share(held):
    """Of enough of them."""
    return float(np.mean(held)) if len(held) >= 20 else None


def planted(seed, n, phi, error, spread, quantile):
    """x, y, and the truth of the fit."""
    noise = np.random.default_rng([1, seed]).standard_normal((2, n + 200))  # another stream than the resamples'
    z, e = lfilter([1.0], [1.0, -phi], noise, axis=1)[:, 200:] * np.sqrt(1 - phi**2)
    x, at = np.exp(spread * z), 0.0 if quantile is None else float(norm.ppf(quantile))
    line = L0 + L1 * x
    if error == "added":
        return x, np.maximum(line + 0.5 * e, 0.01), (L0 + 0.5 * at, L1)
    if error == "proportional":
        factor = 1 + 0.3 * at
        return x, line * np.maximum(1 + 0.3 * e, 0.01), (L0 * factor, L1 * factor)
    factor = 1.0 if quantile is None else float(np.exp(0.5 * at - 0.125))
    return x, line * np.exp(0.5 * e - 0.125), (L0 * factor, L1 * factor)


def write(rows, tries):
    """The two files."""
    stem = report.RESULTS / "line_coverage"
    stem.with_suffix(".json").write_text(json.dumps({"tries": tries, "rows": rows}, indent=1) + "\n")
    head = list(rows[0])
    lines = ["# What 95 % intervals of lines cover", "", "`python -m benchmarks.line_coverage`", ""]
    lines += [f"{tries} tries a case. {' '.join(NOTES)}", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(text(row[name]) for name in head) + " |" for row in rows]
    stem.with_suffix(".md").write_text("\n".join(lines) + "\n")


def text(value):
    """A cell."""
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
