"""One page of all samples: what each paper says, what was measured, whether they agree, and why.

    python sample_runs/results.py                            the runs kept here, to docs/results.md
    python sample_runs/results.py samples --out results.md   those that make samples recorded

A sample says so in its ``claims.json``, which its recipe writes: a list of claims with the texts ``claim``, ``paper``,
``ours``, ``same`` and ``why``. A sample without one is named with a link to its results. Small versions, in folders
named ``fast``, say too little to count.
"""

import argparse
import json
import os
import re
from pathlib import Path

ROOT = Path(__file__).parent
COLUMNS = {"claim": "claim", "paper": "paper", "ours": "here", "same": "same?", "why": "why"}
NOTE = (
    "Each paper's claims beside what the recorded runs of the samples say. Every number is a recipe's, from its runs; "
    "none is typed. A claim that does not reproduce is reported as such. *Yes* asks for a 95 % interval that leaves "
    "out zero, over the seeds or of every pair of runs; where all seeds agree without one it is *same sign, not shown*."
)


def page(samples, at):
    """The page.

    Args:
        samples: folder of samples.
        at: folder that the page will lie in, from which it links.
    """
    lines = ["# Results", "", f"Written by sample_runs/{Path(__file__).name}. {NOTE}"]
    for folder in sorted(path.parent for path in Path(samples).rglob("results.md") if path.parent.name != "fast"):
        results = folder / "results.md"
        title = re.sub(r"^#+\s*", "", results.read_text().partition("\n")[0])
        link = Path(os.path.relpath(results, at)).as_posix()
        lines += ["", f"## [{title}]({link})", "", *table(folder / "claims.json")]
    return "\n".join(lines) + "\n"


def table(file):
    """The claims of a sample as lines of Markdown."""
    if not file.is_file():
        return ["Its recipe compares nothing with a paper's number; see its results."]
    rows = [[str(claim[name]).replace("|", "\\|") for name in COLUMNS] for claim in json.loads(file.read_text())]
    return [f"| {' | '.join(row)} |" for row in ([*COLUMNS.values()], ["---"] * len(COLUMNS), *rows)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "samples", nargs="?", type=Path, default=ROOT, help="folder of samples (default: the kept ones)"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT.parent / "docs" / "results.md", help="default: docs/results.md"
    )
    given = parser.parse_args()
    given.out.write_text(page(given.samples, given.out.parent))
    print(f"{given.out}: {sum(1 for _ in given.samples.glob('*/claims.json'))} samples with claims")
