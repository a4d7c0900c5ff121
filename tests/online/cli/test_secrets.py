"""No command shows a password, wherever that was given, and whatever goes wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.helpers.command_line import environment, run

pytest.importorskip("typer")
pytest.importorskip("rich")


@pytest.mark.parametrize("options", [["--debug"], ["--without-drivers"]])
def test_no_command_shows_a_password(options):
    from tests.helpers.every_command import FORMS, PARTS, Run, commands, group

    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.every_command", *options],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
    )
    runs = [Run(*json.loads(line)) for line in done.stdout.splitlines()]

    assert [run for run in runs if any(part in run.out for part in PARTS)] == []
    assert done.stderr == ""
    # They failed, as they should.
    assert [run for run in runs if run.code not in (1, 2) or not run.out] == []
    assert len(runs) >= len(FORMS) * len([*commands(group())])
    assert any("refused" in run.out for run in runs) is ("--debug" in options)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["listen", "{}", "channel"], "a connection string with a password is out of place: give it after --dsn"),
        (["notify", "{}"], "a connection string with a password is out of place: give it after --dsn"),
        (["notify", "channel", "{}"], "a connection string with a password is out of place: give it after --dsn"),
        (["trigger", "{}", "--channel", "c"], "trigger connects to no server: name a TABLE"),
    ],
)
def test_a_password_is_neither_sent_nor_taken_for_a_name(command, says):
    done = run(*(argument.format("postgresql://ann:s3cr3t@localhost/x") for argument in command), PGPORT="1")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"pgnotify: {says}")
