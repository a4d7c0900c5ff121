"""A password file is read as libpq itself reads it, which psycopg gives access to. Needs no server."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgnotify.connecting.hosts import hosts
from pgnotify.connecting.passfile import password_for
from pgnotify.connecting.user_files import account_name, password_file

pytestmark = pytest.mark.drivers("psycopg")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory) -> Iterator[Path]:
    """An empty home, and no environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)
        directory: Path = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(directory))
        yield directory


@pytest.fixture(scope="module")
def file(home) -> Path:
    """Where the password file is, which nobody else can read."""
    path = home / "passwords"
    path.touch(0o600)
    return path


@pytest.fixture(scope="module")
def libpq() -> Callable[[dict[str, str]], str | None]:
    """Return the password that libpq takes for the first host; no host here can be connected to."""
    psycopg = pytest.importorskip("psycopg")
    if psycopg.pq.version() < 150000:
        pytest.skip(f"not applicable: libpq {psycopg.pq.version()} does not look at HOME")

    def password(parameters: dict[str, str]) -> str | None:
        dsn = psycopg.conninfo.make_conninfo(**parameters)
        connection: Any = psycopg.pq.PGconn.connect(dsn.encode("utf-8", "surrogateescape"))
        found: bytes = connection.password
        connection.finish()
        return found.decode("utf-8", "surrogateescape") or None

    return password


def ours(parameters: dict[str, str]) -> str | None:
    path = Path(parameters["passfile"]) if parameters.get("passfile") else password_file()
    user = parameters.get("user") or account_name()
    if path is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return password_for(hosts(parameters)[0], parameters.get("dbname") or user, user, path) or None


HERE = {"host": "/nowhere", "port": "7", "dbname": "d", "user": "u"}
LINES = {
    "/nowhere:7:d:u:hunter": "hunter",
    "/nowhere:7:d:u:hunter\r": "hunter",
    "*:*:*:*:hunter": "hunter",
    "*:7:*:u:hun:ter": "hun",
    "*:7:*:u:hun\\:ter\\\\": "hun:ter\\",
    "*:7:*:u:hun\\ter\\": "hunter\\",
    "\\/no\\where:7:\\d:u:hunter": "hunter",
    "localhost:7:d:u:hunter": None,
    "/nowhere:8:d:u:no\n/nowhere:7:d:u:first\n*:*:*:*:second": "first",
    "/nowhere:7:dd:u:no\n\n:7:d:u:no\n/nowhere:7:d::no\n*:*:*:*:last": "last",
    "#/nowhere:7:d:u:no\n# comment\n *:*:*:*:no\n": None,
    "*:*:*:*": None,
    "*:*:*:*:": None,
    "*:*:*:*:\n*:*:*:*:second": None,
    "**:*:*:*:hunter": None,
    "\\*:*:*:*:hunter": None,
    "*:*:*:*: spaces  ": " spaces  ",
    "*:*:*:*:\udcff": "\udcff",
    "*:*:*:*:pässwörd": "pässwörd",
}


@pytest.mark.parametrize(("text", "password"), LINES.items())
def test_a_line_fits_as_for_libpq(libpq, file, text: str, password: str | None):
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    parameters = HERE | {"passfile": str(file)}

    assert ours(parameters) == password
    assert libpq(parameters) == password


PLACES: list[dict[str, str]] = [
    {"host": "/nowhere"},
    {"host": "127.0.0.1", "port": "1"},
    {"host": "localhost", "hostaddr": "127.0.0.1", "port": "1"},
    {"hostaddr": "127.0.0.1", "port": "1"},
    {"host": "127.0.0.1,localhost", "port": "1,1"},
    {"host": "/nowhere", "user": ""},
    {"host": "/nowhere", "dbname": ""},
    {"host": "@abstract"},
    {"host": "/nowhere", "user": "a:b\\c", "dbname": "x:y"},
]
tokens = st.sampled_from(
    [
        *("/nowhere", "localhost", "127.0.0.1", "@abstract", "1", "7", "5432", "d", "u", "a\\:b\\\\c", "x\\:y"),
        *("*", "", "\\", "#", "**", "*x", account_name(), "hunter", " ", "é"),
    ]
)
lines = st.lists(tokens, min_size=3, max_size=7).map(":".join)


@settings(deadline=None, max_examples=500)
@given(st.sampled_from(PLACES), st.lists(lines, max_size=4).map("\n".join))
@example(PLACES[5], f"/nowhere:7:{account_name()}:{account_name()}:hunter")
@example(PLACES[3], "127.0.0.1:1:d:u:hunter")
@example(PLACES[7], "@abstract:7:d:u:hunter")
def test_libpq_takes_the_same_password_from_any_file(libpq, file, place: dict[str, str], text: str):
    file.write_text(text)
    parameters = HERE | place | {"passfile": str(file)}

    assert ours(parameters) == libpq(parameters)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700, 0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_can_read_is_ignored_as_by_libpq(libpq, home, mode: int):
    file = home / f"mode {mode:o}"
    file.write_text("*:*:*:*:hunter")
    file.chmod(mode)
    parameters = HERE | {"passfile": str(file)}

    assert ours(parameters) == libpq(parameters)
    assert (ours(parameters) is None) is bool(mode & 0o077)


def test_the_file_in_the_home_is_the_default_as_for_libpq(libpq, home):
    assert ours(HERE) == libpq(HERE) is None
    (home / ".pgpass").touch(0o600)
    (home / ".pgpass").write_text("*:*:*:*:hunter")

    assert ours(HERE) == libpq(HERE) == "hunter"
    assert ours(HERE | {"passfile": ""}) == libpq(HERE | {"passfile": ""}) == "hunter"
    assert ours(HERE | {"passfile": "/missing"}) == libpq(HERE | {"passfile": "/missing"}) is None
    assert ours(HERE | {"passfile": str(home)}) == libpq(HERE | {"passfile": str(home)}) is None
