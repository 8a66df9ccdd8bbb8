"""Integrations are found by entry point, installed by name, and fail loudly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from policyguard import PluginError
from policyguard.plugins import GROUP, available, find_plugin
from tests.enforce.kit import ADDRESS, guard

MODULES = {
    "good": "class Plugin:\n    name, api = 'good', 1\n"
    "    def install(self, guard):\n        return lambda: None\n",
    "instance": "class P:\n    name, api = 'instance', 1\n"
    "    def install(self, guard):\n        return lambda: None\nPlugin = P()\n",
    "raises": f"raise RuntimeError({ADDRESS!r})\n",
    "imports": "import there_is_no_such_module\n",
    "exits": "class Plugin: pass\n",
    "constructor": f"class Plugin:\n    def __init__(self):\n        raise OSError({ADDRESS!r})\n",
    "number": "Plugin = 7\n",
    "nothing": "",
    "syntax": "def (\n",
    "fails": "class Plugin:\n    name, api = 'fails', 1\n"
    f"    def install(self, guard):\n        raise KeyError({ADDRESS!r})\n",
}


@pytest.fixture(autouse=True)
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A real installed distribution with all of these plugins."""
    info = tmp_path / "picnic_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: picnic-plugins\nVersion: 1.0\n")
    points = "".join(f"{name} = picnic_{name}:Plugin\n" for name in MODULES)
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    for name, text in MODULES.items():
        (tmp_path / f"picnic_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in MODULES:
        sys.modules.pop(f"picnic_{name}", None)


def test_what_is_installed_is_found_without_importing_it() -> None:
    """Looking costs no import."""
    assert set(MODULES) <= set(available())
    assert not [name for name in sys.modules if name.startswith("picnic_")]


@pytest.mark.parametrize("name", ["good", "instance"])
def test_a_class_or_an_object_is_a_plugin(name: str) -> None:
    """An entry point may name either."""
    made = guard()
    made.install(name)
    assert find_plugin(name).name == name
    made.uninstall(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("raises", "RuntimeError"),
        ("imports", "ModuleNotFoundError"),
        ("constructor", "OSError"),
        ("nothing", "AttributeError"),
        ("syntax", "SyntaxError"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named_with_its_distribution(
    name: str, kind: str
) -> None:
    """The kind of the failure is told, never its text."""
    with pytest.raises(PluginError) as caught:
        guard().install("good", name)
    told = str(caught.value)
    assert caught.value.code == "PG601"
    assert f"`{name}`" in told
    assert "`picnic-plugins`" in told
    assert kind in told
    assert ADDRESS not in told
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["exits", "number"])
def test_what_is_no_plugin_is_refused(name: str) -> None:
    """Name, api and install are the least."""
    with pytest.raises(PluginError) as caught:
        find_plugin(name)
    assert "is no plugin" in str(caught.value)


def test_a_plugin_that_fails_to_install_undoes_the_call() -> None:
    """What this call installed is gone again."""
    made = guard()
    with pytest.raises(PluginError):
        made.install("good", "fails")
    assert "good" not in made._integrations


def test_an_unknown_name_tells_the_nearest_and_what_there_is() -> None:
    """A typo is answered."""
    with pytest.raises(PluginError) as caught:
        find_plugin("goood")
    assert caught.value.hint == "did you mean `good`?"
    assert "good, " in caught.value.because
    with pytest.raises(PluginError) as caught:
        find_plugin("zzzzz")
    # Nobody is sent to install what anybody may have published under such a name.
    assert caught.value.hint == ""
