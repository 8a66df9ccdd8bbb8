"""The wheel that users install: what is in it, and that it works without the repository.

It is built offline and installed into a fresh virtual environment. Its dependencies come from the
environment that runs the tests, by a path file; what is installed there as editable isn't seen,
because path files count in the environment's own folder only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
POLICIES = sorted(path.parent.name for path in ROOT.glob("policies/*/policy.yaml"))
HEAVY = ("sqlglot", "opentelemetry", "rich", "numpy", "typer", "sqlalchemy", "httpx")


def _run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    foreign = {"PYTHONPATH", "PYTHONHOME", "POLICYGUARD_MODE", "POLICYGUARD_CONFIG"}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in foreign},
        capture_output=True,
        text=True,
        check=check,
        timeout=120,
    )


@dataclass(frozen=True)
class Installed:
    """A virtual environment that holds the wheel, and an empty folder to work in."""

    home: Path
    folder: Path

    def python(self, *arguments: str) -> str:
        """What a Python of the environment prints."""
        return _run(self.home / "bin" / "python", *arguments, cwd=self.folder).stdout.strip()

    def policyguard(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command that the wheel installed."""
        script = self.home / "bin" / "policyguard"
        return _run(script, *arguments, cwd=self.folder, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the repository without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--no-build-isolation", "--no-deps", "--no-index", "-q", "-w", folder)
    _run(sys.executable, "-m", "pip", "wheel", *options, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in an environment of its own."""
    home, folder = tmp_path_factory.mktemp("venv"), tmp_path_factory.mktemp("empty")
    _run(sys.executable, "-m", "venv", "--without-pip", home, cwd=folder)
    python = home / "bin" / "python"
    options = ("-q", "--no-deps", "--no-index", "--no-warn-script-location")
    _run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    (site,) = home.glob("lib/python*/site-packages")
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("\n".join(sorted(dependencies)), encoding="utf-8")
    return Installed(home, folder)


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


def test_the_installed_wheel_is_what_is_imported(installed: Installed) -> None:
    """The tests below use the wheel and not the repository."""
    file = installed.python("-c", "import policyguard; print(policyguard.__file__)")
    assert Path(file).is_relative_to(installed.home)


def test_the_command_tells_its_version(installed: Installed, wheel: Path) -> None:
    """`policyguard --version` is there after installing, and says the wheel's version."""
    done = installed.policyguard("--version")
    assert (done.returncode, done.stdout) == (0, f"policyguard {wheel.name.split('-')[1]}\n")


@pytest.mark.parametrize("policy", POLICIES)
def test_a_shipped_policy_is_found_by_its_id(installed: Installed, policy: str) -> None:
    """Each policy in the wheel loads without an error, and its truth table is right."""
    checked = installed.policyguard("check", policy)
    assert (checked.returncode, checked.stderr) == (0, "")
    tested = installed.policyguard("test", policy)
    assert (tested.returncode, tested.stderr) == (0, "")


def test_the_files_to_start_from_are_written(installed: Installed, tmp_path: Path) -> None:
    """`policyguard init` works from the wheel, and what it writes can be used."""
    assert (
        installed.policyguard("init", "--from", "lumipic", "--dir", str(tmp_path)).returncode == 0
    )
    checked = installed.policyguard("check", str(tmp_path / "policy.yaml"))
    assert checked.returncode == 0, checked.stdout


def test_the_demo_says_that_it_needs_the_repository(installed: Installed) -> None:
    """The wheel holds no example application, and says so in one line."""
    done = installed.policyguard("demo")
    assert done.returncode == 2
    assert "clone the repository" in done.stderr


def test_the_core_works_without_any_plugin(installed: Installed) -> None:
    """No plugin can be imported there, and a guard decides all the same."""
    code = (
        "import importlib.util, policyguard, policyguard.config, pathlib;"
        "found = [n for n in ('asgi', 'httpx', 'sqlalchemy')"
        " if importlib.util.find_spec(f'policyguard_{n}')];"
        "home = pathlib.Path(policyguard.__file__).parent / 'policies' / 'lumipic';"
        "guard = policyguard.Guard.load(home / 'policy.yaml', data_map=home / 'data-map.yaml');"
        "answer = guard.decide(data='user.biometric.face_embedding', to='facebook_pixel',"
        " purpose='marketing.advertising.third_party.targeted');"
        "print(found, answer.verdict)"
    )
    assert installed.python("-W", "error", "-c", code) == "[] deny"


def test_importing_the_package_loads_no_heavy_library(installed: Installed) -> None:
    """`import policyguard` leaves sqlglot, OpenTelemetry, rich, numpy and all plugins unloaded."""
    code = f"import sys, policyguard; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    assert installed.python("-c", code) == "[]"
