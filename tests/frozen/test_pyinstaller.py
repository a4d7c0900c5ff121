"""An application that PyInstaller has frozen, with the distribution installed: it finds all backends by itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from pgnotify.registry import installed_drivers
from tests.helpers.application import MAIN, write_distribution

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("PyInstaller") is None, reason="not applicable: no PyInstaller"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    """The program, frozen where a third party's backend is installed."""
    directory = tmp_path_factory.mktemp("frozen")
    write_distribution(directory)
    (directory / "main.py").write_text(MAIN)
    command = [sys.executable, "-m", "PyInstaller", "--noconfirm", "--log-level", "ERROR", "main.py"]
    # Not the checkout: the hook is found in what is installed.
    subprocess.run(command, cwd=directory, env={**os.environ, "PYTHONPATH": str(directory)}, check=True)
    return directory / "dist" / "main"


def test_a_frozen_application_finds_every_driver_and_the_backend_of_a_third_party(application, address):
    done = subprocess.run([application / "main", address.dsn], capture_output=True, text=True, env={}, check=False)

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["pgnotify_mydriver", *installed_drivers()]


def test_a_frozen_application_has_nothing_that_it_does_not_use(application):
    inside = {path.name for path in (application / "_internal").iterdir()}

    assert inside.isdisjoint({"django", "sqlalchemy", "pytest", "PyInstaller"})
