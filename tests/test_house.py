"""The house itself: what is loaded when, what the wheel holds, and documents that say what the code does."""

import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import gradlens
from gradlens import schema
from gradlens.cli.command import _parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def loaded_after(statement: str) -> set[str]:
    """Top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import gradlens", {"torch", "numpy", "pandas", "pyarrow", "scipy", "matplotlib", "plotly", "dash"}),
        ("import gradlens.clipping, gradlens.stats", {"torch", "pandas", "pyarrow", "matplotlib", "plotly", "dash"}),
        ("import gradlens.store", {"torch", "scipy", "matplotlib", "plotly", "dash"}),
        ("import gradlens.analysis", {"torch", "matplotlib", "plotly", "dash"}),
        ("import gradlens.figures", {"torch", "matplotlib", "plotly", "dash"}),
        (
            "import gradlens.recording, gradlens.recording.recorder, gradlens.recording.frozen_weights",
            {"scipy", "pandas", "matplotlib", "plotly", "dash"},
        ),
        ("import gradlens.cli", {"torch", "matplotlib", "plotly", "dash"}),
    ],
)
def test_a_room_loads_only_what_it_needs(statement: str, absent: set[str]) -> None:
    assert loaded_after(statement) & absent == set()


def test_every_public_name_is_there() -> None:
    for name in gradlens.__all__:
        assert getattr(gradlens, name) is not None
    assert set(gradlens.__all__) <= set(dir(gradlens))
    with pytest.raises(AttributeError, match="module 'gradlens' has no attribute 'nothing'"):
        _ = gradlens.nothing


def test_the_columns_page_is_the_schema() -> None:
    assert (ROOT / "docs" / "columns.md").read_text() == schema.columns_markdown()


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == gradlens.__version__
    assert f"version: {gradlens.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## {gradlens.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_has_its_reason_and_its_pin() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    reasons = (ROOT / "docs" / "architecture.md").read_text()
    pins = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    wanted = [*project["dependencies"], *(n for extra in project["optional-dependencies"].values() for n in extra)]
    for requirement in wanted:
        name = re.split(r"[\[<>=!~ ]", requirement)[0]
        if name == project["name"]:
            continue
        assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement), f"{requirement}: lower bounds only"
        assert f"`{name}`" in reasons, f"docs/architecture.md gives no reason for {name}"
        assert name.lower() in pins, f"constraints.txt does not pin {name}"


def test_the_readmes_commands_are_commands() -> None:
    commands = re.findall(r"^\$ gradlens (.*)$", README, flags=re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        _parser().parse_args(shlex.split(command, comments=True))
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`?make (\w+)", README)) <= targets


def test_the_readmes_loop_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    (loop,) = [
        code for code in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if "gradlens.Recorder" in code
    ]
    model = torch.nn.Linear(3, 2)
    loader = [(torch.randn(4, 3), torch.randint(2, (4,))) for _ in range(3)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    exec(loop, {"model": model, "optimizer": optimizer, "loader": loader, "criterion": torch.nn.CrossEntropyLoss()})  # noqa: S102
    (run,) = gradlens.open_runs(tmp_path / "runs")
    assert run.series("grad_norm")[0].tolist() == [0, 1, 2]


def test_the_readmes_links_and_pictures_exist() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "sample_runs").glob("*/README.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_wheel_holds_the_two_packages_and_runs_from_anywhere(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", str(ROOT)]
    subprocess.run([*build, "--wheel-dir", str(tmp_path)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert {path.name for path in site.iterdir()} == {
        "gradlens", "gradlens_app", f"gradlens_dynamics-{gradlens.__version__}.dist-info",
    }  # fmt: skip
    assert (site / "gradlens" / "py.typed").exists()
    code = (
        "import gradlens, gradlens_app; print(gradlens.__file__);"
        "from gradlens.cli.demo import _recipe; print(_recipe().__file__)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert all(line.startswith(str(site)) for line in result.stdout.split())
