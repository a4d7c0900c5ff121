"""Other accounts of the machine: they do not get into a temporary PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgnotify.connecting import conninfo
from pgnotify.testing import (
    ServerFailed,
    TemporaryPostgreSQL,
)
from pgnotify.testing._programs import run_psql
from pgnotify.testing._wire import Session, SQLError
from tests.helpers.accounts import (
    NOBODY,
    ROOT_ONLY,
    STRANGER,
    as_account,
    found_programs,
    skip_if_private,
    without_namespaces,
)
from tests.helpers.waiting import eventually

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="not applicable: there is no /proc")
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # threads of other tests
SASL = 10  # AuthenticationSASL, in the protocol


@pytest.fixture(scope="module")
def programs() -> Path:
    return found_programs()


@pytest.fixture(scope="module", params=["usual", "another account"])
def server(request: pytest.FixtureRequest, programs: Path) -> Iterator[TemporaryPostgreSQL]:
    """A server that logs all it can, run as it is usually, or by root without a user namespace."""
    settings = {
        "log_statement": "all",
        "log_connections": "on",
        "log_min_messages": "debug1",
        "default_transaction_read_only": "on",  # neither this nor the next may keep it from getting its password
        "synchronous_standby_names": "*",
    }
    started = TemporaryPostgreSQL(programs, settings=settings)
    with contextlib.ExitStack() as stack:
        if request.param != "usual":
            if os.geteuid() != 0:
                pytest.skip("not applicable: only root runs it as another account")
            skip_if_private(programs)
            stack.enter_context(without_namespaces())
        started.start()
    with contextlib.closing(started):
        yield started


# Over TCP.


def request_of(server: TemporaryPostgreSQL, **parameters: str) -> int:
    """Return which authentication the server asks for."""
    text = b"".join(f"{part}\0".encode() for pair in parameters.items() for part in pair) + b"\0"
    with socket.create_connection((server.host, server.port), timeout=20) as client:
        client.sendall(struct.pack("!ii", len(text) + 8, 196608) + text)
        code, _, request = struct.unpack("!cii", client.recv(9))
    assert code == b"R"
    return int(request)


@pytest.mark.parametrize(
    "parameters",
    [
        {"user": "postgres"},
        {"user": "postgres", "replication": "true"},
        {"user": "postgres", "database": "postgres", "replication": "database"},
        {"user": "pg_monitor"},
        {"user": "unheard"},
    ],
    ids=str,
)
def test_tcp_asks_every_role_for_its_password(server: TemporaryPostgreSQL, parameters: dict[str, str]) -> None:
    assert request_of(server, **parameters) == SASL


@pytest.mark.parametrize("password", ["", "wrong", "postgres"])
def test_a_wrong_password_is_refused(server: TemporaryPostgreSQL, password: str) -> None:
    with pytest.raises(SQLError, match="password authentication failed") as refused:
        Session(*server.address._replace(password=password))

    assert refused.value.sqlstate == "28P01"


def test_the_password_is_the_one_in_the_address_and_in_the_dsn(server: TemporaryPostgreSQL) -> None:
    assert conninfo.parse(server.dsn)["password"] == server.address.password == server.password
    assert len(server.password) >= 32
    with Session(*server.address) as session:
        assert session.sql("SELECT current_user") == [("postgres",)]


def test_every_server_has_another_password(programs: Path) -> None:
    assert len({TemporaryPostgreSQL(programs).password for _ in range(100)}) == 100


def test_what_is_stored_is_not_the_password(server: TemporaryPostgreSQL) -> None:
    assert server.sql("SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'").startswith("SCRAM-SHA-256$4096:")


def test_the_repr_does_not_show_the_password(server: TemporaryPostgreSQL) -> None:
    assert server.password not in f"{server!r} {server} {server.address} {[server.address]}"


def test_an_empty_password_is_refused(programs: Path) -> None:
    with pytest.raises(ValueError, match="password is empty"):
        TemporaryPostgreSQL(programs, password="")


@pytest.mark.parametrize("password", ['it\'s "a" \\pass:word%', "päss\u00a0wörd\u00adª"])
def test_a_password_of_ones_own_is_taken(programs: Path, tmp_path: Path, password: str) -> None:
    with TemporaryPostgreSQL(programs, password=password) as server:
        assert run_psql(server.bin_directory / "psql", server.dsn, "SELECT 'in'", 9) == "in"  # libpq prepares it, too
        with Session(*server.address) as session:
            assert session.sql("SELECT 'in'") == [("in",)]


def test_a_data_directory_that_is_kept_gets_the_password_of_its_next_server(programs: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pgnotify-kept-") as directory:
        data = Path(directory, "data")
        with TemporaryPostgreSQL(programs, data_dir=data) as first:
            old = first.password
        assert "trust" not in {line.split()[-1] for line in lines_of(data / "pg_hba.conf")}

        with TemporaryPostgreSQL(programs, data_dir=data) as second:
            with Session(*second.address) as session:
                assert session.sql("SELECT 1") == [("1",)]
            with pytest.raises(SQLError, match="password authentication failed"):
                Session(*second.address._replace(password=old))


def lines_of(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


@ROOT_ONLY
@pytest.mark.parametrize("account", [STRANGER, NOBODY])
def test_another_account_does_not_get_in_over_tcp(server: TemporaryPostgreSQL, account: int) -> None:
    host, port = server.host, server.port

    assert "the server asks for a password" in as_account(account, lambda: Session(host, port))
    assert "failed" in as_account(account, lambda: Session(host, port, password="guessed"))


# The socket, the files and the processes.


@ROOT_ONLY
def test_another_account_does_not_reach_the_socket(server: TemporaryPostgreSQL) -> None:
    directory, port = str(server.socket_directory), server.port
    assert Path(directory, f".s.PGSQL.{port}").is_socket()

    assert as_account(STRANGER, lambda: Session(directory, port)).startswith("PermissionError")


@ROOT_ONLY
def test_another_account_can_read_none_of_its_files(server: TemporaryPostgreSQL) -> None:
    root = server.socket_directory.parent
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {"server.log", "initdb.log", "pg_hba.conf", "PG_VERSION"} <= {path.name for path in files}

    def readable() -> list[str]:
        return [str(path) for path in (root, *files) if can(path.read_bytes) or can(lambda path=path: os.listdir(path))]

    assert as_account(STRANGER, readable) == "[]"


def can(call: Callable[[], object]) -> bool:
    try:
        call()
    except PermissionError:
        return False
    except NotADirectoryError:
        return False
    return True


def test_the_password_stands_in_no_file(server: TemporaryPostgreSQL) -> None:
    run_psql(server.bin_directory / "psql", server.dsn, "CHECKPOINT", 9)
    secret = server.password.encode()

    files = [path for path in server.socket_directory.parent.rglob("*") if path.is_file()]

    assert "ALTER ROLE postgres PASSWORD" in server.log()  # all is logged
    assert [path for path in files if secret in path.read_bytes()] == []


@LINUX_ONLY
def test_the_password_stands_on_no_command_line(server: TemporaryPostgreSQL) -> None:
    statement = "SELECT pg_sleep(60) /* the one to look for */"
    psql = threading.Thread(
        target=lambda: (
            contextlib.suppress(ServerFailed).__enter__()
            or quietly(lambda: run_psql(server.bin_directory / "psql", server.dsn, statement, 60))
        )
    )
    psql.start()
    try:
        eventually(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%(60)%look for%'") > "1")
        lines = command_lines()
    finally:
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(60)%'")
        psql.join()

    assert [line for line in lines if b"psql" in line and b"passfile" in line]
    assert [line for line in lines if b"postgres" in line and b"hba_file" in line]
    assert [line for line in lines if server.password.encode() in line] == []


def quietly(call: Callable[[], object]) -> None:
    with contextlib.suppress(ServerFailed):
        call()


def command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return found
