"""`pgnotify bench`: in the source tree, and without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command_line import environment, run

pytest.importorskip("typer")

ROOT = Path(__file__).parents[3]


def test_further_options_go_to_the_benchmarks(tmp_path):
    (tmp_path / "matplotlib.py").touch()
    path = f"{tmp_path}:{ROOT}"
    done = run("bench", "--results", "/nosuch/results.json", PYTHONPATH=path)
    shown = run("bench", "--", "--help", PYTHONPATH=path)

    assert (done.code, done.out) == (1, "")
    assert done.err == "pgnotify: [Errno 2] No such file or directory: '/nosuch/results.json'\n"
    assert (shown.code, shown.err) == (0, "")
    assert "--rounds" in shown.out


def test_outside_a_source_tree_it_says_where_to_get_one(tmp_path):
    (tmp_path / "pgnotify").symlink_to(ROOT / "pgnotify")
    done = run("bench", "--quick", cwd=tmp_path, PYTHONPATH=str(tmp_path))

    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "pgnotify: the benchmarks are not installed with pgnotify: git clone https://github.com/pgnotify/pgnotify, "
        "and run `make bench` there\n"
    )


def test_without_their_packages_it_says_how_to_install_them():
    hidden = "import sys; sys.modules['matplotlib'] = None; from pgnotify.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", hidden, "bench"], capture_output=True, text=True, env=environment())

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"pgnotify: the benchmarks need matplotlib, and all drivers: `make bench` in {ROOT} installs them\n"
    )
