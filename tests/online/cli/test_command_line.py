"""What holds for all commands."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pgnotify
from tests.helpers.command_line import COMMAND, environment, run

pytest.importorskip("typer")
pytest.importorskip("rich")

UNREACHABLE = "postgresql://ann:hu%20sh@127.0.0.1:1/x"


def test_it_shows_its_version():
    assert run("--version") == (0, f"pgnotify {pgnotify.__version__}\n", "")


@pytest.mark.parametrize("group", [[], ["outbox"]])
def test_without_a_command_it_shows_its_help(group):
    assert run(*group) == run(*group, "--help")
    assert run(*group).code == 0


def test_help_and_a_wrong_option_do_without_rich():
    loads = "import sys; from pgnotify.__main__ import main\ntry: main()\nfinally: print('rich' in sys.modules)"
    for argument in ("--help", "--wrong"):
        done = subprocess.run([sys.executable, "-c", loads, argument], capture_output=True, text=True)
        assert done.stdout.endswith("False\n"), done


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--wrong"], "No such option: --wrong"),
        (["outbox", "stat"], "No such command 'stat'. Did you mean 'status'? (see pgnotify outbox --help)"),
        (["outbox", "prune", "--max-rows", "x"], "see pgnotify outbox prune --help"),
    ],
)
def test_a_wrong_use_is_one_line_and_exit_code_2(arguments, says):
    code, out, err = run(*arguments)

    assert (code, out) == (2, "")
    assert err.startswith("pgnotify: ")
    assert err.count("\n") == 1
    assert says in err


@pytest.mark.parametrize("where", ["option", "environment"])
def test_a_refused_connection_is_one_line_without_the_password(where):
    done = (
        run("outbox", "status", "--dsn", UNREACHABLE)
        if where == "option"
        else run("outbox", "status", PGNOTIFY_DSN=UNREACHABLE)
    )

    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("pgnotify: ")
    assert done.err.count("\n") == 1
    assert "refused" in done.err
    assert "hu" not in done.err.replace("that host", "")


def test_a_uri_that_names_a_driver_may_be_the_last_argument():
    done = run("listen", "orders", "postgresql+oracle://ann:hu%20sh@127.0.0.1:1/x")

    assert (done.code, done.out) == (2, "")
    assert "there is no driver 'oracle'" in done.err
    assert "postgresql:// in place of postgresql+oracle://" in done.err


@pytest.mark.parametrize("arguments", [["--debug", "outbox", "status"], ["outbox", "status", "--debug"]])
def test_debug_shows_the_traceback(arguments):
    done = run(*arguments, "--dsn", "host=127.0.0.1 port=1")

    assert done.code == 1
    assert "Traceback" in done.err


def test_a_closed_pipe_ends_it_quietly():
    """The statements are longer than a pipe's buffer, and nobody reads them."""
    command = [*COMMAND, "outbox", "sql", "--name", "n", *(x for n in range(3000) for x in ("--sender", f"role{n}"))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
        assert process.stderr.read() == ""


def with_redirections(redirections, *arguments):
    """Run a command through a shell, which closes some of its streams."""
    shell = ["sh", "-c", f'exec "$@" {redirections}', "sh"]
    done = subprocess.run([*shell, *COMMAND, *arguments], capture_output=True, text=True, env=environment())
    return done.returncode, done.stdout, done.stderr


def test_without_standard_output_it_does_its_work():
    assert with_redirections(">&-", "--version") == (0, "", "")


def test_without_standard_error_an_error_does_not_get_into_the_output():
    assert with_redirections("2>&-", "--wrong") == (2, "", "")


def test_a_connection_does_not_get_the_number_of_a_closed_stream():
    script = "import os; from pgnotify.cli import streams; streams.prepare(); assert os.dup(0) > 2"
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script])

    assert done.returncode == 0


def test_characters_that_standard_output_lacks_are_escaped():
    code, out, err = run("listen", "--help", PYTHONIOENCODING="cp437")

    assert (code, err) == (0, "")
    assert "PG\\u2026" in out


@pytest.mark.parametrize("command", [["outbox", "sql", "--schema", "日本"], ["trigger", "日本", "--channel", "c"]])
def test_statements_are_not_printed_with_escapes_in_them(command):
    code, out, err = run(*command, PYTHONIOENCODING="latin-1")

    assert (code, out) == (2, "")
    assert err.startswith("pgnotify: 'latin-1' codec can't encode")


def test_without_the_extra_it_says_what_to_install():
    hidden = "import sys; sys.modules['typer'] = None; from pgnotify.__main__ import main; main()"

    done = subprocess.run([sys.executable, "-c", hidden, "demo"], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'pgnotify: the command line is not installed: pip install "pgnotify-handler[cli]"\n'
