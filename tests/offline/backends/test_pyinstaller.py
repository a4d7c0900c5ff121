"""The hook for PyInstaller: what it names exists. `tests/frozen` freezes an application with it."""

from __future__ import annotations

import runpy
import sys
import types
from pathlib import Path

import pytest

import pgnotify
from pgnotify.backends._pyinstaller import hook_dirs
from pgnotify.registry import BUILT_IN

PACKAGE = Path(pgnotify.__file__).parent


@pytest.fixture
def hook(monkeypatch):
    """The names that the hook defines, with functions in place of PyInstaller's."""

    def collect_submodules(package, keep):
        folder = PACKAGE.parent.joinpath(*package.split("."))
        names = [f"{package}.{path.stem}" for path in folder.glob("*.py") if path.stem != "__init__"]
        return list(filter(keep, [*names, f"{package}._pyinstaller", f"{package}._pyinstaller.hook-pgnotify"]))

    hooks = types.ModuleType("PyInstaller.utils.hooks")
    hooks.collect_submodules = collect_submodules
    hooks.collect_entry_point = lambda group: ([(f"metadata of {group}", ".")], [f"module of {group}"])
    monkeypatch.setitem(sys.modules, "PyInstaller", types.ModuleType("PyInstaller"))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils", types.ModuleType("PyInstaller.utils"))
    monkeypatch.setitem(sys.modules, "PyInstaller.utils.hooks", hooks)
    (directory,) = hook_dirs()
    return runpy.run_path(f"{directory}/hook-pgnotify.py")


def test_the_hook_names_the_module_of_every_built_in_backend(hook):
    modules = {path.partition(":")[0] for path in BUILT_IN.values()} - {"pgnotify.connection"}

    assert modules <= set(hook["hiddenimports"])
    assert not [name for name in hook["hiddenimports"] if "_pyinstaller" in name]


def test_the_hook_collects_the_backends_of_third_parties(hook):
    assert hook["datas"] == [("metadata of pgnotify.backends", "."), ("metadata of pgnotify.async_backends", ".")]
    assert {"module of pgnotify.backends", "module of pgnotify.async_backends"} <= {*hook["hiddenimports"]}


def test_the_distribution_names_the_hook():
    project = (PACKAGE.parent / "pyproject.toml").read_text()

    assert f'[project.entry-points.pyinstaller40]\nhook-dirs = "{hook_dirs.__module__}:hook_dirs"\n' in project
