"""The separation sample's recipe in its small version, against the page that is kept."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import gradlens

Remake = Callable[[str, Path], str]
STEADY = "the step size is nearly constant under AutoClip"


def test_the_small_version_gives_the_page_that_is_kept(
    separation: SimpleNamespace,
    remake: Remake,
    outline: Callable[[Path], list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = remake("autoclip_separation", tmp_path)
    new, kept = (
        {claim["claim"]: claim["same"] for claim in json.loads((folder / "claims.json").read_text())}
        for folder in (tmp_path, separation.folder / "fast")
    )
    assert list(new) == list(kept)
    assert said == (tmp_path / "results.md").read_text() + "\n"
    assert outline(tmp_path / "results.md") == outline(separation.folder / "fast" / "results.md")
    assert (tmp_path / "figures" / "training_dynamics.png").stat().st_size > 0

    # What holds at this size in each of four seeds, which one cannot show: steadier steps; many clipped, r far above
    # its placebo.
    assert new[STEADY] == kept[STEADY] == "same sign, not shown"
    runs = gradlens.open_runs(tmp_path)
    clipped, unclipped = sorted(map(separation.measured.measure, runs), key=lambda one: one.percentile)
    assert clipped.variation < unclipped.variation
    assert clipped.peak < unclipped.peak
    assert clipped.clipped > 0.75
    assert min(clipped.r - clipped.placebo, unclipped.r - unclipped.placebo) > 0.2

    monkeypatch.setattr(subprocess, "Popen", None)  # what is recorded is not recorded again
    separation.recipe.record(tmp_path / "runs", "fast", [], 1)
    with pytest.raises(FileExistsError, match="holds runs of this recipe with other settings; give another --out"):
        separation.recipe.record(tmp_path / "runs", "cpu", [], 1)


def test_verdicts_follow_the_numbers(separation: SimpleNamespace) -> None:
    def seeds(**values: list[float]) -> list[SimpleNamespace]:
        return [SimpleNamespace(**dict(zip(values, row, strict=True))) for row in zip(*values.values(), strict=True)]

    claims = separation.claims
    without, clipped = seeds(variation=[0.3, 0.3], peak=[2, 2]), seeds(variation=[0.1, 0.4], peak=[1, 3])
    steady = claims.steady_steps(list(zip(without, clipped, strict=True)))
    assert (steady.same, steady.why) == (
        "in part", "sd/mean is lower under AutoClip in 1 of 2 seeds, by +0.05, too few seeds for an interval",
    )  # fmt: skip
    verdict = claims.verdict
    assert verdict([0.9, 1.0, 1.1]) == "yes"
    assert verdict([0.1, 1.0, 3.0]) == verdict([1.0]) == verdict([1.0, 1.0]) == "same sign, not shown"
    assert verdict([0.1, 1.0, 3.0], pairs_shown=True) == "yes"
    assert steady.ours.startswith("sd/mean 0.3 without clipping, 0.25 with AutoClip")
    shares = [(None, one) for one in seeds(clipped=[0.9, 0.99], norms_first=[1, 1], norms_after=[1, 5])]
    assert claims.clipped_share(shares).same == "in part"

    def table(values: dict[int, float]) -> str:
        same: str = claims.best_percentile({p: {0: SimpleNamespace(si_sdr=v)} for p, v in values.items()}).same
        return same

    paper = separation.measured.TABLE_1
    assert table(paper) == "same sign, not shown"  # of one seed
    assert table({p: -v for p, v in paper.items()}) == "no"
    assert table(paper | {1: 0.0}) == "no"
    seeds_differ = {p: {s: SimpleNamespace(si_sdr=v * (-1) ** s) for s in (0, 1)} for p, v in paper.items()}
    assert claims.best_percentile(seeds_differ).same == "in part"
    more = {p: {0: SimpleNamespace(si_sdr=v), 1: SimpleNamespace(si_sdr=-v)} for p, v in paper.items()}
    del more[0][1]  # where one percentile lacks a seed, it counts for none
    assert claims.best_percentile(more).same == "same sign, not shown"
    assert table({10: 1.0, 100: 0.0}) == "not asked"
