"""Connection strings are read as libpq itself reads them, which psycopg gives access to. Needs no server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgnotify.connecting.conninfo import parse, serialize
from pgnotify.connecting.hosts import hosts
from pgnotify.connecting.keywords import KEYWORDS, environment
from tests.offline.connecting.test_conninfo import READ, UNREADABLE, parameter_sets
from tests.offline.connecting.test_defaults import SERVICES
from tests.offline.connecting.test_defaults import UNREADABLE as UNREADABLE_SERVICES

pytestmark = pytest.mark.drivers("psycopg")


@pytest.fixture(scope="module", autouse=True)
def no_environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PG")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="module")
def libpq() -> Any:
    """psycopg, which gives access to its libpq."""
    psycopg = pytest.importorskip("psycopg")
    if psycopg.pq.version() < 180000:
        pytest.skip(f"not applicable: libpq {psycopg.pq.version()} has other keywords")
    return psycopg


def read_by(libpq: Any, dsn: str) -> dict[str, str] | None:
    """Do as conninfo_to_dict does, also for bytes that are not UTF-8; return None if libpq cannot read it."""
    try:
        options = libpq.pq.Conninfo.parse(dsn.encode("utf-8", "surrogateescape"))
    except libpq.Error:
        return None
    return {o.keyword.decode(): o.val.decode("utf-8", "surrogateescape") for o in options if o.val is not None}


def read_by_us(dsn: str) -> dict[str, str] | None:
    try:
        return parse(dsn)
    except ValueError:
        return None


@pytest.mark.parametrize("dsn", [*READ, *UNREADABLE])
def test_libpq_reads_the_same(libpq: Any, dsn: str) -> None:
    assert read_by(libpq, dsn) == READ.get(dsn)


@pytest.mark.parametrize("dsn", [dsn for dsn in READ if not re.search("%ff|\udcff", dsn)])
def test_conninfo_to_dict_of_psycopg_says_the_same(libpq: Any, dsn: str) -> None:
    assert libpq.conninfo.conninfo_to_dict(dsn) == parse(dsn)


PIECES_OF_PAIRS = [
    *("host", "dbname", "password", "requiressl", "=", "=", "'", "\\", " ", "\t", "\n", "\v", "\x1c", "\xa0", "\x85"),
    *("a", "1", "é", "日", "\udcff", "&", "x=", " host=a", "user='b'", "//"),
]
PIECES_OF_URIS = [
    *(
        "u:p@",
        "h",
        ":",
        "@",
        "/",
        "?",
        "&",
        "=",
        "host",
        "port",
        "5432",
        "dbname=x&",
        "user=",
        "ssl=true",
        "ssl",
        "true",
    ),
    *(
        "requiressl=1",
        "%41",
        "%zz",
        "%00",
        "%",
        "%ff",
        "%e6%97%a5",
        "[",
        "]",
        "[::1]",
        ",",
        " ",
        "\t",
        "\n",
        "é",
        "#",
        "+",
    ),
]
strings = st.lists(st.sampled_from(PIECES_OF_PAIRS), max_size=10).map("".join) | st.builds(
    "{}{}".format,
    st.sampled_from(["postgresql://", "postgres://"]),
    st.lists(st.sampled_from(PIECES_OF_URIS), max_size=10).map("".join),
)


@settings(deadline=None, max_examples=2000)
@given(strings)
def test_libpq_reads_any_string_the_same(libpq: Any, dsn: str) -> None:
    assert read_by_us(dsn) == read_by(libpq, dsn)


@settings(deadline=None)
@given(parameter_sets)
def test_libpq_reads_back_the_parameters_that_are_written(libpq: Any, parameters: dict[str, str]) -> None:
    assert read_by(libpq, serialize(parameters)) == parameters


def test_libpq_18_knows_the_same_keywords_and_variables(libpq: Any) -> None:
    if libpq.pq.version() >= 190000:
        pytest.skip("not applicable: the table is that of PostgreSQL 18")

    known = {o.keyword.decode(): o.envvar and o.envvar.decode() for o in libpq.pq.Conninfo.get_defaults()}

    assert known == KEYWORDS


@pytest.mark.parametrize(
    "environ", [{"PGHOST": ""}, {"PGREQUIRESSL": "1"}, {"PGREQUIRESSL": "1", "PGSSLMODE": "allow"}]
)
def test_libpq_takes_the_same_from_the_environment(
    libpq: Any, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    assert environment().items() <= given_by(libpq).items()


@pytest.mark.parametrize(("text", "found"), SERVICES.items())
def test_libpq_takes_the_same_from_the_service_file(
    libpq: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, found: dict[str, str]
) -> None:
    (tmp_path / "services").write_bytes(text.encode())
    before = given_by(libpq)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    monkeypatch.setenv("PGSERVICE", "a")

    assert given_by(libpq) == before | found | {"service": "a"}


@pytest.mark.parametrize("text", UNREADABLE_SERVICES)
def test_libpq_refuses_the_same_service_files(
    libpq: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    (tmp_path / "services").write_bytes(text.encode())
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))

    assert re.search(UNREADABLE_SERVICES[text], complaint_of(libpq, "service=a"))


def given_by(libpq: Any) -> dict[str, str]:
    """Return all that libpq would connect with."""
    defaults = libpq.pq.Conninfo.get_defaults()
    return {option.keyword.decode(): option.val.decode() for option in defaults if option.val is not None}


def complaint_of(libpq: Any, dsn: str) -> str:
    """Return why libpq could not connect. None of the strings here leads to a server."""
    message: bytes = libpq.pq.PGconn.connect(dsn.encode()).error_message
    return message.decode()


@pytest.mark.parametrize(
    "dsn",
    [
        "host=/nowhere/1",
        "host=/nowhere/1,/nowhere/2/ port=,3",
        "host=/nowhere/1,/nowhere/2 port=7",
        "host=/nowhere/1,@/nowhere/2 port=' +5 ,006\t'",
        "host=/nowhere/1,/nowhere/2 hostaddr=,",
    ],
)
def test_libpq_tries_the_same_sockets(libpq: Any, dsn: str) -> None:
    tried = re.findall('socket "(.*?)"', complaint_of(libpq, dsn))

    assert [str(address.unix_socket).replace("\0", "@") for address in hosts(parse(dsn))] == tried


@pytest.mark.parametrize(
    "dsn",
    [
        *("host=a,b,c port=1,2", "port=1,2", "host=a,b hostaddr=::1", "host=a hostaddr=::1,::2"),
        *(
            f"host=/nowhere port='{port}'"
            for port in ("0", "65536", "-5", "x", " ", "0x10", "1_0", "99999999999", "1x")
        ),
    ],
)
def test_libpq_refuses_the_same_lists_and_ports(libpq: Any, dsn: str) -> None:
    with pytest.raises(ValueError, match=r"could not match|must be a number") as ours:
        hosts(parse(dsn))

    theirs = complaint_of(libpq, dsn).strip()

    assert theirs == str(ours.value) or theirs.startswith(("invalid port number", "invalid integer value"))
