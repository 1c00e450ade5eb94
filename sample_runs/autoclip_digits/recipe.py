"""The whole recipe: both arms over a grid of learning rates, then the figures and the results.

    python recipe.py --out demo            about three minutes on two cores
    python recipe.py --out demo --fast     a few seconds, too short to learn anything

AutoClip is compared with no clipping twice: each arm at its own best learning rate, which is the fair comparison, and
both at AutoClip's best, labelled as such.
"""

import sys
import time
from pathlib import Path

import numpy as np

import gradlens
from gradlens import analysis, figures

sys.path.append(str(Path(__file__).parents[1]))  # for what the samples share
from recipes import claims as claims_file
from recipes import command, timing
from recipes.claims import Claim, of, over_seeds, verdict, verdict_of_several
from recipes.training import job, train_all

PERCENTILE = 10
ARMS = {"no clipping": None, f"AutoClip p = {PERCENTILE}": PERCENTILE}
# Each arm has a grid of its own, so that its best rate is not at an end of it; both hold the shared rate.
RATES = {"no clipping": (0.003, 0.01, 0.03, 0.1), f"AutoClip p = {PERCENTILE}": (0.03, 0.1, 0.3)}
SEEDS = (0, 1, 2)
STEPS = 1800
FAST = {"rates": dict.fromkeys(ARMS, (0.03, 0.1)), "seeds": [0], "steps": 400}


def record(runs, rates=RATES, seeds=SEEDS, steps=STEPS, processes=None):
    """Train every arm at every rate and seed, a process per arm and rate, so many at once."""
    common = {"out": runs, "steps": steps, "seeds": seeds}
    jobs = [
        job(steps * len(seeds), lr=rate, percentile=percentile, **common)
        for arm, percentile in ARMS.items()
        for rate in rates[arm]
    ]
    train_all(Path(__file__).with_name("train.py"), jobs, processes)


def compare(runs):
    """Final loss and accuracy of each arm and rate over the seeds, and the rate at which each arm does best."""
    table = {}
    for run in runs:
        summary = analysis.summarize(run)
        accuracy = run.series("test_accuracy")[1]
        row = table.setdefault((run.config["arm"], run.config["lr"]), {"loss": [], "accuracy": [], "variation": []})
        row["loss"].append(summary.final_loss if np.isfinite(summary.final_loss) else np.inf)
        row["accuracy"].append(float(accuracy[-1]) if len(accuracy) else np.nan)
        row["variation"].append(summary.step_variation)
    best = {
        arm: min((lr for a, lr in table if a == arm), key=lambda lr: np.mean(table[arm, lr]["loss"])) for arm in ARMS
    }
    return table, best


def pair(runs, rates, seed):
    """The run of each arm at its rate, for one seed."""
    wanted = [(arm, rates[arm], seed) for arm in ARMS]
    found = {(run.config["arm"], run.config["lr"], run.config["seed"]): run for run in runs}
    return [found[key] for key in wanted]


def correlations(runs, pairs, seeds):
    """Lines of a table: r between log gradient norm and log smoothness of each arm, rate and seed."""
    for rates, title in pairs.values():
        for seed in seeds:
            for run in pair(runs, rates, seed):
                answer = analysis.norm_smoothness(run)
                low, high = answer.raw.pearson_interval
                yield (
                    f"| {title} | {run.config['arm']}, {run.config['lr']:g} | {seed} | {answer.raw.pearson:.2f} "
                    f"[{low:.2f}, {high:.2f}] | {answer.detrended.pearson:.2f} | {answer.placebo.raw:.2f} "
                    f"| {np.median(answer.smoothness):.3g} |"
                )


def claim(text, paper, found, form, *, lower):
    """One of the paper's claims beside these runs.

    Args:
        text: what the paper says.
        paper: its number.
        found: title of a pair of rates -> for each seed the numbers without clipping and with AutoClip.
        form: format of the numbers.
        lower: whether AutoClip's is said to be the lower one.
    """
    values = {title: np.array(seeds, dtype=np.float64) for title, seeds in found.items()}
    known = {title: each[np.isfinite(each).all(axis=1)] for title, each in values.items()}
    more = {title: each[:, 1] - each[:, 0] for title, each in known.items() if len(each)}
    right = {title: list((each < 0) == lower) for title, each in more.items()}
    means = {title: known[title].mean(axis=0) for title in more}
    return Claim(
        text,
        paper,
        "; ".join(f"{title}: {m[0]:{form}} without, {m[1]:{form}} with AutoClip" for title, m in means.items()),
        verdict_of_several([verdict(-each if lower else each) for each in more.values()]),
        "; ".join(
            f"{title}: so in {of(right[title])}, by {over_seeds(more[title])}"
            if title in more
            else f"{title}: no answer"
            for title in values
        ),
    )


def claims(runs, pairs, seeds):
    """The paper's claims beside these runs."""
    held = {title: [pair(runs, rates, seed) for seed in seeds] for rates, title in pairs.values()}
    chosen = {run.run_id: run for found in held.values() for both in found for run in both}
    answers = {key: analysis.norm_smoothness(run) for key, run in chosen.items()}
    summaries = {key: analysis.summarize(run) for key, run in chosen.items()}

    def numbers(measure):
        return {title: [[measure(run.run_id) for run in both] for both in found] for title, found in held.items()}

    def matched(first, second):
        answer = analysis.compare_smoothness(first, second, answers=(answers[first.run_id], answers[second.run_id]))
        return answer.matched.first, answer.matched.second

    return [
        claim(
            "the step size is nearly constant under AutoClip (standard deviation over mean)",
            "figure 1a, no number",
            numbers(lambda key: summaries[key].step_variation),
            ".2f",
            lower=True,
        ),
        claim(
            "training ends at a lower loss",
            "figure 1b, no number",
            numbers(lambda key: summaries[key].final_loss),
            ".3f",
            lower=True,
        ),
        claim(
            "smoothness follows the gradient norm more closely under AutoClip: r between the logs",
            ".62 without, .86 with AutoClip",
            numbers(lambda key: answers[key].raw.pearson),
            ".2f",
            lower=False,
        ),
        claim(
            "the same without a cubic trend in time",
            "not reported",
            numbers(lambda key: answers[key].detrended.pearson),
            ".2f",
            lower=False,
        ),
        claim(
            "AutoClip leads into smoother parts of the landscape: median smoothness at matched loss",
            "said, no number",
            {title: [matched(*both) for both in found] for title, found in held.items()},
            ".3g",
            lower=True,
        ),
    ]


def results(table, best, seeds, steps, ties, captions):
    """The results as Markdown, every number from the runs."""
    unclipped, clipped = ARMS
    lines = [
        f"# AutoClip on digits read pixel by pixel: {steps:,} steps, seeds {', '.join(map(str, seeds))}",
        "",
        "Training loss over the last 5 % of the steps, accuracy on the 297 held-out digits, and variation of the step",
        "size (standard deviation over mean): mean over the seeds, and their range for the loss.",
        "",
        "| arm | learning rate | final loss | range | accuracy | step-size variation |",
        "|---|---|---|---|---|---|",
    ]
    for (arm, lr), row in sorted(table.items(), key=lambda item: (item[0][0] == clipped, item[0][1])):
        mark = " (best)" if best[arm] == lr else ""
        lines.append(
            f"| {arm} | {lr:g}{mark} | {np.mean(row['loss']):.3f} | {min(row['loss']):.3f} to {max(row['loss']):.3f} "
            f"| {np.mean(row['accuracy']):.1%} | {np.mean(row['variation']):.2f} |"
        )
    own = [np.mean(table[arm, best[arm]]["loss"]) for arm in ARMS]
    shared = [np.mean(table[arm, best[clipped]]["loss"]) for arm in ARMS]
    paired = np.subtract(table[unclipped, best[unclipped]]["loss"], table[clipped, best[clipped]]["loss"])
    lines += [
        "",
        f"Own best rates ({best[unclipped]:g} and {best[clipped]:g}): final loss {own[0]:.3f} without clipping, "
        f"{own[1]:.3f} with AutoClip; AutoClip is lower in {(paired > 0).sum()} of {len(paired)} seeds.",
        "",
        f"Shared rate: both at AutoClip's best rate ({best[clipped]:g}), a comparison that favours AutoClip: "
        f"{shared[0]:.3f} against {shared[1]:.3f}.",
    ]
    lines += [
        "",
        "## Is smoothness tied to the gradient norm?",
        "",
        "Pearson's r between the logs with a 95 % interval, r without a cubic trend in time, r of the placebo, and the",
        "median smoothness along the run.",
        "",
        "| pair | arm and rate | seed | r | detrended | placebo | median smoothness |",
        "|---|---|---|---|---|---|---|",
        *ties,
    ]
    for title, caption in captions.items():
        lines += ["", f"## {title}", "", caption]
    return "\n".join(lines) + "\n"


def draw(root, seeds, steps):
    """Analyse the runs in ``root/runs``; write figures, ``claims.json`` and ``results.md``, and return the latter."""
    runs = gradlens.open_runs(root / "runs")
    table, best = compare(runs)
    clipped = list(ARMS)[1]
    pairs = {
        "best_rates": (best, "own best rates"),
        "shared_rate": (dict.fromkeys(ARMS, best[clipped]), "shared rate"),
    }
    captions = {}
    for name, (rates, title) in pairs.items():
        chosen = pair(runs, rates, seeds[0])
        labels = [
            f"{'No clipping' if run.clip is None else f'With AutoClip, p = {PERCENTILE}'} (lr {run.config['lr']:g})"
            for run in chosen
        ]
        figure = figures.training_dynamics(chosen, labels=labels)
        captions[f"The figure: {title}, seed {seeds[0]}"] = figure.caption
        figures.save(figure, root / "figures" / name)
    text = results(table, best, seeds, steps, correlations(runs, pairs, seeds), captions)
    (root / "results.md").write_text(text)
    claims_file.write(claims(runs, pairs, seeds), root / "claims.json")
    return text


def main(out, *, fast=False, processes=None):
    """Record (unless an earlier call has), analyse and draw; returns the folder of runs."""
    root = Path(out)
    settings = FAST if fast else {"rates": RATES, "seeds": SEEDS, "steps": STEPS}
    begin = time.monotonic()
    recorded = command.once(root, settings, lambda: record(root / "runs", processes=processes, **settings))
    print(draw(root, settings["seeds"], settings["steps"]))
    timing.write(root, begin if recorded else None)
    return root / "runs"


if __name__ == "__main__":
    options = command.parser(__doc__).parse_args()
    main(options.out, fast=command.wants_fast(options), processes=options.processes)
