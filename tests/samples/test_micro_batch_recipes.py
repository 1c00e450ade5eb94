"""The micro-batch samples' recipes: small versions against the pages kept, and kept claims against kept trainings."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gradlens import analysis

ROOT = Path(__file__).parents[2]
Remake = Callable[[str, Path], str]
Outline = Callable[[Path], list[str]]


def claims_of(folder: Path) -> dict[str, str]:
    return {claim["claim"]: claim["same"] for claim in json.loads((folder / "claims.json").read_text())}


@pytest.mark.parametrize("sample", ["micro_batch_vision", "micro_batch_convex"])
def test_the_small_version_gives_the_page_that_is_kept(
    sample: str, request: pytest.FixtureRequest, remake: Remake, outline: Outline, tmp_path: Path
) -> None:
    """The same claims, tables and rows; signs and orderings that hold at this size are asked of the new numbers."""
    said = remake(sample, tmp_path / "out")
    modules: SimpleNamespace = request.getfixturevalue(sample.removeprefix("micro_batch_"))
    kept = modules.folder / "fast"
    assert said == (tmp_path / "out" / "results.md").read_text() + "\n"
    assert outline(tmp_path / "out" / "results.md") == outline(kept / "results.md")
    assert list(claims_of(tmp_path / "out")) == list(claims_of(kept))
    for figure in (tmp_path / "out" / "figures").glob("*.png"):
        assert figure.stat().st_size > 0
    check = {"micro_batch_vision": _small_sizes_do_best, "micro_batch_convex": _a_bias_stays}[sample]
    check(modules.recipe, tmp_path / "out")
    # What is recorded is not recorded again, and a folder holds one recipe.
    with pytest.raises(FileExistsError, match="holds this recipe with other settings; remove it, or give another"):
        modules.recipe.main(tmp_path / "out", fast=False)


def _small_sizes_do_best(recipe: SimpleNamespace, out: Path) -> None:
    """With random labels b = 4 has the least norm and the best accuracy; on clean labels plain SGD is as good."""
    found = recipe.find(out, recipe.FAST)
    (noisy,), (clean,) = (answer.sweeps for answer in found.answers.values())
    one, four, whole = noisy.norm.interval.mean
    assert noisy.norm.minimum.best == 4
    assert one > 1.8 * four
    assert whole > 1.3 * four
    assert not noisy.is_floor
    assert noisy.metric.minimum.best == 4
    assert (np.diff(clean.metric.interval.mean) > 0).all()
    (vit,) = found.vit.values()
    assert vit.n == 1  # a few steps of one seed: the runs are there, and nothing is claimed of them
    assert found.checks


def _a_bias_stays(recipe: SimpleNamespace, out: Path) -> None:
    """Under the decaying rate b = 1 and 2 come to rest off zero, apart from each other; plain SGD does not."""
    done = recipe.sweeps.read(out / "sweeps.parquet")
    one, two, whole = analysis.micro_batch_bias([t for each in done.values() for t in each], can_memorise=False).biases
    assert one.status == ""
    assert 0.2 < one.low < one.high < 0.3
    assert 0.06 < two.low < two.high < 0.12
    assert whole.status.startswith("not identified")


@pytest.mark.parametrize("sample", ["vision", "convex"])
def test_the_kept_page_follows_from_the_kept_trainings(
    sample: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules: SimpleNamespace = request.getfixturevalue(sample)
    monkeypatch.setattr(modules.recipe.pictures, "save", lambda *_: None)  # drawn by other tests
    for name in ("runs", "sweeps.parquet"):
        (tmp_path / name).symlink_to(modules.folder / name)
    modules.recipe.draw(tmp_path, modules.recipe.FULL)
    for name in ("claims.json", "predictions.json", "results.md"):
        assert (tmp_path / name).read_text() == (modules.folder / name).read_text(), f"draw {name} anew"


def test_a_faster_size_is_seen_and_one_that_never_gets_there_is_not(vision: SimpleNamespace) -> None:
    """Planted: b = 4 takes half of plain SGD's steps at its best rate, b = 1 never reaches plain SGD's loss."""
    simulated = vision.recipe.sweeps.Simulated
    t = np.arange(0, 1000, 10)

    def trainings(slow: dict[int, float], floor: dict[int, float]) -> list[object]:
        found = []
        for lr, speed in ((0.1, 0.5), (0.5, 1.0)):
            for b in (1, 4, 64):
                for seed in range(5):
                    loss = floor[b] + np.exp(-t * speed / (slow[b] * (100 + seed)))
                    facts = (f"{b}", "clipped", b, 64, lr, False, seed, t, np.ones(len(t)), loss, 0.9)
                    found.append(simulated(*facts, accuracy=1 - loss / 2))
        return found

    faster = vision.claims.faster
    claim = faster("planted", trainings({1: 1, 4: 0.5, 64: 1}, {1: 0.3, 4: 0.1, 64: 0.1}), "loss")
    assert claim.same == "yes"
    assert "at b = 4 (lr 0.5)" in claim.ours
    claim = faster("planted", trainings({1: 0.2, 4: 1.5, 64: 1}, {1: 0.3, 4: 0.1, 64: 0.1}), "loss")
    assert claim.same == "no"


def test_a_size_is_chosen_and_judged_by_the_same_data(vision: SimpleNamespace) -> None:
    """Of twenty sizes without a gain the best one's own interval often leaves out zero; a simultaneous one does not."""
    from recipes.micro_batch_claims import best_gain

    rng = np.random.default_rng(0)
    said = [best_gain(rng.standard_normal((20, 10)), list(range(20)))[1] for _ in range(100)]
    assert said.count("yes") <= 9
    planted = rng.standard_normal((20, 10)) * 0.1
    planted[7] += 1
    assert best_gain(planted, list(range(20)))[:2] == (7, "yes")
    assert best_gain(-np.abs(planted), list(range(20)))[1] == "no"


def test_verdicts_of_several_questions(vision: SimpleNamespace) -> None:
    from recipes.claims import verdict_of_several

    assert verdict_of_several(["yes", "yes"]) == "yes"
    assert verdict_of_several(["yes", "same sign, not shown", "not answered"]) == "same sign, not shown"
    assert verdict_of_several(["no", "no"]) == "no"
    assert verdict_of_several(["no", "yes"]) == verdict_of_several(["in part"]) == "in part"
    assert verdict_of_several([]) == "not answered"
