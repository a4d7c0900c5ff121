"""`pgnotify drivers`: what is installed, where it comes from, and why something cannot be used."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import psycopg
import pytest

from tests.helpers.command_line import environment, run

pytest.importorskip("typer")


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that puts a module, and perhaps a distribution with entry points, on the path of new processes."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))

    def put(module, source, entry_points=""):
        (tmp_path / f"{module}.py").write_text(source)
        if entry_points:
            info = tmp_path / f"{module}-1.5.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.5\n")
            (info / "entry_points.txt").write_text(entry_points)

    return put


def backends():
    """Run the command, and return its exit code, each backend by name, and the rest of its output."""
    done = run("drivers", "--json")
    assert done.err == ""
    found = json.loads(done.out)
    return done.code, {each.pop("name"): each for each in found["backends"]}, found


def test_the_installed_driver_is_shown_with_its_release():
    done = run("drivers")

    lines = done.out.splitlines()
    assert lines[0].startswith("pgnotify ")
    assert f"CPython {platform.python_version()} " in lines[1]
    row = lines[4].split()
    assert row == ["psycopg", "psycopg", psycopg.__version__, "psycopg,", "psycopg_async", "built", "in", "ok"]
    assert (done.code, done.err) == (0, "")


def test_a_driver_that_lacks_a_library_says_so(install):
    install("psycopg2", "raise ImportError('libpq.so.5: cannot open shared object file')")
    code, found, _ = backends()

    assert code == 1
    assert found["psycopg2"]["problem"] == "ImportError: libpq.so.5: cannot open shared object file"
    assert found["psycopg"]["problem"] is None


def test_plug_ins_are_shown_with_their_distributions(install):
    install(
        "plug",
        "def wrap(connection): ...\nconnect = wrap",
        "[pgnotify.backends]\ngood = plug:wrap\nbad = plug:nothing\npsycopg = plug:wrap\n"
        "[pgnotify.drivers]\nmine = plug:connect\n",
    )
    code, found, rest = backends()

    assert code == 1
    origin = "plug 1.5 (plug:wrap)"
    assert found["good"] == {"release": None, "drivers": [], "origin": origin, "problem": None}
    assert found["bad"]["problem"].startswith(
        "the backend for 'bad' from plug 1.5 (plug:nothing) cannot be loaded: AttributeError: "
    )
    assert found["mine"] == {"release": None, "drivers": ["mine"], "origin": "plug 1.5 (plug:connect)", "problem": None}
    (never_used,) = rest["never_used"]
    assert never_used.startswith(f"the backend for 'psycopg' from {origin} is never used: the built-in backend takes")
    assert never_used in run("drivers").out


def test_without_a_driver_it_says_how_to_install_one():
    hidden = (
        "import sys; from pgnotify import registry\n"
        "for package in {**registry.BUILT_IN, **registry.ASYNC_BUILT_IN}:\n"
        "    if package != 'pgnotify': sys.modules[package] = None\n"
        "from pgnotify.__main__ import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden, "drivers"], capture_output=True, text=True, env=environment(), timeout=30
    )

    assert (done.returncode, done.stderr) == (1, "")
    assert 'not installed: pip install "pgnotify-handler[psycopg]"' in done.stdout
    assert " ok" not in done.stdout
