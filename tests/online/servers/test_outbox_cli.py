"""`pgnotify outbox …`, on a real server."""

from __future__ import annotations

import re

import pytest

import pgnotify
from pgnotify import Outbox
from pgnotify.outbox.schema import VERSION
from pgnotify.registry import DRIVERS
from tests.helpers.outboxes import make_older, new_outbox, stored, tables_of

pytest.importorskip("typer")
pytestmark = pytest.mark.drivers(*DRIVERS)


class Result:
    """How a command ended, and the text that it printed."""

    def __init__(self, result) -> None:
        self.code = result.exit_code
        self.text = result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception


@pytest.fixture
def outbox(session):
    """An outbox that is not installed, and is removed at the end."""
    made = new_outbox()
    yield made
    session.sql(made.uninstall_sql())


@pytest.fixture
def run(address, outbox):
    """A function that runs a command on the outbox."""
    from typer.testing import CliRunner

    from pgnotify.cli.app import app

    def run_it(command, *options, dsn=address.dsn, **kwargs):
        arguments = ["outbox", command, "--name", outbox.name, *options]
        return Result(CliRunner().invoke(app, arguments, env={"PGNOTIFY_DSN": dsn, "COLUMNS": "200"}, **kwargs))

    return run_it


@pytest.fixture
def db(address):
    """A connection in autocommit mode."""
    with pgnotify.connect(address.dsn) as connection:
        yield connection


def subscribe(session, outbox, name="billing"):
    tables = tables_of(outbox)
    session.sql(
        f"INSERT INTO {tables.subscriptions} (name, channels, seen, home) "
        f"SELECT '{name}', '{{orders}}', '1:1:', said FROM {tables.home} WHERE part = 1"
    )


def test_it_installs_and_gives_rights(run, session, outbox, db):
    for _ in range(2):
        result = run("install", "--sender", "postgres", "--reader", "postgres")
        assert (result.code, result.text) == (
            0,
            f"the outbox public.{outbox.name} is installed, version {VERSION}\n",
        )

    outbox.notify(db, "orders", "1")
    assert stored(session, outbox) == ["1"]


def test_it_prints_statements_that_a_migration_runs(run, session, outbox, db):
    for options in ((), ("--uninstall",), ("--sender", "postgres", "--schema", "public")):
        result = run("sql", *options)
        assert result.code == 0
        session.sql(result.text)

    outbox.notify(db, "orders", "1")
    assert run("sql", "--upgrade-from", str(VERSION)).text == ""


def test_it_shows_how_an_outbox_stands(run, session, outbox, db):
    outbox.install(db)
    outbox.notify_many(db, [("orders", "1"), ("orders", "2"), ("other", "3")])
    subscribe(session, outbox)

    result = run("status")

    assert result.code == 0
    assert re.search(r"messages +│ 3 ", result.text)
    assert re.search(r"billing +│ orders +│ 2 +│ .* ago +│ 0 +│ away", result.text)


def test_it_prunes_in_several_transactions(run, session, outbox, db):
    outbox.install(db)
    outbox.notify_many(db, [("orders", str(number)) for number in range(5)])
    make_older(session, outbox, list("0123"), days=2)

    assert run("prune").text == "removed 0 messages older than 7d\n"
    assert run("prune", "--max-age", "36h", "--max-rows", "2").text == "removed 4 messages older than 36h\n"
    assert stored(session, outbox) == ["4"]


def test_it_asks_before_a_rebase_and_says_what_was_moved(run, session, outbox, db):
    outbox.install(db)
    subscribe(session, outbox)
    session.sql(f"UPDATE {tables_of(outbox).home} SET said = 'another' WHERE part = 1")

    status = run("status")
    assert (status.code, "pgnotify outbox rebase" in status.text) == (2, True)
    assert run("rebase", input="n\n").code == 1
    assert run("status").code == 2
    moved = run("rebase", "--yes")
    assert (moved.code, "moved 1 subscriptions" in moved.text) == (0, True)
    assert "moved 0 subscriptions" in run("rebase", input="y\n").text
    assert run("status").code == 0


@pytest.mark.parametrize(
    ("command", "options", "code", "error"),
    [
        ("status", (), 1, "there is no outbox .*: run `pgnotify outbox install`"),
        ("rebase", ("--yes",), 1, "there is no outbox"),
        ("install", ("--sender", "nobody at all"), 1, "nobody at all"),
        ("prune", ("--max-age", "7"), 2, "--max-age must be a number and d, h, m or s"),
        ("sql", ("--upgrade-from", "77"), 2, "version 77 of the outbox is not known"),
        ("status", ("--schema", "x" * 64), 2, "has 64 bytes"),
    ],
)
def test_an_error_is_one_line(run, outbox, command, options, code, error):
    result = run(command, *options)

    assert result.code == code
    assert re.fullmatch(rf"pgnotify: [^\n]*{error}[^\n]*\n", result.text)


@pytest.mark.parametrize(
    ("dsn", "code"),
    [("postgresql://u:gehe1m@127.0.0.1:1/x", 1), ("host=127.0.0.1 port=1 password=gehe1m x", 2)],
    ids=["no server", "unreadable"],
)
def test_no_secret_is_shown(run, dsn, code):
    result = run("status", dsn=dsn)

    assert result.code == code
    assert "gehe1m" not in result.text
    assert Outbox().name not in result.text
