"""`pgnotify check`: the conformance checks of a user's function."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.helpers.command_line import run, start

pytest.importorskip("typer")

ROOT = Path(__file__).parents[3]
ONE = "test_a_listen_is_in_force_on_return"
SOURCE = """
import psycopg
import pgnotify

def connect(to):
    return psycopg.connect(to.dsn)

async def connect_async(to):
    return await psycopg.AsyncConnection.connect(to.dsn)

class Deaf(pgnotify.testing.BackendConformance):
    patience = 0.2

    def connect(self, address):
        return psycopg.connect(address.dsn)

    def make_backend(self, connection):
        backend = super().make_backend(connection)
        backend.listen = lambda channel: None
        return backend

class Nested:
    fails = staticmethod(lambda: 1 / 0)

def paints():
    raise RuntimeError("\\x1b[31m")

calls = []

def leaves(to):
    calls.append(to)
    if len(calls) > 2:
        raise SystemExit(0)
    return connect(to)
"""


@pytest.fixture
def check(tmp_path, address):
    """A function that runs the command in a directory that has a module `mine`."""
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("import nosuchmodule")
    return lambda *arguments: run("check", *arguments, cwd=tmp_path, PGNOTIFY_TEST_DSN=address.dsn)


@pytest.mark.parametrize("function", ["connect", "connect_async"])
def test_it_names_each_check_as_pytest_does(check, function):
    done = check(f"mine:{function}", "--only", "in_force_on_return$")

    title, *lines, counts = done.out.splitlines()
    assert title.startswith("psycopg.")
    assert f"  ok       {ONE}" in lines
    assert counts.startswith(f"{len(lines)} ok, 0 FAILED, 0 skipped, in ")
    assert (done.code, done.err) == (0, "")


def test_a_failed_check_is_named_and_the_exit_code_is_1(check):
    done = check("mine:Deaf", "--only", f"^{ONE}$")

    assert done.code == 1
    assert f"  FAILED   {ONE}: " in done.out
    assert f"\nFAILED: {ONE}\n0 ok, 1 FAILED, " in done.out
    assert done.err == ""


def test_a_feature_that_the_driver_lacks_is_skipped(check):
    done = check("mine:connect", "--only", "^test_in_a_latin1_database_names", "--cannot", "encodings=it is small")

    assert "encodings: it is small\n0 ok, 0 FAILED, 1 skipped" in done.out
    assert done.code == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mine"], "the function to check must be given as MODULE:FUNCTION, not 'mine'"),
        (["nosuchmodule:f"], "nosuchmodule cannot be imported: ModuleNotFoundError: No module named 'nosuchmodule'"),
        (["broken:f"], "broken cannot be imported: ModuleNotFoundError: No module named 'nosuchmodule'"),
        (["mine:nothing"], "mine has no function 'nothing'"),
        (["mine:Nested.fails"], "mine:Nested.fails: ZeroDivisionError: division by zero"),
        (["mine:paints"], r"mine:paints: RuntimeError: \x1b[31m"),
        (["mine:connect", "--only", "("], "mine:connect: ValueError: only must be a regular expression, not '('"),
        (["mine:connect", "--only", "typo"], "and 'typo' matches none"),
        (["mine:connect", "--cannot", "network"], "--cannot must be FEATURE=REASON, not 'network'"),
        (["mine:connect", "--cannot", "netwrok=x"], "unknown in `cannot`: netwrok"),
    ],
)
def test_if_nothing_can_be_checked_it_says_why_in_one_line(check, arguments, says):
    done = check(*arguments)

    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert done.err.count("\n") == 1


def test_a_function_that_exits_does_not_pass(check):
    done = check("mine:leaves")

    assert done.code == 1
    assert done.err == "pgnotify: mine:leaves has ended the checks: SystemExit: 0\n"


def test_ctrl_c_ends_it(tmp_path, address):
    (tmp_path / "mine.py").write_text(SOURCE)
    with start("check", "mine:connect", PYTHONPATH=f"{tmp_path}:{ROOT}", PGNOTIFY_TEST_DSN=address.dsn) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, "")


def test_a_closed_pipe_ends_it_quietly(tmp_path, address):
    (tmp_path / "mine.py").write_text(SOURCE)
    with start("check", "mine:connect", PYTHONPATH=f"{tmp_path}:{ROOT}", PGNOTIFY_TEST_DSN=address.dsn) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
