"""The names of the script, and what a shell completes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgnotify.__main__ import NAMES
from pgnotify.registry import DRIVERS
from tests.helpers.command_line import environment, run

pytest.importorskip("typer")

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
WITHOUT_DETECTION = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # the shell that the tests run in


@pytest.fixture
def script(tmp_path):
    """A function that makes a script of a name, as pip does, and returns its path."""

    def make(name):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\nfrom pgnotify.__main__ import main\nmain()\n")
        path.chmod(0o755)
        return path

    return make


def out_of(*command, **variables):
    """Run a command, and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment(**variables))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_both_scripts_are_installed_and_are_the_same():
    section = PYPROJECT.read_text().partition("[project.scripts]\n")[2].partition("\n\n")[0]

    assert re.findall(r"^([\w-]+) = \"(.*?)\"", section, re.MULTILINE) == [
        (name, "pgnotify.__main__:main") for name in NAMES
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_script_shows_its_own_name(script, name):
    assert out_of(script(name), "--help").startswith(f"Usage: {name} ")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.skipif(shutil.which("bash") is None, reason="not applicable: bash is not installed")
def test_bash_completes_commands_with_the_script_that_is_shown(script, name, tmp_path):
    script(name)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    shown = out_of(tmp_path / name, "--show-completion", "bash", **WITHOUT_DETECTION)
    (function,) = re.findall(rf"^complete .*-F (\w+) {name}$", shown, re.MULTILINE)

    completed = out_of(
        "bash",
        "-c",
        f'{shown}\nCOMP_WORDS=({name} dr); COMP_CWORD=1; {function} {name}; echo "${{COMPREPLY[@]}}"',
        PATH=path,
    )

    assert completed == "drivers\n"


@pytest.mark.parametrize(("shell", "says"), [("zsh", "#compdef pgnotify"), ("fish", "complete --command pgnotify ")])
def test_other_shells_get_a_script_too(shell, says):
    done = run("--show-completion", shell, **WITHOUT_DETECTION)

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(says)


@pytest.mark.parametrize(
    "variables",
    [
        {"_PGNOTIFY_COMPLETE": "complete_bash", "COMP_WORDS": "pgnotify listen --driver psy", "COMP_CWORD": "3"},
        {"_PGNOTIFY_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    ],
)
def test_names_of_drivers_are_completed(variables):
    done = run(**variables, _TYPER_COMPLETE_ARGS="pgnotify listen --driver psy")

    assert done.out.split() == [name for name in DRIVERS if name.startswith("psy")]
    assert (done.code, done.err) == (0, "")
