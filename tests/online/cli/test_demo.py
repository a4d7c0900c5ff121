"""`pgnotify demo` as a process."""

from __future__ import annotations

import pytest

from tests.helpers.command_line import run

pytest.importorskip("typer")


def test_it_shows_what_arrives_through_the_named_driver(address):
    done = run("demo", "--dsn", address.dsn, "--driver", "psycopg")

    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == """listening to 'pgnotify "demo"', through psycopg"""
    assert lines[-1] == "the stop has ended the handler; everything arrived, in order"


def test_a_driver_that_there_is_not_is_told_before_a_server_is_started():
    done = run("demo", "--driver", "typo")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("pgnotify: there is no driver 'typo' to connect with; the drivers are psycopg, ")
