"""Which password is used: pg8000 takes the one that libpq takes, asked through psycopg, on a server that wants one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pgnotify
from pgnotify.registry import DRIVERS
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL

pytestmark = pytest.mark.drivers(*DRIVERS)

RIGHT = "hun:t\\er ü"
IN_FILE = "hun\\:t\\\\er ü"
USER = "us:er"


@pytest.fixture(scope="module")
def server() -> Iterator[TemporaryPostgreSQL]:
    """A server that requires a password, of one role."""
    try:
        started = TemporaryPostgreSQL(hba=("local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256"))
    except NoPostgreSQL as error:
        pytest.skip(str(error))
    with started:
        started.sql(f"CREATE ROLE \"{USER}\" LOGIN PASSWORD '{RIGHT}'")
        yield started


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The user's home, and an environment that says nothing about PostgreSQL."""
    for name in [name for name in os.environ if name.startswith("PG") and not name.startswith("PGNOTIFY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path  # type: ignore[no-any-return]


@pytest.fixture
def write(home) -> Callable[..., str]:
    """A function that writes a file of lines, and returns its path."""

    def written(*lines: str, name: str = "passwords", mode: int = 0o600) -> str:
        path = home / name
        path.write_text("\n".join(lines))
        path.chmod(mode)
        return str(path)

    return written


def lets_in(driver: str, server: TemporaryPostgreSQL, **parameters: str) -> bool:
    given = {"host": "127.0.0.1", "port": str(server.port), "user": USER, "dbname": "postgres", **parameters}
    try:
        pgnotify.connect(driver=driver, **given).close()
    except Exception as error:
        assert "password" in str(error).lower(), error  # noqa: PT017  # refused for another reason
        return False
    return True


LINE = f"*:*:postgres:us\\:er:{IN_FILE}"


def test_the_file_that_passfile_names_is_read(driver: str, server, write):
    assert lets_in(driver, server, passfile=write(LINE))
    assert not lets_in(driver, server, passfile=write(LINE.replace("ü", "u")))
    assert not lets_in(driver, server, passfile=write(LINE.replace("us\\:er", "other")))
    assert not lets_in(driver, server)


def test_the_file_that_the_environment_names_is_read(driver: str, server, write, monkeypatch):
    monkeypatch.setenv("PGPASSFILE", write(LINE))

    assert lets_in(driver, server)


def test_the_file_in_the_home_is_read(driver: str, server, write):
    if driver in ("psycopg2", "pygresql") and _libpq_of(driver) < 150000:
        pytest.skip("not applicable: before release 15, libpq does not look at HOME")
    write(LINE, name=".pgpass")

    assert lets_in(driver, server)


def _libpq_of(driver: str) -> int:
    if driver == "psycopg2":
        import psycopg2.extensions

        return int(psycopg2.extensions.libpq_version())
    import pg

    return int(pg.get_pqlib_version())


def test_a_variable_that_names_no_file_does_no_harm_where_the_password_is_given(driver: str, server, monkeypatch):
    monkeypatch.setenv("PGPASSFILE", "/missing")

    assert lets_in(driver, server, password=RIGHT)


def test_a_password_that_is_given_takes_precedence(driver: str, server, write, monkeypatch):
    passfile = write(LINE)

    assert not lets_in(driver, server, passfile=passfile, password="wrong")
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert not lets_in(driver, server, passfile=passfile)
    monkeypatch.setenv("PGPASSWORD", "")
    assert lets_in(driver, server, passfile=passfile)
    assert lets_in(driver, server, passfile=passfile, password="")


def test_the_unix_socket_needs_its_directory_in_the_file(driver: str, server, write):
    directory = str(server.socket_directory)

    assert lets_in(driver, server, host=directory, passfile=write(f"{directory}:*:*:us\\:er:{IN_FILE}"))
    assert not lets_in(driver, server, host=directory, passfile=write(f"localhost:*:*:us\\:er:{IN_FILE}"))


def test_each_host_has_a_line_of_its_own(driver: str, server, write):
    with socket.socket() as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        parameters = {"host": "127.0.0.1,localhost", "hostaddr": "127.0.0.1,127.0.0.1", "port": f"{port},{server.port}"}
        wrong = f"*:{port}:*:*:wrong"

        assert lets_in(driver, server, passfile=write(wrong, f"localhost:*:*:us\\:er:{IN_FILE}"), **parameters)
        assert not lets_in(driver, server, passfile=write(wrong, f"127.0.0.1:*:*:us\\:er:{IN_FILE}"), **parameters)


def test_a_file_that_others_can_read_is_ignored_with_a_warning(driver: str, server, write, capfd, recwarn):
    assert not lets_in(driver, server, passfile=write(LINE, mode=0o644))

    warned = capfd.readouterr().err + "".join(str(each.message) for each in recwarn)
    assert "password file" in warned
    assert "hun" not in warned
