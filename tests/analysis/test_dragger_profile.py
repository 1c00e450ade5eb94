"""Planted draggers: their AUC in closed form, effective numbers by hand, slices that change nothing."""

import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import norm

from gradlens import analysis
from gradlens.store import Run

Write = Callable[..., Run]
K = 4
DISTANCE = 1.2


def planted(step: int, k: int = K) -> Mapping[str, Any]:
    """One dragger in four: log norms N(1.2, 1) against N(0, 1) on a scale that falls; late, cosines turn."""
    rng = np.random.default_rng(step)
    dragger = np.arange(k) == step % k
    logs = rng.standard_normal(k) + DISTANCE * dragger - step / 130
    cosine = 0.1 * rng.standard_normal(k) - 0.1 * dragger * (step >= 400)
    return {
        "grad_norm": np.exp(logs).tolist(),
        "cosine": cosine.tolist(),
        "scale": [1 / k] * k,
        "domain": ["noisy" if each else ("clean" if step % 2 else None) for each in dragger],
    }


@pytest.fixture
def run(write_layers: Write) -> Run:
    return write_layers({}, loss=[1.0] * 600, micro_batches=planted)


def test_draggers_are_told_as_well_as_planted(run: Run) -> None:
    """AUC = Phi(d / sqrt 2) by norm, within steps: pooled over the training, which is wrong, the trend drowns it."""
    found = analysis.dragger_profile(run, "noisy")
    truth = norm.cdf(DISTANCE / np.sqrt(2))
    by_norm = [each for each in found.detections if each.score == "grad_norm"]
    assert [each.phase for each in by_norm] == ["early", "middle", "late", "all steps"]
    for each in by_norm:
        assert each.auc.interval[0] < truth < each.auc.interval[1]
        assert each.auc.value == pytest.approx(truth, abs=0.06)
    early, middle, late, _ = (each for each in found.detections if each.score == "cosine")
    for each in (early, middle):
        assert each.auc.interval[0] < 0.5 < each.auc.interval[1]
    assert late.auc.interval[0] < norm.cdf(1 / np.sqrt(2)) < late.auc.interval[1]  # a shift of one sd
    table = run.micro_batches()
    ours, others = (table["grad_norm"][(table["domain"] == "noisy") == flag].to_numpy() for flag in (True, False))
    assert (ours[:, None] > others).mean() < truth - 0.1
    assert found.known_count == 600


def test_a_predicate_is_as_good_as_a_domain(run: Run) -> None:
    named = analysis.dragger_profile(run, ["noisy"], tries=99)
    chosen = analysis.dragger_profile(run, lambda rows: (rows["domain"] == "noisy").to_numpy(dtype=bool), tries=99)
    assert [each.auc for each in chosen.detections] == [each.auc for each in named.detections]
    assert analysis.dragger_profile(run).detections == ()


def test_a_domain_may_have_the_name_of_all(write_layers: Write) -> None:
    def named(step: int) -> Mapping[str, Any]:
        return {**planted(step), "domain": ["clean", "all micro-batches", "clean", None]}

    found = analysis.dragger_profile(
        write_layers({}, loss=[1.0] * 20, micro_batches=named), "all micro-batches", tries=9
    )
    assert found.domains == ("all micro-batches", "all micro-batches", "clean")
    assert found.count.sum(axis=1).tolist() == [80, 20, 40]
    assert (found.n, found.known_count) == (80, 20)


def test_rows_are_means_by_domain_and_stretch(run: Run) -> None:
    found = analysis.dragger_profile(run)
    table = run.micro_batches()
    assert found.domains == ("all micro-batches", "clean", "noisy")
    assert (found.n, len(found.edges)) == (2400, 61)
    stretch = (table["step"] // 10).to_numpy()
    for row, domain in enumerate((None, "clean", "noisy")):
        own = table if domain is None else table[table["domain"] == domain]
        grouped = own.groupby(stretch if domain is None else stretch[own.index])
        assert found.count[row] == pytest.approx(grouped.size().to_numpy())
        for name in ("grad_norm", "cosine"):
            expected = grouped[name].apply(lambda values: values.to_numpy(np.float64).mean())
            assert getattr(found, name)[row] == pytest.approx(expected.to_numpy())


def test_effective_numbers_are_those_worked_out_by_hand(write_layers: Write) -> None:
    """Norms 1, 1, 2, 4: the min rule's factors 1, 1, 1/2, 1/4 are worth 2.75^2 / 2.3125; lengths 8^2 / 22."""
    steps: list[Mapping[str, Any]] = [
        {"grad_norm": [1.0, 1.0, 2.0, 4.0], "scale": [0.25] * 4},
        {"grad_norm": [3.0, 3.0], "scale": [0.5, 0.5]},
        {"grad_norm": [1.0, np.nan], "scale": [0.5, 0.5]},
        {"grad_norm": [0.0, 0.0], "scale": [0.5, 0.5]},
        {"grad_norm": [2.0, 1.0], "scale": [0.25, 0.5]},  # equal lengths
        {"grad_norm": [5.0]},
    ]
    found = analysis.dragger_profile(write_layers({}, loss=[1.0] * 6, micro_batches=lambda step: steps[step]))
    assert found.micro_batches.tolist() == [4, 2, 2, 2, 2, 1]
    expected = [2.75**2 / 2.3125, 2.0, np.nan, 2.0, 0.75**2 / 0.3125, 1.0]
    assert found.effective == pytest.approx(expected, nan_ok=True)
    assert found.effective_lengths == pytest.approx([64 / 22, 2.0, np.nan, np.nan, 2.0, 1.0], nan_ok=True)
    assert found.clip_coef[0] == pytest.approx([2.75 / 4, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert not found.recorded
    assert "not how training would have gone" in found.note


def test_recorded_coefficients_are_taken_where_the_training_clipped(write_layers: Write) -> None:
    rows = {"grad_norm": [1.0, 3.0], "scale": [0.5, 0.5], "clip_coef": [1.0, 0.9]}
    clip = {"name": "micro_batch", "parameters": {}}
    found = analysis.dragger_profile(write_layers({}, loss=[1.0] * 4, micro_batches=lambda _: rows, clip=clip))
    assert found.recorded
    assert found.clip_coef[0] == pytest.approx(0.95)
    assert found.effective == pytest.approx(1.9**2 / 1.81)
    assert found.note == "Clip coefficients are those of the training."


def test_slices_of_any_length_give_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = analysis.dragger_profile(run, "noisy", tries=50)
    monkeypatch.setattr("gradlens.store.slices.SLICE_ROWS", 37)
    cut = analysis.dragger_profile(run, "noisy", tries=50)
    for name in ("count", "grad_norm", "cosine", "clip_coef", "effective", "effective_lengths", "steps"):
        assert getattr(cut, name) == pytest.approx(getattr(whole, name), nan_ok=True)
    assert [each.auc for each in cut.detections] == [each.auc for each in whole.detections]


def test_what_it_cannot_say_is_a_sentence(run: Run, write_layers: Write) -> None:
    none = analysis.dragger_profile(write_layers({}, loss=[1.0] * 5), "noisy")
    assert none.status == (
        "run 'run' recorded no micro-batches; take several recorder.loss(..., of=K) in a step, and record them with "
        "micro_batches=gradlens.every(100)."
    )
    assert (none.n, none.detections, none.domains) == (0, (), ("all micro-batches",))
    with pytest.raises(
        ValueError, match=r"^the run has no micro-batches of domain 'loud'; its domains: 'clean', 'noisy'\.$"
    ):
        analysis.dragger_profile(run, "loud")
    with pytest.raises(
        ValueError, match=r"^known takes a slice of run.micro_batches\(\) and gives a bool for each of its"
    ):
        analysis.dragger_profile(run, lambda rows: np.zeros(len(rows)))
    one = analysis.dragger_profile(write_layers({}, loss=[1.0] * 9, micro_batches=lambda s: planted(s, k=1)), "noisy")
    assert {each.auc.status for each in one.detections} == {"no group holds both a known one and another."}


def test_memory_is_a_slice_and_a_few_numbers_a_step(series: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a million micro-batches, a slice at a time; as a data frame they are 10 MB without the text."""
    run = series(step=np.arange(8_192.0))

    def slices(_: Run) -> Iterator[pa.Table]:
        for first in range(0, 8_192, 512):
            steps = np.repeat(np.arange(first, first + 512), 32)
            ones = pa.array(np.ones(len(steps), np.float32))
            columns = dict.fromkeys(("grad_norm", "cosine", "clip_coef", "scale"), ones)
            yield pa.table({"step": steps, **columns, "domain": np.where(steps % 2, "odd", "even")})

    monkeypatch.setattr("gradlens.analysis.micro_batch_tally.micro_batch_slices", slices)
    tracemalloc.start()
    found = analysis.dragger_profile(run, "odd", tries=9)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.n == 1 << 18
    assert found.count[1:].sum() == 1 << 18
    assert peak < 6 << 20
