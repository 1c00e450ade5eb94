"""The page of all samples' claims."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_results", ROOT / "sample_runs" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_kept_page_is_what_the_kept_samples_say(results: ModuleType) -> None:
    new = results.page(ROOT / "sample_runs", ROOT / "docs")
    assert (ROOT / "docs" / "results.md").read_text() == new, "write it anew: python sample_runs/results.py"


def test_each_claim_is_a_row_and_no_sample_is_left_out(results: ModuleType, tmp_path: Path) -> None:
    for name in ("a", "a/fast", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.md").write_text(f"# Sample {name}: 3 steps\n\ntext\n")
    claim = {"claim": "r | rises", "paper": ".62", "ours": ".7", "same": "in part", "why": "2 of 3 seeds"}
    (tmp_path / "a" / "claims.json").write_text(json.dumps([claim]))
    page = results.page(tmp_path, tmp_path)
    assert "## [Sample a: 3 steps](a/results.md)" in page
    assert "| r \\| rises | .62 | .7 | in part | 2 of 3 seeds |" in page
    assert "## [Sample b: 3 steps](b/results.md)\n\nIts recipe compares nothing with a paper's number" in page
    assert "fast" not in page


def test_predictions_of_all_samples_are_judged_together(results: ModuleType, tmp_path: Path) -> None:
    """Two samples with a hit and a miss; numbers that a file keeps are those that were written."""
    predicted = {"run": "plain", "lr": 0.5, "status": "", "sizes": [1, 4, 64], "near": [4], "seeds": [0, 1, 2]}
    norms = [[0.6, 0.61, 0.625], [0.3, 0.312, 0.32], [0.4, 0.41, 0.418]]
    swept = {"swept_sizes": [1, 4, 64], "swept": norms}
    floors = {"a": [0.9, 0.35, 0.4], "b": [0.9, 0.45, 0.4]}
    for name, floor in floors.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.md").write_text(f"# Sample {name}\n")
        check = {"task": f"task {name}", "predicted": floor} | predicted | swept
        (tmp_path / name / "predictions.json").write_text(json.dumps([check]))
    timed = {"recorded": 3, "recorded_seconds": 400, "simulated": 70, "whole": {"seconds": 80, "cores": 2}}
    (tmp_path / "a" / "timing.json").write_text(json.dumps(timed))
    page = results.page(tmp_path, tmp_path)
    assert "| task a | 0.5 | 4 | 4 (not distinguishable: 4) | yes | 1.00 | yes |" in page
    assert "| task b | 0.5 | 64 | 4 (not distinguishable: 4) | no | 0.50 | yes |" in page
    assert "Best b within a factor 2 of the swept one: 1 of 2, exact 95 % binomial interval" in page
    assert "](figures/prediction_check.png)" in page
    assert "| a | 3 | 6.7 min | 70 | 80 s, 2 cores |" in page
    checks = results.checks_of(tmp_path)
    results.predictions.write(checks, tmp_path / "again.json")
    again = results.predictions.read(tmp_path / "again.json")
    assert [one.floor.tolist() for _, one, _ in again] == [one.floor.tolist() for _, one, _ in checks]
    assert again[0][2].values.tolist() == norms
