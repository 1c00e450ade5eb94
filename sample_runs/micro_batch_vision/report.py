"""A sweep's numbers as the analysis takes them, and its answer as Markdown."""

from gradlens import analysis
from gradlens.analysis.trainings import Training, how_it_ended


def as_trainings(result, arm, sizes, lr, seeds, *, decays=False, batch=64):
    """The simulator's arrays, one training each."""
    for row, seed in enumerate(seeds):
        for column, b in enumerate(sizes):
            norms, accuracy = result["grad_norm"][row, column], result["accuracy"][row, column, -1]
            loss = result["loss"][row, column]
            # A training without the draggers is not judged by its loss on them.
            ends = (float("nan"),) * 2 if arm == "pruned" else (float(loss[0]), float(loss[-1]))
            yield Training(
                name=f"{arm}, b = {b}, lr {lr:g}, seed {seed}", arm=arm, micro_batch_size=b, batch_size=batch, lr=lr,
                decays=decays, seed=seed, steps=result["steps"], grad_norm=norms, loss=loss, metric=float(accuracy),
                excluded=how_it_ended(norms, *ends, float(accuracy), chance=0.1),
            )  # fmt: skip


def table(answer):
    """A sweep's curves as Markdown, a block for each learning rate."""
    for sweep in answer.sweeps:
        sizes = sweep.norm.sizes
        at = f"lr {sweep.lr:g}{', decaying' if sweep.decays else ''}"
        name = "noise floor" if sweep.is_floor else f"gradient norm at T = {sweep.last_step:,}"
        rows = [(name, sweep.norm)] + ([("test accuracy", sweep.metric)] if sweep.metric else [])
        yield f"| {at} | " + " | ".join(f"b = {b}" for b in sizes) + " | best | not distinguishable | interior |"
        yield "|" + "---|" * (len(sizes) + 4)
        for title, found in rows:
            least = found.minimum
            numbers = " | ".join(f"{mean:.3f}" for mean in found.interval.mean)
            ties = ", ".join(map(str, least.ties))
            yield f"| {title} | {numbers} | {least.best} | {ties} | {'yes' if least.interior else found.status} |"
        if sweep.speed:
            steps = " | ".join(f"{mean:,.0f}" for mean in sweep.speed.interval.mean)
            least = sweep.speed.minimum
            ties = ", ".join(map(str, least.ties))
            yield f"| steps to a loss of {sweep.level:.2g} | {steps} | {least.best} | {ties} | |"
        yield ""
        yield f"{sweep.status or 'All sizes are at rest.'} Seeds: {len(sweep.norm.seeds)}."
        yield ""


def effects(answer):
    """The pruning effect as Markdown."""
    for effect in answer.effects:
        cells = (
            f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
            for mean, low, high in zip(
                effect.difference.mean, effect.difference.low, effect.difference.high, strict=True
            )
        )
        yield f"| {effect.quantity} | {effect.versus} | {effect.lr:g} | " + " | ".join(cells) + " |"


def own(answer):
    """Each size at its own best learning rate, in a sentence each."""
    if answer.own is None:
        return
    chosen = ", ".join(
        f"b = {b}: {lr:g}{' (edge of the grid)' if edge else ''}"
        for b, lr, edge in zip(answer.own.values.sizes, answer.own.lr, answer.own.at_edge, strict=True)
    )
    means = ", ".join(f"{mean:.3f}" for mean in answer.own.values.interval.mean)
    best = answer.own.values.minimum
    yield f"Own best learning rates by {answer.own.values.quantity} ({chosen}): {means}. Best b = {best.best}, not"
    yield f"distinguishable: {', '.join(map(str, best.ties))}. {answer.own.values.status}"
    yield ""


def predictions(pairs):
    """What one plain run predicts, beside what was swept.

    Args:
        pairs: (title, run, sweep).
    """
    judged = []
    for title, run, sweep in pairs:
        predicted = analysis.predict_sweet_spot(run)
        judged.append((predicted, sweep.norm))
        agreement = analysis.hit_rate([predicted], [sweep.norm]).agreements[0]
        if len(judged) == 1:
            yield (
                "| task | of b = | " + " | ".join(map(str, predicted.sizes)) + " | best | near it | rank correlation |"
            )
            yield "|" + "---|" * (len(predicted.sizes) + 5)
        floors = " | ".join(f"{floor:.3f}" for floor in predicted.floor)
        swept = " | ".join(f"{mean:.3f}" for mean in sweep.norm.interval.mean)
        near, ties = (", ".join(map(str, found)) for found in (predicted.near, sweep.norm.minimum.ties))
        rank = f"{agreement.rank_correlation:.2f}"
        yield f"| {title}, lr {sweep.lr:g} | predicted | {floors} | {predicted.best} | {near} | {rank} |"
        yield f"| {predicted.status or 'at rest'} | swept | {swept} | {agreement.swept} | {ties} | |"
    if judged:
        found = analysis.hit_rate(*zip(*judged, strict=True))
        yield ""
        yield f"Best b within a factor 2 of the swept one: {found.hits} of {found.n}, exact 95 % binomial interval"
        yield f"of the rate {found.low:.2f} to {found.high:.2f}; b = {found.constant}, the best constant guess in"
        yield f"hindsight, would hit {found.constant_hits}. Of the {found.n_believed} whose run was at rest"
        yield f"{found.rate_believed * found.n_believed:.0f} hit. Mean rank correlation {found.rank_correlation:.2f}."
