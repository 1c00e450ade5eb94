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
