"""The wheel that users install: what is in it, and that it works without the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _run(
    *arguments: str, cwd: Path, path: Path | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=check,
        timeout=120,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the repository."""
    folder = tmp_path_factory.mktemp("wheel")
    _run("-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel is installed, without the repository on the path."""
    folder = tmp_path_factory.mktemp("installed")
    arguments = ["install", "-q", "--no-deps", "--no-index", "--target", str(folder), str(wheel)]
    _run("-m", "pip", *arguments, cwd=folder)
    return folder


def test_the_wheel_is_named_for_the_distribution(wheel: Path) -> None:
    """The distribution has the name that is free on the index."""
    assert wheel.name.startswith("policyguard_runtime-")


def test_the_wheel_holds_what_the_package_reads(wheel: Path) -> None:
    """Taxonomy, schema, type marker and every policy with its three files are in the wheel."""
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {"policyguard/py.typed", "policyguard/policy/schema.json"}
    wanted |= {
        f"policyguard/policy/taxonomy/{path.name}"
        for path in (ROOT / "policyguard/policy/taxonomy").iterdir()
        if path.suffix in {".yaml", ".md"}
    }
    wanted |= {
        f"policyguard/{path.relative_to(ROOT)}" for path in (ROOT / "policies").glob("*/*.yaml")
    }
    assert "policyguard/policies/lumipic/cases.yaml" in wanted
    assert wanted - names == set()


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    """Tests, documents and examples stay in the repository."""
    names = zipfile.ZipFile(wheel).namelist()
    ours = ("policyguard/", "policyguard_runtime-")
    foreign = [name for name in names if not name.startswith(ours)]
    assert foreign == []
    assert [name for name in names if "__pycache__" in name] == []


def test_the_wheel_carries_licence_and_attribution(wheel: Path) -> None:
    """Who installs the wheel gets the licence and the attribution of the taxonomy."""
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith("licenses/LICENSE")]
    assert [name for name in names if name.endswith("ATTRIBUTION.md") and "licenses" in name]


def test_the_installed_wheel_is_what_is_imported(installed: Path, tmp_path: Path) -> None:
    """The tests below use the wheel and not the repository."""
    code = "import policyguard; print(policyguard.__file__)"
    done = _run("-c", code, cwd=tmp_path, path=installed)
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_the_installed_wheel_checks_its_own_policy(installed: Path, tmp_path: Path) -> None:
    """A policy that ships in the wheel loads, and its truth table is right."""
    folder = installed / "policyguard" / "policies" / "lumipic"
    _run("-m", "policyguard", "check", str(folder / "policy.yaml"), cwd=tmp_path, path=installed)
    files = [str(folder / "policy.yaml"), str(folder / "cases.yaml")]
    _run("-m", "policyguard", "test", *files, cwd=tmp_path, path=installed)


def test_importing_the_package_loads_no_heavy_library(installed: Path, tmp_path: Path) -> None:
    """`import policyguard` leaves sqlglot, OpenTelemetry, rich, numpy and all plugins unloaded."""
    code = (
        "import sys, policyguard; heavy = {'sqlglot', 'opentelemetry', 'rich', 'numpy', 'typer',"
        " 'sqlalchemy', 'httpx'}; print(sorted(heavy & set(sys.modules)))"
    )
    done = _run("-c", code, cwd=tmp_path, path=installed)
    assert done.stdout.strip() == "[]"
