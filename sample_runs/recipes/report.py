"""A sweep's answer, and a prediction's, as Markdown."""

from gradlens import analysis


def named(title, answer):
    """The title of a task, with how long its trainings were."""
    return f"{title}, T = {answer.sweeps[0].last_step:,}" if answer.sweeps else title


def sweep_tables(answer):
    """A sweep's curves, a table for each learning rate."""
    for sweep in answer.sweeps:
        sizes = sweep.norm.sizes
        at = f"lr {sweep.lr:g}{', decaying' if sweep.decays else ''}"
        name = "noise floor" if sweep.is_floor else f"gradient norm at T = {sweep.last_step:,}"
        rows = [(name, sweep.norm)] + (
            [(sweep.metric.quantity.replace("_", " "), sweep.metric)] if sweep.metric else []
        )
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


def doubts(answer):
    """Why there is no answer, what was left out, and what to bear in mind."""
    if answer.status:
        yield f"No answer: {answer.status}"
    yield from (f"Left out: {each}" for each in answer.excluded)
    yield from (f"To bear in mind: {each}" for each in answer.doubts)
    yield ""


def effects(answer):
    """The pruning effect; nothing where no control was run."""
    if not answer.effects:
        return
    sizes = answer.effects[0].sizes
    yield "Pruning effect: micro-batch clipping less the other, paired by seed, simultaneous 95 % intervals."
    yield ""
    yield "| of | less | lr | " + " | ".join(f"b = {b}" for b in sizes) + " |"
    yield "|" + "---|" * (len(sizes) + 3)
    for effect in answer.effects:
        found = effect.difference
        cells = (
            f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]"
            for mean, low, high in zip(found.mean, found.low, found.high, strict=True)
        )
        yield f"| {effect.quantity} | {effect.versus} | {effect.lr:g} | " + " | ".join(cells) + " |"
    yield ""


def own(answer):
    """Each size at its own best learning rate."""
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


def predictions(checks):
    """What one plain run predicts, beside what was swept.

    Args:
        checks: task, prediction and swept norms of each.
    """
    if not checks:
        yield "No run predicts at a learning rate that was swept."
        return
    found = analysis.hit_rate([one for _, one, _ in checks], [swept for _, _, swept in checks])
    sizes = sorted({int(b) for _, one, _ in checks for b in one.sizes})
    yield "| task | of b = | " + " | ".join(map(str, sizes)) + " | best | near it | rank correlation |"
    yield "|" + "---|" * (len(sizes) + 5)
    for (task, predicted, swept), agreement in zip(checks, found.agreements, strict=True):
        floors = _at(sizes, predicted.sizes, predicted.floor)
        norms = _at(sizes, swept.sizes, swept.interval.mean)
        near, ties = (", ".join(map(str, each)) for each in (predicted.near, swept.minimum.ties))
        rank = f"{agreement.rank_correlation:.2f}"
        yield f"| {task}, lr {predicted.lr:g} | predicted | {floors} | {agreement.predicted} | {near} | {rank} |"
        yield f"| {predicted.status or 'at rest'} | swept | {norms} | {agreement.swept} | {ties} | |"
    yield ""
    yield from judged(found)


def judged(found):
    """A hit rate in sentences."""
    yield f"Best b within a factor 2 of the swept one: {found.hits} of {found.n}, exact 95 % binomial interval"
    yield f"of the rate {found.low:.2f} to {found.high:.2f}; b = {found.constant}, the best constant guess in"
    yield f"hindsight, would hit {found.constant_hits}. Of the {found.n_believed} whose run was at rest"
    yield f"{found.rate_believed * found.n_believed if found.n_believed else 0:.0f} hit. Mean rank correlation"
    yield f"{found.rank_correlation:.2f}."


def _at(sizes, own_sizes, values):
    """Cells of a table over some sizes; empty where there is no value."""
    known = dict(zip(map(int, own_sizes), values, strict=True))
    return " | ".join(f"{known[b]:.3f}" if b in known else "" for b in sizes)
