"""`pgnotify top`: on a terminal and without one, and how it ends."""

from __future__ import annotations

import os
import pty
import re
import signal
import termios
import uuid
from functools import partial

import pytest

from pgnotify.waiting import wait_readable
from tests.helpers.command_line import run, start
from tests.helpers.waiting import PATIENCE

pytest.importorskip("typer")
pytest.importorskip("rich")


@pytest.fixture
def channel():
    return f"jobs {uuid.uuid4().hex[:12]}"


def read_until(read, pattern):
    """Return what is read, up to a match of a pattern."""
    seen = ""
    while re.search(pattern, seen) is None:
        more = read()
        assert more, f"{pattern!r} does not come after {seen!r}"
        seen += more
    return seen


def read_some(terminal):
    """Return what is there; nothing if nothing comes."""
    return os.read(terminal, 65536).decode(errors="replace") if wait_readable(terminal, PATIENCE) else ""


def test_once_prints_the_channels_the_queue_and_who_listens(address, session, channel):
    session.listen("any \x9b channel")

    done = run("top", channel, 'b"c', "--once", "--interval", "0.2", PGNOTIFY_DSN=address.dsn, COLUMNS="150")

    assert (done.code, done.err) == (0, "")
    state, _, titles, first, second, *rest = done.out.splitlines()
    assert re.match(r"listening for \d+ s · server process \d+ · answers in .* ms · queue 0\.0% full · gaps 0", state)
    assert titles.split() == ["channel", "total", "per", "second", "mean", "size", "largest", "latest", "gaps"]
    assert first.split() == [*channel.split(), "0", "0.0", "0", "B", "0", "B", "-", "0"]
    assert second.startswith('b"c ')
    assert re.search(rf'^{session.pid} +postgres .*LISTEN "any \\x9b channel"', "\n".join(rest), re.MULTILINE)
    own = re.search(r"process (\d+)", state)[1]
    assert not any(line.startswith(own) for line in rest)


def test_without_a_terminal_it_prints_tables_until_a_signal(address, session, channel):
    with start("top", channel, "--interval", "0.1", PGNOTIFY_DSN=address.dsn, COLUMNS="150") as process:
        read_until(process.stdout.readline, re.escape(channel))
        session.notify(channel, "x" * 1234)
        read_until(process.stdout.readline, rf"{channel} +1 .* 1\.2 kB +1\.2 kB .* 0\n")
        query = "SELECT pid FROM pg_catalog.pg_stat_activity WHERE query LIKE '%pg_listening_channels%' AND pid <> "
        for (pid,) in session.sql(f"{query}{session.pid} AND application_name LIKE 'pgnotify: pgnotify {process.pid}'"):
            session.terminate(int(pid))
        read_until(process.stdout.readline, rf"{channel} +1 .* 1\nlatest gap: connection lost, ")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert "connection lost" in err


def test_a_reader_that_has_left_ends_it_quietly(address, channel):
    with start("top", channel, "--interval", "1000", PGNOTIFY_DSN=address.dsn) as process:
        process.stdout.close()

        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("key", [b"q", b"\x03"], ids=["q", "Ctrl-C"])
def test_on_a_terminal_it_is_live_until_a_key(address, session, channel, key):
    ours, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    options = {"stdin": terminal, "stdout": terminal, "PGNOTIFY_DSN": address.dsn, "TERM": "xterm", "COLUMNS": "150"}
    try:
        with start("top", channel, "--interval", "0.1", **options) as process:
            read_until(partial(read_some, ours), re.escape(channel))
            session.notify(channel, "x")
            assert "\x1b[" in read_until(partial(read_some, ours), rf"{channel} +1 ")  # it moves the cursor
            if key == b"q":
                os.write(ours, key)
            else:
                process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
            assert process.stderr.read() == ""
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(terminal)
        os.close(ours)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["jobs", "--interval", "0"], 2, "--interval must be positive and finite, not 0.0"),
        (["jobs", "postgresql://ann:hush@127.0.0.1:1/x"], 1, "refused"),
    ],
)
def test_what_cannot_be_shown_is_one_line(arguments, code, says):
    done = run("top", *arguments)

    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert says in done.err
    assert "hush" not in done.err
