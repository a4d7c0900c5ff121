"""`pgnotify notify`: one notification, or one for each line of standard input."""

from __future__ import annotations

import os
import pty
import subprocess
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.command_line import COMMAND, environment, run, run_here, start
from tests.helpers.waiting import PATIENCE, eventually

pytest.importorskip("typer")
pytest.importorskip("rich")

TOO_LONG = "x" * 8000


@pytest.fixture
def channel():
    return f'jobs "{uuid.uuid4().hex[:12]}'


@pytest.fixture
def arrived(session, channel):
    """A function that returns the payloads that have arrived by now, on the channel and its stop channel."""
    session.listen(channel, f"stop_{channel}")
    seen: list[tuple[str, str]] = []

    def payloads():
        seen.extend(session.received())
        return [payload if where == channel else f"stop: {payload}" for where, payload in seen]

    return payloads


@pytest.mark.parametrize(
    ("arguments", "payload"),
    [([], ""), (["it's; $1 日"], "it's; $1 日"), (["--stop", "now"], "stop: now"), (["--driver", "psycopg", "x"], "x")],
)
def test_it_sends_one(address, channel, arrived, arguments, payload):
    assert run("notify", channel, *arguments, PGNOTIFY_DSN=address.dsn) == (0, "", "")
    assert arrived() == [payload]


def test_the_connection_string_may_be_an_argument(address, channel, arrived):
    assert run("notify", channel, "x", address.dsn) == (0, "", "")
    assert arrived() == ["x"]


def test_each_line_of_a_file_is_one(address, channel, arrived, tmp_path):
    """Equal lines, too, which PostgreSQL sends once in each transaction."""
    lines = [*map(str, range(2500)), "", "same", "same", "", "ends with \r\r"]
    (tmp_path / "lines").write_bytes("\n".join(lines[:3] + [f"{line}\r" for line in lines[3:]]).encode())

    with open(tmp_path / "lines") as file:
        done = subprocess.run(
            [*COMMAND, "notify", channel, "-"],
            stdin=file,
            capture_output=True,
            env=environment(PGNOTIFY_DSN=address.dsn),
            timeout=PATIENCE,
        )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert arrived() == lines


def test_lines_are_sent_without_standard_error(address, channel, arrived):
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", *COMMAND, "notify", channel, "-"]
    done = subprocess.run(command, input=b"one", env=environment(PGNOTIFY_DSN=address.dsn), timeout=PATIENCE)

    assert done.returncode == 0
    assert arrived() == ["one"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (TOO_LONG.encode(), "line 3: payload 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxx…' has 8000 bytes, PostgreSQL takes 7999"),
        (b"a\0b", "line 3: payload 'a\\x00b' has a NUL, which PostgreSQL cannot store"),
        (b"ab\xff", "line 3 is not UTF-8: invalid start byte at byte 3"),
    ],
    ids=["too long", "NUL", "not UTF-8"],
)
@pytest.mark.parametrize("is_file", [True, False], ids=["file", "pipe"])
def test_a_bad_line_is_named_and_a_file_is_looked_at_first(address, channel, arrived, tmp_path, is_file, line, says):
    (tmp_path / "lines").write_bytes(b"1\n2\n%s\n4\n" % line)
    arguments = [*COMMAND, "notify", channel, "-"]
    with open(tmp_path / "lines") as file:
        given = {"stdin": file} if is_file else {"input": file.buffer.read()}
        done = subprocess.run(arguments, **given, capture_output=True, env=environment(PGNOTIFY_DSN=address.dsn))

    assert (done.returncode, arrived()) == ((2, []) if is_file else (1, ["1", "2"]))
    assert done.stderr.decode() == f"pgnotify: {says}{'' if is_file else '; 2 notifications were sent'}\n"


def test_a_line_is_sent_when_it_comes(address, channel, arrived):
    with start("notify", channel, "-", stdin=subprocess.PIPE, PGNOTIFY_DSN=address.dsn) as process:
        process.stdin.write("one\ntwo\nthr")
        process.stdin.flush()
        eventually(lambda: arrived() == ["one", "two"], "the lines have arrived")
        process.stdin.write("ee")
        out, err = process.communicate(timeout=PATIENCE)

    assert (process.returncode, out, err) == (0, "", "")
    assert arrived() == ["one", "two", "three"]


def test_a_line_without_an_end_is_refused_at_once(address, channel):
    with start("notify", channel, "-", stdin=subprocess.PIPE, PGNOTIFY_DSN=address.dsn) as process:
        process.stdin.write("x" * 70_000)
        process.stdin.flush()

        assert process.wait(PATIENCE) == 1
        assert "line 1: payload" in process.stderr.read()


def test_a_lost_connection_says_how_many_were_sent(address, session, channel, arrived):
    with start("notify", channel, "-", stdin=subprocess.PIPE, PGNOTIFY_DSN=address.dsn) as process:
        process.stdin.write("one\n")
        process.stdin.flush()
        eventually(lambda: arrived() == ["one"], "the line has arrived")
        query = f"SELECT pid FROM pg_catalog.pg_stat_activity WHERE query LIKE '%pg_notify%' AND pid <> {session.pid}"
        for (pid,) in session.sql(query):
            session.terminate(int(pid))
        _, err = process.communicate("two\nthree\n", timeout=PATIENCE)

    assert process.returncode == 1
    assert err.startswith("pgnotify: the connection to the server is lost")
    assert err.endswith("; 1 notification was sent, and perhaps the next 2\n")
    assert err.count("\n") == 1


def test_on_a_terminal_it_shows_the_progress(address, channel, arrived):
    ours, terminal = pty.openpty()
    try:
        subprocess.run(
            [*COMMAND, "notify", channel, "-"],
            input=b"one\ntwo\n",
            stderr=terminal,
            env=environment(PGNOTIFY_DSN=address.dsn, TERM="xterm"),
            check=True,
        )
        seen = os.read(ours, 65536).decode()
    finally:
        os.close(terminal)
        os.close(ours)

    assert "2/?" in seen
    assert arrived() == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["jobs", TOO_LONG], "has 8000 bytes, PostgreSQL takes 7999"),
        (["j" * 64], "has 64 bytes, PostgreSQL keeps 63"),
        (["--stop", "j" * 59], "has 64 bytes, PostgreSQL keeps 63"),
        (["jobs", "two", "words"], "'words' is not a connection string; quote a payload that has spaces"),
        (["jobs", "x", "--driver", "nope"], "there is no driver 'nope'"),
    ],
)
def test_what_cannot_be_sent_is_one_line(capfd, arguments, says):
    done = run_here(capfd, "notify", *arguments)

    assert (done.code, done.out) == (2, "")
    assert (done.err[:10], done.err.count("\n")) == ("pgnotify: ", 1)
    assert says in done.err


def test_no_server_is_one_line():
    done = run("notify", "jobs", "x", "postgresql://ann:hush@127.0.0.1:1/x")

    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "refused" in done.err
    assert "hush" not in done.err


@given(st.lists(st.sampled_from("abc")))
def test_no_batch_has_a_payload_twice(payloads):
    from pgnotify.cli.notify.sending import batches

    parts = list(batches(payloads))

    assert [payload for part in parts for payload in part] == payloads
    assert all(len(set(part)) == len(part) > 0 for part in parts)
