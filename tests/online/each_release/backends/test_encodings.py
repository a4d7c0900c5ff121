"""Names of channels in every pair of encodings, the server's and the client's: a check finds what was listened to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import pgnotify
from pgnotify import ChannelError, Listener, PayloadError
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address
from tests.helpers.listeners import Watching
from tests.helpers.user import User

pytestmark = pytest.mark.drivers("psycopg", "psycopg2", "pg8000", "pygresql")  # wrappers need UTF-8, or nearly

SERVERS = ("UTF8", "SQL_ASCII", "EUC_JP", "MULE_INTERNAL")

# The encoding of the server and of the client, and a name that both have.
PAIRS = [
    ("UTF8", "UTF8", "k_é日"),
    ("UTF8", "LATIN1", "k_é"),
    ("UTF8", "EUC_JP", "a〜b"),  # another character to PostgreSQL than to Python
    ("UTF8", "GBK", "日本"),
    ("UTF8", "WIN1252", "k_€"),
    ("EUC_JP", "UTF8", "日本"),
    ("EUC_JP", "EUC_JP", "a〜b"),
    ("EUC_JP", "SJIS", "日本"),
    ("SQL_ASCII", "UTF8", "k_é日"),
    ("SQL_ASCII", "LATIN1", "k_é"),
    ("SQL_ASCII", "WIN1252", "k_€"),
    ("SQL_ASCII", "EUC_JP", "a〜b"),
    ("MULE_INTERNAL", "LATIN1", "k_é"),
    ("MULE_INTERNAL", "EUC_JP", "日本"),
]


@pytest.fixture(scope="module")
def databases(address) -> Iterator[dict[str, Address]]:
    """A database in each encoding."""
    with Session(*address) as session:
        for encoding in SERVERS:
            session.sql(
                f"CREATE DATABASE in_{encoding.lower()} TEMPLATE template0 ENCODING {encoding} "
                "LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        yield {encoding: address._replace(database=f"in_{encoding.lower()}") for encoding in SERVERS}
        for encoding in SERVERS:
            session.sql(f"DROP DATABASE in_{encoding.lower()} (FORCE)")


@pytest.fixture
def open_in(databases, connect, session):
    """Opens a connection to a database in an encoding; its client has another one from the start."""

    def open_in(server: str, client: str):
        session.sql(f"ALTER DATABASE {databases[server].database} SET client_encoding TO {client}")
        return connect(databases[server])

    return open_in


@pytest.fixture
def pairs(kind) -> list[tuple[str, str, str]]:
    """The pairs of encodings that a driver knows."""
    return [pair for pair in PAIRS if kind.driver != "pygresql" or pair[1] != "WIN1252"]


def test_a_check_finds_what_was_listened_to(open_in, pairs):
    found = {}
    for server, client, name in pairs:
        backend = pgnotify.wrap(open_in(server, client)).backend
        backend.listen(name)
        found[server, client] = backend.check().channels
        backend.close()

    assert found == {(server, client): {name} for server, client, name in pairs}


def test_what_the_codec_changes_is_refused_before_anything_is_sent(open_in):
    backend = pgnotify.wrap(open_in("UTF8", "EUC_JP")).backend
    backend.listen("日本")

    for call, error, what in (
        (lambda: backend.listen("¥"), ChannelError, "channel"),
        (lambda: backend.listen_many(["a", "¥"]), ChannelError, "channel"),
        (lambda: backend.notify("¥", "x"), ChannelError, "channel"),
        (lambda: backend.notify("日本", "10 ¥"), PayloadError, "payload"),
        (lambda: backend.notify_many([("日本", "x"), ("日本", "10 ¥")]), PayloadError, "payload"),
    ):
        with pytest.raises(error) as refusal:
            call()
        assert str(refusal.value) == (
            rf"in the client_encoding, euc_jp, '\\' would take the place of '¥' of a {what}; use UTF8"
        )

    assert backend.check().channels == {"日本"}
    assert not backend.wait(0)


def test_a_check_finds_names_that_the_client_can_no_longer_express(db, kind):
    backend = pgnotify.wrap(db).backend
    backend.listen("k_€")
    User(kind, db).run("SET client_encoding TO LATIN1")

    assert backend.check().channels == {"k_€"}
    assert User(kind, db).run("SELECT 2") == [(2,)]


def test_no_heartbeat_finds_a_lost_subscription(open_in):
    watching, gaps = Watching(), []
    source = lambda: open_in("SQL_ASCII", "LATIN1")  # noqa: E731
    with Listener(source, "k_é", heartbeat=0.01, observer=watching, on_listening=gaps.append) as listener:
        listener.start()
        watching.checks.wait_for(3, 20)

    assert [event.gap for event in gaps] == [None]
