"""One page of all samples: what each paper says, what was measured, whether they agree, and why.

    python sample_runs/results.py                            the runs kept here, to docs/results.md
    python sample_runs/results.py samples --out results.md   those that make samples recorded

A sample says so in its ``claims.json``, which its recipe writes: a list of claims with the texts ``claim``, ``paper``,
``ours``, ``same`` and ``why``. A sample without one is named with a link to its results. What single runs predicted,
beside what was swept, is in ``predictions.json``; all samples' predictions are judged together. Small versions, in
folders named ``fast``, say too little to count.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from gradlens import analysis, figures

sys.path.append(str(Path(__file__).parent))
from recipes import claims, pictures, predictions, report, timing

ROOT = Path(__file__).parent
FIGURE = Path("figures", "prediction_check")
NOTE = (
    "Each paper's claims beside what the recorded runs of the samples say. Every number is a recipe's, from its runs; "
    "none is typed. A claim that does not reproduce is reported as such. *Yes* asks for a 95 % interval that leaves "
    "out zero, over the seeds or of every pair of runs; where all seeds agree without one it is *same sign, not shown*."
)
PREDICTOR = (
    "From one plain run that measured gradients at frozen weights, `analysis.predict_sweet_spot` predicts the gradient "
    "norm for every micro-batch size, and with it the best size. Here each prediction is judged by a sweep of the same "
    "task at the same learning rate. A hit is a best size within a factor of two of the swept one. Tasks and rates "
    "share data, so that they are not independent, and the interval, which takes them for it, is too narrow."
)


def page(samples, at):
    """The page.

    Args:
        samples: folder of samples.
        at: folder that the page will lie in, from which it links.
    """
    lines = ["# Results", "", f"Written by sample_runs/{Path(__file__).name}. {NOTE}"]
    folders = folders_of(samples)
    for folder in folders:
        results = folder / "results.md"
        title = re.sub(r"^#+\s*", "", results.read_text().partition("\n")[0])
        lines += ["", f"## [{title}]({link(results, at)})", "", *table(folder / "claims.json")]
    found = checks_of(samples)
    if found:
        lines += ["", "## The sweet-spot predictor, judged on all of these tasks", "", PREDICTOR, "", *predictor(found)]
        lines += ["", f"![Predicted against swept gradient norms]({link(Path(samples) / FIGURE, at)}.png)", ""]
        lines += [figures.prediction_check(found).caption]
    took = [line for folder in folders for line in timing.lines(folder)]
    if took:
        lines += ["", "## What it takes", "", timing.NOTE, "", *timing.HEAD, *took]
    return "\n".join(lines) + "\n"


def folders_of(samples):
    """Folders of samples with results, small versions left out."""
    return sorted(path.parent for path in Path(samples).rglob("results.md") if path.parent.name != "fast")


def link(target, at):
    return Path(os.path.relpath(target, at)).as_posix()


def table(file):
    """The claims of a sample as lines of Markdown."""
    if not file.is_file():
        return ["Its recipe compares nothing with a paper's number; see its results."]
    return [*claims.table(claims.read(file))]


def checks_of(samples):
    """The predictions of all samples."""
    files = [folder / "predictions.json" for folder in folders_of(samples)]
    return [check for file in files if file.is_file() for check in predictions.read(file)]


def predictor(checks):
    """Each prediction's best size and rank correlation, and the hit rate of all."""
    found = analysis.hit_rate([one for _, one, _ in checks], [swept for _, _, swept in checks])
    yield "| task | learning rate | best b predicted | best b swept | within a factor 2 | rank correlation | at rest |"
    yield "|---|---|---|---|---|---|---|"
    for (task, one, swept), each in zip(checks, found.agreements, strict=True):
        ties = ", ".join(map(str, swept.minimum.ties))
        yield (
            f"| {task} | {one.lr:g} | {each.predicted} | {each.swept} (not distinguishable: {ties}) "
            f"| {'yes' if each.hit else 'no'} | {each.rank_correlation:.2f} | {'no' if one.status else 'yes'} |"
        )
    yield ""
    yield from report.judged(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "samples", nargs="?", type=Path, default=ROOT, help="folder of samples (default: the kept ones)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT.parent / "docs" / "results.md", help="default: docs/results.md"
    )
    given = parser.parse_args()
    all_checks = checks_of(given.samples)
    if all_checks:
        pictures.save(figures.prediction_check(all_checks), given.samples / FIGURE)
    given.out.write_text(page(given.samples, given.out.parent))
    print(f"{given.out}: {sum(1 for _ in given.samples.rglob('claims.json'))} samples with claims")
