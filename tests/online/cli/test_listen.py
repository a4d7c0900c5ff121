"""`pgnotify listen`: a line for each notification, and how it ends."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import pty
import re
import shlex
import signal
import socket
import sys
import termios
import uuid
from contextlib import contextmanager

import pytest

from pgnotify.notification import Notification
from pgnotify.testing.postgresql import TemporaryPostgreSQL
from tests.helpers.command_line import COMMAND, run, run_here, start
from tests.helpers.waiting import PATIENCE, eventually

pytest.importorskip("typer")

UNREACHABLE = "postgresql://ann:hush@127.0.0.1:1/x"


@pytest.fixture
def channel():
    return f"jobs {uuid.uuid4().hex[:12]}"


@contextmanager
def listening(dsn, *arguments, **options):
    """Start `pgnotify listen`, and wait until it says so; kill it at the end if need be."""
    process = start("listen", *arguments, PGNOTIFY_DSN=dsn, **options)
    with process:
        try:
            process.said = "" if "--quiet" in arguments else process.stderr.readline()
            yield process
        finally:
            process.kill()


def finish(process, number=None):
    """Return the exit code and the rest of both outputs, after a signal if one is given."""
    if number is not None:
        process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def ended(process, number):
    return finish(process, number)[0]


def test_it_prints_a_line_for_each_notification_at_once(address, session, channel):
    with listening(address.dsn, channel, 'b"c', "--count", "3") as process:
        session.notify(channel, "one\ntwo \x1b[31m 日")
        assert process.stdout.readline() == f"{channel}\tone\\ntwo \\x1b[31m 日\n"  # it is not held back
        session.notify('b"c', "")
        session.notify(channel, "last")

        assert finish(process) == (0, f'b"c\t\n{channel}\tlast\n', "")
        assert process.said.startswith("pgnotify: listening to 2 channels")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_exit_code_0_and_without_a_word(address, channel, number):
    with listening(address.dsn, channel) as process:
        assert finish(process, number) == (0, "", "")


@pytest.fixture
def hang_up():
    """A function that sets how a command that is started then takes the end of its terminal."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


def test_the_end_of_its_terminal_ends_it(address, channel, hang_up):
    hang_up(signal.SIG_DFL)
    with listening(address.dsn, channel) as process:
        assert finish(process, signal.SIGHUP) == (0, "", "")


def test_the_end_of_its_terminal_does_not_end_it_under_nohup(address, session, channel, hang_up):
    hang_up(signal.SIG_IGN)
    with listening(address.dsn, channel, "--count", "1") as process:
        process.send_signal(signal.SIGHUP)
        session.notify(channel, "x")
        assert finish(process) == (0, f"{channel}\tx\n", "")


def test_the_connection_string_may_be_an_argument_and_comes_before_the_environment(address, session, channel):
    with listening(UNREACHABLE, channel, address.dsn, "--count", "1", "--quiet", "--json") as process:
        process.stdout.readline()  # it listens
        session.notify(channel, "x")
        code, out, err = finish(process)

    assert (code, json.loads(out)["payload"], err) == (0, "x", "")


def test_json_through_a_restart_of_the_server(channel):
    with TemporaryPostgreSQL() as server, listening(server.dsn, channel, "--json", "--count", "2") as process:
        send = f"SELECT pg_catalog.pg_notify('{channel}', 'it''s ' || n) FROM pg_catalog.generate_series(1, 1) n"
        server.sql(send)
        before = [json.loads(process.stdout.readline()) for _ in range(2)]
        server.restart()
        gap = json.loads(process.stdout.readline())
        server.sql(send)
        code, out, err = finish(process)

    assert [each["type"] for each in before] == ["listening", "notification"]
    assert (gap["type"], gap["reason"], gap["channels"]) == ("gap", "connection lost", [channel])
    assert gap["lost_at"] < before[1]["time"] < gap["restored_at"] <= gap["time"]  # no heartbeat was after that
    assert (code, json.loads(out)["payload"]) == (0, "it's 1")
    assert "connection lost" in err
    assert "listening again" in err


def test_it_can_be_ended_while_it_reconnects(proxy, address, channel):
    with listening(address._replace(host=proxy.host, port=proxy.port).dsn, channel) as process:
        proxy.refuse()
        proxy.reset()
        assert "connection lost" in process.stderr.readline()
        assert "attempt 1" in process.stderr.readline()

        assert ended(process, signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_ended_while_it_connects(channel, number):
    """The server never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"host=127.0.0.1 port={silent.getsockname()[1]} user=u connect_timeout=60"
        with start("listen", channel, "--dsn", dsn) as process:
            try:
                connection, _ = silent.accept()
                with connection:
                    assert finish(process, number) == (0, "", "")
            finally:
                process.kill()


def test_a_reader_that_has_left_ends_it_also_if_nothing_arrives(address, channel):
    with listening(address.dsn, channel) as process:
        process.stdout.close()

        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == ""


def test_a_signal_ends_it_while_its_reader_does_not_read(address, session, channel):
    """The pipe is full, and has whole lines only."""
    with listening(address.dsn, channel) as process:
        for n in range(30):
            session.notify(channel, f"{n} {'x' * 3990}")
        eventually(lambda: size_of(process.stdout) > 60_000, "the pipe is full")

        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        lines = process.stdout.readlines()
    assert 10 < len(lines) < 30
    assert [line.partition("\t")[2] for line in lines] == [f"{n} {'x' * 3990}\n" for n in range(len(lines))]


def test_a_full_pipe_may_be_non_blocking(address, session, channel):
    """As a program makes it that shares the pipe."""
    ours, pipe = os.pipe()
    os.set_blocking(pipe, False)
    with open(ours) as reader, listening(address.dsn, channel, "--count", "30", stdout=pipe) as process:
        os.close(pipe)
        session.notify_all(channel, [f"{n} {'x' * 3990}" for n in range(30)])
        eventually(lambda: size_of(reader) > 60_000, "the pipe is full")

        assert [int(line.split()[-2]) for line in reader] == list(range(30))
        assert finish(process) == (0, None, "")


def size_of(pipe):
    """Return how many bytes are in a pipe."""
    return int.from_bytes(fcntl.ioctl(pipe.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.parametrize(
    ("options", "code"), [((), 0), (("--count", "2"), 1)], ids=["as it was asked to", "before --count"]
)
def test_a_timeout_ends_it(address, session, channel, options, code):
    with listening(address.dsn, channel, "--timeout", "0.5", *options) as process:
        session.notify(channel, "x")
        done = finish(process)

    assert done[:2] == (code, f"{channel}\tx\n")
    assert done[2] == ("pgnotify: 1 of 2 notifications arrived, and no more for 0.5 s\n" if code else "")


PRINT = "import os, sys; print([*map(os.environ.get, ('PGNOTIFY_CHANNEL', 'PGNOTIFY_TIME'))], sys.stdin.read())"


def test_exec_gets_the_payload_and_the_names_and_standard_output(address, session, channel):
    with listening(address.dsn, channel, "--count", "1", "--exec", f'"{sys.executable}" -c "{PRINT}"') as process:
        session.notify(channel, "$(touch x); 'y'\nz")
        code, out, err = finish(process)

    assert (code, err) == (0, f"{channel}\t$(touch x); 'y'\\nz\n")
    assert out.startswith(f"['{channel}', '20")
    assert out.endswith("] $(touch x); 'y'\nz\n")


def test_exec_that_fails_is_reported_and_does_not_end_it(address, session, channel):
    with listening(address.dsn, channel, "--count", "2", "--json", "--exec", "sh -c 'echo out; exit 3'") as process:
        for _ in range(2):
            session.notify(channel, "x" * 7999)  # which it does not read
        code, out, err = finish(process)

    assert code == 1
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["listening", "notification", "notification"]
    assert err == f"out\npgnotify: sh has ended with exit code 3 (channel {channel!r})\n" * 2


def test_dropped_notifications_are_reported_in_their_place(capfd):
    """They arrive while a reader is slow."""
    from pgnotify.cli.lines import plain
    from pgnotify.cli.listen.arrivals import BYTES_BESIDE_PAYLOAD, Arrivals
    from pgnotify.cli.listen.printer import Printer
    from pgnotify.cli.messages import Messages
    from pgnotify.cli.output import Output

    arrivals = Arrivals(most_bytes=2 * BYTES_BESIDE_PAYLOAD)
    for payload in "123":
        arrivals.receive(Notification("jobs", payload, 7))
    printer = Printer(Output(), plain(timestamps=False, colours=False), None, Messages(logging.ERROR))

    assert printer.print_all(arrivals, 0.001, None) == 0
    assert capfd.readouterr() == (
        "jobs\t1\n",
        "pgnotify: 2 notifications were dropped: the reader of standard output is too slow\n",
    )


FINISHES = "import sys; print(sys.stdin.read(), flush=True); open(sys.argv[1]).read(); print('finished')"
HANGS = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "print('ignores them', flush=True); signal.pause()"
)


def test_a_signal_lets_the_command_finish(address, session, channel, tmp_path):
    os.mkfifo(tmp_path / "go on")
    command = shlex.join([sys.executable, "-c", FINISHES, str(tmp_path / "go on")])
    with listening(address.dsn, channel, "--exec", command) as process:
        session.notify(channel, "started")
        assert process.stdout.readline() == "started\n"
        process.stderr.readline()  # the notification
        process.send_signal(signal.SIGTERM)
        assert "has 5 s to finish" in process.stderr.readline()
        with open(tmp_path / "go on", "w"):
            pass

        assert finish(process)[:2] == (0, "finished\n")


@pytest.mark.parametrize("patience", [0.01, 1000], ids=["after a while", "at a further signal"])
def test_a_command_that_hangs_is_killed(address, session, channel, patience):
    impatient = (
        "import pgnotify.cli.listen.execute as it, pgnotify.__main__ as main; "
        f"it.SECONDS_TO_FINISH = it.SECONDS_TO_END = {patience}; main.main()"
    )
    command = shlex.join([sys.executable, "-c", HANGS])
    with listening(address.dsn, channel, "--exec", command, program=(sys.executable, "-c", impatient)) as process:
        session.notify(channel, "")
        assert process.stdout.readline() == "ignores them\n"
        process.send_signal(signal.SIGINT)
        if patience > 1:
            eventually(lambda: process.send_signal(signal.SIGTERM) or process.poll() is not None, "it has ended")

        assert finish(process)[:2] == (0, "")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["jobs", "--exec", "no-such-program -x"], "there is no program 'no-such-program' in PATH"),
        (["jobs", "--exec", "'"], "No closing quotation"),
        (["jobs", "--timeout", "nan"], "--timeout must be positive and finite, not nan"),
        (["jobs", "--driver", "nope"], "there is no driver 'nope'"),
        (["j" * 64], "has 64 bytes, PostgreSQL keeps 63"),
        (["jobs", "--dsn", "postgresql://h:port/"], "port"),
        (["jobs", "--embedded", "--dsn", "host=h"], "--embedded starts a server of its own"),
        (["postgresql://h/x"], "name a channel"),
    ],
)
def test_what_cannot_begin_is_one_line(capfd, arguments, says):
    done = run_here(capfd, "listen", *arguments)

    assert (done.code, done.out) == (2, "")
    assert (done.err[:10], done.err.count("\n")) == ("pgnotify: ", 1)
    assert says in done.err


def test_no_server_is_one_line():
    done = run("listen", "jobs", UNREACHABLE)

    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert "refused" in done.err
    assert "hush" not in done.err


def test_without_a_driver_it_says_what_to_install():
    hidden = "import sys; from pgnotify.registry import DRIVERS; sys.modules.update(dict.fromkeys(DRIVERS)); "
    start_it = "from pgnotify.__main__ import main; sys.modules.update(pg=None, pgdb=None); main()"
    with start("listen", "jobs", program=(sys.executable, "-c", hidden + start_it)) as process:
        code, out, err = finish(process)

    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "pip install" in err


def test_embedded_starts_a_server_and_says_how_to_reach_it(channel):
    with listening("", channel, "--embedded", "--json", "--count", "1") as process:
        process.stdout.readline()  # it listens
        dsn = shlex.split(process.said)[-1]
        assert "password" not in dsn
        sent = run("notify", channel, "x", dsn)
        code, out, _ = finish(process)

    assert (sent.code, code, json.loads(out)["payload"]) == (0, 0, "x")


def test_it_listens_on_if_nobody_reads_standard_error(address, session, channel):
    """Its log goes there, in the thread that reads."""
    with listening(address.dsn, channel, "--json", "--count", "1") as process:
        process.stdout.readline()  # it listens
        process.stderr.close()
        session.terminate(int(re.search(r"server process (\d+)", process.said)[1]))
        assert json.loads(process.stdout.readline())["type"] == "gap"
        session.notify(channel, "x")

        assert json.loads(process.stdout.readline())["payload"] == "x"
        assert process.wait(PATIENCE) == 0


def test_a_wrong_password_is_one_line(address):
    done = run("listen", "jobs", PGNOTIFY_DSN=address._replace(password="wrong-word").dsn)

    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "password authentication failed" in done.err
    assert "wrong-word" not in done.err


@pytest.mark.parametrize("variables", [{}, {"NO_COLOR": "1"}], ids=["colours", "NO_COLOR"])
def test_on_a_terminal_it_has_colours(address, session, channel, variables):
    ours, terminal = pty.openpty()
    with listening(address.dsn, channel, "--count", "1", stdout=terminal, TERM="xterm", **variables) as process:
        session.notify(channel, "x")
        assert process.wait(PATIENCE) == 0
    seen = os.read(ours, 4096).decode()
    os.close(terminal)
    os.close(ours)

    assert seen == (f"{channel}\tx\r\n" if variables else f"\x1b[36m{channel}\x1b[0m\tx\r\n")


def test_with_exec_the_lines_are_plain_unless_standard_error_is_a_terminal(address, session, channel):
    ours, terminal = pty.openpty()
    options = ("--exec", "true", "--count", "1")
    with listening(address.dsn, channel, *options, stdout=terminal, TERM="xterm") as process:
        session.notify(channel, "x")
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == f"{channel}\tx\n"
    os.close(terminal)
    os.close(ours)


def test_with_exec_standard_output_may_be_closed(address, session, channel):
    program = ("sh", "-c", 'exec "$@" >&-', "sh", *COMMAND)
    with listening(address.dsn, channel, "--exec", "cat", "--count", "1", program=program) as process:
        session.notify(channel, "x")
        assert finish(process) == (0, "", f"{channel}\tx\n")
