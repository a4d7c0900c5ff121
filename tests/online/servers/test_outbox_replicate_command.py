"""`pgnotify outbox replicate` prints what to run on each of two servers."""

from __future__ import annotations

from typing import Any

import pytest

import pgnotify

pytest.importorskip("typer")


def run(*arguments: str) -> Any:
    """Run the command; return what typer's runner returns."""
    from typer.testing import CliRunner

    from pgnotify.cli.app import app

    return CliRunner().invoke(app, ["outbox", "replicate", *arguments])


def test_it_prints_both_parts():
    outbox = pgnotify.Outbox()

    said = run("--sql").stdout

    first, second = said.split("-- On the second server")
    assert outbox.publication_sql() in first
    assert outbox.install_sql() in second
    assert outbox.subscription_sql("host=FIRST dbname=DATABASE user=ROLE") in second


def test_it_prints_one_part_to_be_piped_to_psql():
    outbox = pgnotify.Outbox('a "b"', "it's")
    names = ("--name", 'a "b"', "--schema", "it's")

    assert run("--sql", "--on", "first", *names).stdout == outbox.publication_sql()
    assert run("--sql", "--on", "second", *names, "--source", "host='x'", "--subscription", "east").stdout == (
        outbox.install_sql() + outbox.subscription_sql("host='x'", "east")
    )


def test_it_does_nothing_but_print():
    done = run()

    assert done.exit_code == 2
    assert "add --sql" in done.output
