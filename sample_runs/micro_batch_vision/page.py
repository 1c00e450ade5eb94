"""The page of results, every number from the trainings."""

import sys
from pathlib import Path

from sweep import DOMAINS, FIGURES, VIT

sys.path.append(str(Path(__file__).parents[1]))
from recipes import claims as claims_file
from recipes import report


def page(found, said, size):
    """The page as Markdown.

    Args:
        found: what the recipe found.
        said: the claims.
        size: of the recipe.
    """
    seeds = ", ".join(map(str, size.seeds)) if len(size.seeds) < 5 else f"{size.seeds[0]} to {size.seeds[-1]}"
    lines = [f"# Micro-batch sizes on digits: an MLP, seeds {seeds}, and a small ViT", ""]
    lines += ["Written by recipe.py from the trainings.", "", "## The paper's claims", "", *claims_file.table(said), ""]
    lines += ["# The sweeps", "", "Means over seeds; the gradient norm over the whole training set, averaged over the"]
    lines += ["last quarter of the time. Sizes are compared by simultaneous paired intervals.", ""]
    for title, answer in (found.answers | found.vit).items():
        lines += [f"## {report.named(title, answer)}", ""]
        if title in VIT and answer.sweeps:
            lines += [few(answer), ""]
        lines += [*report.sweep_tables(answer), *report.own(answer), *report.doubts(answer), *report.effects(answer)]
        if title == DOMAINS:
            lines += [*by_domain(found.sweeps[title]), ""]
        lines += [f"![](figures/{FIGURES[title]}.png)", ""]
    lines += ["## One plain run's prediction, and the sweep", "", *report.predictions(found.checks)]
    return "\n".join(lines) + "\n"


def few(answer):
    """What as few seeds as the ViT has can support."""
    return (
        f"Recorded by train.py, {answer.n} seed{'s' * (answer.n != 1)} at one learning rate: enough to see differences "
        "that are several times as large as those between seeds, and no more. Where sizes are not distinguishable "
        "here, ten seeds might tell them apart; and the best size at another rate is not known."
    )


def by_domain(trainings):
    """Held-out accuracy in each domain, means over seeds."""
    clipped = [each for each in trainings if each.arm == "clipped"]
    sizes = sorted({each.micro_batch_size for each in clipped})
    yield "| held-out accuracy | " + " | ".join(f"b = {b}" for b in sizes) + " |"
    yield "|" + "---|" * (len(sizes) + 1)
    for domain in clipped[0].domains:
        own = {b: [each.domains[domain] for each in clipped if each.micro_batch_size == b] for b in sizes}
        yield f"| {domain} | " + " | ".join(f"{sum(own[b]) / len(own[b]):.3f}" for b in sizes) + " |"
