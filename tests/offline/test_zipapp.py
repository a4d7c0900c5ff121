"""An application in one zip file: pgnotify is imported from there, and finds backends by their entry points there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pgnotify
from tests.helpers.application import MAIN, write_distribution


def test_a_zipped_application_finds_the_backend_of_a_third_party(tmp_path):
    application = tmp_path / "application"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(pgnotify.__file__).parent, application / "pgnotify", ignore=ignored)
    write_distribution(application)
    (application / "__main__.py").write_text(MAIN)
    zipapp.create_archive(application, tmp_path / "main.pyz")
    shutil.rmtree(application)

    command = [sys.executable, "-I", "-S", str(tmp_path / "main.pyz")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.stderr == ""
    assert done.stdout == "pgnotify_mydriver\n"
