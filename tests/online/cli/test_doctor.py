"""`pgnotify doctor` on a real server, and where there is none. Poolers and standbys are in `tests/online/servers`."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

import pgnotify
from pgnotify.cli.examination import gathering
from pgnotify.cli.findings import FINDINGS, examine
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address
from tests.helpers.command_line import LEFT_OUT, Ended, environment, run, run_here, start
from tests.helpers.network import refused, silent_server, through
from tests.helpers.outboxes import new_outbox
from tests.helpers.waiting import eventually

pytest.importorskip("typer")
pytest.importorskip("rich")

TIMEOUT = 20.0
"""Seconds for an examination that has to end by itself."""


@pytest.fixture
def role(address: Address, session: Session) -> Iterator[Callable[..., Address]]:
    """A function that makes an ordinary role with a database of its own, and returns its address."""
    name = f"doctor_{uuid.uuid4().hex[:12]}"
    session.sql(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    session.sql(f"CREATE DATABASE {name} OWNER {name}")

    def make(*statements: str) -> Address:
        for statement in statements:
            session.sql(statement.format(name))
        return address._replace(database=name, user=name, password=name)

    yield make
    session.sql(f"DROP DATABASE {name} WITH (FORCE)")
    session.sql(f"DROP ROLE {name}")


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """A function that runs the command in this process, which takes a tenth of the time of one of its own."""
    for name in LEFT_OUT:
        monkeypatch.delenv(name, raising=False)

    def run_it(*arguments: str) -> Ended:
        from pgnotify.cli.app import app

        with pytest.raises(SystemExit) as ended:
            app(["doctor", *arguments], prog_name="pgnotify")
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run_it


def report_on(dsn: str, **options: object) -> dict[str, dict[str, object]]:
    """Return the findings on a server, by name."""
    return {found.name: found.as_dict() for found in examine(gathering.gather(dsn, None, TIMEOUT, **options))}


# As a process


def test_all_is_well_on_a_server_that_runs(address):
    code, out, err = run("doctor", address.dsn)

    assert (code, err) == (0, "")
    assert "delivery: 5 of 5 notifications from a second session arrived" in out
    assert [line.split()[1] for line in out.splitlines() if line[:1].strip()] == [f"{each.name}:" for each in FINDINGS]


def test_json_is_one_document_with_a_key_for_each_finding(address, doctor):
    code, out, err = doctor("--json", "--dsn", address.dsn)
    document = json.loads(out)

    assert (code, err) == (0, "")
    assert list(document) == ["pgnotify", "is_connected", "exit_code", "state", "findings"]
    assert document["exit_code"] == 0
    assert [found["name"] for found in document["findings"]] == [each.name for each in FINDINGS]
    assert {tuple(found) for found in document["findings"]} == {("name", "state", "text", "remedy", "facts")}


def test_quiet_prints_nothing_if_notifications_arrive(address, doctor):
    assert doctor("--quiet", address.dsn) == (0, "", "")


@pytest.mark.parametrize("option", [[], ["--quiet"], ["--json"]])
def test_without_a_server_the_exit_code_is_2_and_the_reason_is_printed(option, doctor):
    with refused() as port:
        code, out, err = doctor(f"postgresql://ann:hu%20sh@127.0.0.1:{port}/x", *option)

    printed = err if option == ["--quiet"] else out
    assert code == 2
    assert "refused" in printed
    assert "Start the server, or check host and port." in " ".join(printed.split())
    assert "hu%20sh" not in out + err
    assert err.count("\n") == (1 if option == ["--quiet"] else 0)
    if option == ["--json"]:
        assert json.loads(out)["is_connected"] is False


def test_a_wrong_password_is_told_from_a_wrong_database(address, doctor):
    for wrong, remedy in ({"password": "wrong"}, "PGPASSWORD"), ({"database": "wrong"}, "name of the database"):
        code, out, err = doctor("--quiet", address._replace(**wrong).dsn)

        assert (code, out) == (2, "")
        assert remedy in err


def test_without_a_driver_it_says_what_to_install():
    hides = (
        "import sys, importlib.util as util; from pgnotify.registry import DRIVERS; "
        "sys.modules.update(dict.fromkeys((each.module for each in DRIVERS.values()))); "
        "from pgnotify.__main__ import main; main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", hides, "doctor", "--quiet", "host=127.0.0.1"],
        capture_output=True,
        text=True,
        env=environment(),
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert 'pip install "pgnotify-handler[' in done.stderr


@pytest.mark.parametrize("wrong", ["nonsense", "host=h oops=1", "postgresql://h:port"])
def test_a_string_that_cannot_be_read_ends_with_2(wrong, doctor):
    code, out, err = doctor("--quiet", "--dsn", wrong)

    assert (code, out) == (2, "")
    assert err.startswith("pgnotify: connection: ")


def test_a_server_that_never_answers_is_given_up_in_time():
    began = time.monotonic()
    with silent_server() as port:
        code, out, err = run("doctor", "--quiet", "--timeout", "1", f"postgresql://ann@127.0.0.1:{port}/x")

    assert (code, out) == (2, "")
    assert "no answer within 1 s" in err
    assert time.monotonic() - began < TIMEOUT


def test_ctrl_c_ends_it_while_the_server_is_silent():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(TIMEOUT)
        with start("doctor", f"postgresql://ann@127.0.0.1:{silent.getsockname()[1]}/x") as process:
            client, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=TIMEOUT)
            client.close()

    assert (process.returncode, out, err) == (130, "", "")


def test_on_a_terminal_the_states_have_colours(address):
    ours, terminal = pty.openpty()
    with start("doctor", address.dsn, stdout=terminal, TERM="xterm") as process:
        os.close(terminal)
        shown = b""
        with suppress(OSError), open(ours, "rb", buffering=0) as screen:  # at its end
            while chunk := screen.read(4096):
                shown += chunk
        assert process.wait(TIMEOUT) == 0

    assert b"\x1b[32mok" in shown


def test_a_pipe_that_is_closed_early_ends_it_quietly(address):
    with start("doctor", address.dsn) as process:
        process.stdout.close()
        assert process.wait(TIMEOUT) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize("wrong", [["--timeout", "nan"], ["--timeout", "0"], ["--embedded", "--dsn", "host=h"]])
def test_a_wrong_use_ends_with_2(doctor, wrong):
    code, out, err = doctor(*wrong)

    assert (code, out, err.count("\n")) == (2, "", 1)


def test_a_driver_that_cannot_be_imported_is_a_reason(monkeypatch, doctor):
    def fail(*_: object) -> None:
        raise ImportError("no pq wrapper available")

    monkeypatch.setattr(gathering, "Source", fail)

    assert doctor("--quiet").err.startswith("pgnotify: connection: no pq wrapper available. Check")


# What it finds out


def test_it_leaves_neither_a_listen_nor_a_session_behind(role, session):
    address = role()
    with Session(*address) as other:
        report_on(address.dsn)
        seen = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid()"
        eventually(lambda: other.sql(seen) == [("0",)])
        assert other.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [("0",)]


def test_a_role_without_privileges_is_told_what_it_may_not_see(role, address):
    lesser = role()
    with Session(*address._replace(database=lesser.database)) as superuser:
        superuser.listen("jobs")
        report = report_on(lesser.dsn)

    assert report["listeners"]["state"] == report["transactions"]["state"] == "unknown"
    assert report["listeners"]["facts"]["hidden"] == 1
    assert "pg_read_all_stats" in report["listeners"]["remedy"]
    assert report["delivery"]["state"] == report["server"]["state"] == report["search_path"]["state"] == "ok"


def test_a_role_that_may_not_call_functions_is_told_so(role, address):
    lesser = role()
    with Session(*address._replace(database=lesser.database)) as superuser:
        for function in ("pg_is_in_recovery", "pg_notification_queue_usage", "pg_backend_pid"):
            superuser.sql(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function}() FROM PUBLIC")
    report = report_on(lesser.dsn)

    assert [report[name]["state"] for name in ("primary", "queue", "pooler")] == ["unknown"] * 3
    assert report["delivery"]["state"] == "ok"


def test_it_sees_who_listens_and_who_holds_the_tail(role, monkeypatch):
    address = role()
    monkeypatch.setattr("pgnotify.cli.findings.queue.LONG_SECONDS", 0.0)
    with Session(*address) as other, pgnotify.Listener(address.dsn, "invoices") as listener:
        other.sql("LISTEN jobs")
        listener.status()
        report = report_on(address.dsn)
        other.sql("BEGIN")
        other.sql("SELECT 1")
        holding = report_on(address.dsn)

    assert report["listeners"]["facts"]["seen"] == 2
    assert "LISTEN jobs" in report["listeners"]["text"]
    assert holding["transactions"]["state"] == "warning"
    assert "idle in transaction for" in holding["transactions"]["text"]
    assert address.user in holding["transactions"]["text"]


def test_the_name_of_anothers_channel_cannot_draw_on_the_terminal(role, doctor):
    address = role()
    with Session(*address) as other:
        other.sql('LISTEN "\x1b[2Jcleared"')
        code, out, _ = doctor(address.dsn)

    assert code == 0
    assert "\x1b" not in out
    assert r"\x1b[2Jcleared" in out


def test_settings_of_the_role_and_of_the_database_count(role):
    address = role(
        "ALTER ROLE {0} SET idle_session_timeout = '20s'",
        "ALTER DATABASE {0} SET statement_timeout = '1s'",
        "ALTER ROLE {0} IN DATABASE {0} SET client_encoding = 'LATIN1'",
        "ALTER ROLE {0} IN DATABASE {0} SET idle_in_transaction_session_timeout = '10min'",
    )
    report = report_on(address.dsn)

    assert report["idle_session_timeout"]["state"] == "warning"
    assert "20 s" in report["idle_session_timeout"]["text"]
    assert "It is set for the role." in report["idle_session_timeout"]["text"]
    assert report["statement_timeout"]["facts"] == {"value": "1000", "unit": "ms", "source": "database"}
    assert "for the role in this database" in report["idle_in_transaction_session_timeout"]["text"]
    assert report["encoding"]["facts"] == {"server": "UTF8", "client": "LATIN1"}
    assert report["encoding"]["state"] == "warning"


def test_a_schema_that_all_may_write_in_is_told(role, address):
    lesser = role()
    with Session(*address._replace(database=lesser.database)) as superuser:
        superuser.sql("GRANT CREATE ON SCHEMA public TO PUBLIC")
    report = report_on(lesser.dsn)

    assert report["search_path"]["state"] == "warning"
    assert report["search_path"]["facts"]["writable_by_all"] == ("public",)


def test_an_outbox_is_found_and_one_that_may_not_be_read_is_told(role, address):
    owner = role()
    made = new_outbox()
    with pgnotify.connect(owner.dsn) as connection:
        made.install(connection)
        made.notify(connection, "jobs", "1")
    found = report_on(owner.dsn)["outbox"]
    hidden = report_on(address._replace(database=owner.database).dsn)["outbox"]

    assert found["state"] == "ok"
    assert found["facts"]["outboxes"][0]["messages"] == 1
    assert hidden["state"] == "ok"  # a superuser may read all


def test_a_role_with_one_session_cannot_be_told_and_the_exit_code_is_2(role, doctor):
    address = role("ALTER ROLE {0} CONNECTION LIMIT 1")

    code, out, err = doctor("--quiet", address.dsn)

    assert (code, out) == (2, "")
    assert "too many connections for role" in err


def test_a_link_that_goes_silent_in_between_is_given_up(address, proxy, monkeypatch):
    """Not even the server's answers come through any more; what is known by then is reported."""
    monkeypatch.setattr("pgnotify.cli.examination.link.ANSWER_SECONDS", 0.3)
    ask = gathering._sessions
    monkeypatch.setattr(gathering, "_sessions", lambda link: [proxy.blackhole(), ask(link)])

    report = report_on(through(proxy, address).dsn)

    assert report["server"]["state"] == "ok"
    assert report["transactions"]["state"] == report["encoding"]["state"] == report["delivery"]["state"] == "unknown"
    assert "no answer within 0.3 s" in report["transactions"]["text"]


def test_two_connection_strings_are_refused(capfd):
    done = run_here(capfd, "doctor", "host=127.0.0.1 port=1", "--dsn", "host=127.0.0.1 port=2")

    assert done == (2, "", "pgnotify: there are two connection strings: leave out --dsn, or the argument\n")
