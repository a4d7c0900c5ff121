"""The same through TLS, whose layer reads more of a socket than is asked of it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import pgnotify
from pgnotify.aio.loop import Loop
from pgnotify.backends._steps import BATCH
from pgnotify.registry import DRIVERS
from pgnotify.testing import NoPostgreSQL, ServerFailed, TemporaryPostgreSQL, find_postgresql
from pgnotify.testing._proxy import Proxy
from pgnotify.testing._wire import Session, literal
from tests.helpers.backends import collect, collect_payloads, until_lost
from tests.helpers.network import through
from tests.helpers.sending import send_numbers
from tests.helpers.user import User
from tests.helpers.waiting import eventually
from tests.kinds import Address, Kind, pg8000_arguments

trustme = pytest.importorskip("trustme")

pytestmark = pytest.mark.drivers(*DRIVERS)

# 37 to 7,900 bytes, so that messages lie across the records of TLS in every way.
MIXED = "rpad(n::text || '|', 37 + (n * 193) % 7864, 'x')"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """A directory with the certificate of the server, of the authority behind it, and of another one."""
    directory: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "authority.crt")
    trustme.CA().cert_pem.write_to_path(directory / "stranger.crt")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(directory / "server.crt")
    certificate.private_key_pem.write_to_path(directory / "server.key")
    return directory


@pytest.fixture(scope="module")
def tls_server(certificates) -> Iterator[TemporaryPostgreSQL]:
    """A server that offers TLS; skips with the reasons where none has it."""
    server, reasons = _first_that_starts((certificates / "server.crt", certificates / "server.key"))
    if server is None:
        pytest.skip(f"no PostgreSQL with TLS: {'; '.join(reasons)}")
    with closing(server):
        yield server


def _first_that_starts(tls) -> tuple[TemporaryPostgreSQL | None, list[str]]:
    reasons = []
    for where in ("system", "celerp"):
        try:
            server = TemporaryPostgreSQL(find_postgresql(where), tls=tls)
            server.start()
        except (NoPostgreSQL, ServerFailed) as error:
            reasons.append(f"{where}: {str(error).splitlines()[0]}")
        else:
            return server, reasons
    return None, reasons


@pytest.fixture
def tls_user(kind, tls_server) -> Iterator[User]:
    """A connection of the kind through TLS."""
    address = tls_server.address
    db = _connect(kind, address)
    user = User(kind, db)
    with_tls = user.run("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") in ([(True,)], [("t",)])
    if kind.driver == "pygresql" and not with_tls:
        db.close()
        pytest.skip("the libpq that PyGreSQL is built with has no TLS")
    assert with_tls  # libpq tries it first
    yield user
    with suppress(Exception):  # terminated
        db.close()


def _connect(kind: Kind, address: Address) -> Any:
    return _connect_pg8000(kind.name, address) if kind.driver == "pg8000" else kind.connect(address)


def _connect_pg8000(name: str, address: Address) -> Any:
    import pg8000
    import pg8000.dbapi
    import pg8000.native

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connect = {
        "pg8000.native": pg8000.native.Connection,
        "pg8000.dbapi": pg8000.dbapi.connect,
        "pg8000.legacy": pg8000.connect,
    }[name]
    return connect(*pg8000_arguments(address), ssl_context=context)


@pytest.fixture
def backend(tls_user):
    return pgnotify.wrap(tls_user.db).backend


@pytest.fixture
def sender(tls_server) -> Iterator[Session]:
    """Another session, in the clear."""
    with Session(*tls_server.address) as opened:
        yield opened


def test_notifications_of_all_sizes_arrive_whole_and_in_order_and_then_the_loss(backend, tls_user, sender, channel):
    backend.listen(channel)
    pid = tls_user.pid

    sender.sql(f"SELECT count(pg_notify({literal(channel)}, {MIXED})) FROM generate_series(1, 5000) n")
    arrived = collect_payloads(backend, 5_000)

    assert arrived == [f"{n}|".ljust(37 + (n * 193) % 7864, "x") for n in range(1, 5_001)]
    assert backend.wait(0) is False
    sender.terminate(pid)
    assert until_lost(backend)[0] == []


def test_a_notification_at_a_time_is_never_stuck_inside_the_layer(backend, sender, channel):
    backend.listen(channel)

    for number in range(200):
        sender.notify(channel, f"{number}")
        sender.notify(channel, f"{number} again")
        assert collect_payloads(backend, 2) == [f"{number}", f"{number} again"]


def test_what_came_along_with_a_query_ends_the_wait_at_once(backend, tls_user, sender, channel):
    backend.listen(channel)
    tls_user.begin()
    sender.sql(f"SELECT count(pg_notify({literal(channel)}, {MIXED})) FROM generate_series(1, 300) n")
    tls_user.commit()

    arrived = []
    while len(arrived) < 300:
        assert backend.wait(5) is True
        arrived += backend.fetch()

    assert [int(each.payload.partition("|")[0]) for each in arrived] == list(range(1, 301))


def test_queries_in_between_get_their_answers(backend, tls_user, sender, channel):
    backend.listen(channel)

    for number in range(100):
        sender.notify(channel, f"é{number}")
        assert tls_user.run(f"SELECT {number}") == [(number,)]
        backend.notify(channel, f"own {number}")

    arrived = [each.payload for each in collect(backend, 200)]
    assert [each for each in arrived if each.startswith("é")] == [f"é{number}" for number in range(100)]
    assert [each for each in arrived if each.startswith("own")] == [f"own {number}" for number in range(100)]


def test_the_last_words_come_before_the_loss(backend, tls_user, sender, channel):
    backend.listen(channel)
    pid = tls_user.pid
    sender.notify(channel, "last words")
    assert backend.wait(20) is True

    sender.terminate(pid)
    arrived, lost = until_lost(backend)

    assert [each.payload for each in arrived] == ["last words"]
    assert lost.__cause__ is not None
    backend.close()


def test_an_end_without_a_word_is_a_loss_that_the_driver_explains(kind, tls_server):
    with Proxy(*tls_server.address[:2]) as proxy:
        user = User(kind, _connect(kind, through(proxy, tls_server.address)))
        backend = pgnotify.wrap(user.db).backend
        backend.listen("plain")

        proxy.fin()
        _, lost = until_lost(backend)

        assert isinstance(lost.__cause__, (user.driver.Error, OSError))
        backend.close()


# On an event loop


@pytest.mark.drivers("pg8000.native")
def test_half_a_record_is_left_for_later_wherever_it_ends(kind, tls_server, sender, channel):
    with Proxy(*tls_server.address[:2]) as proxy:
        db = _connect(kind, through(proxy, tls_server.address))
        backend = pgnotify.wrap(db).backend
        backend.listen(channel)
        backend.limit_rest(0.1)  # if it waited for the rest, the connection would be lost
        size = len(recorded_notification(proxy, sender, channel, backend))
        for end in range(1, size):
            queue = deque()
            proxy.pass_only(end)
            sender.notify(channel, "half")
            eventually(lambda end=end: len(socket.socket.recv(db._usock, size, socket.MSG_PEEK)) == end)
            backend.fetch_whole(queue)
            assert not queue

            proxy.thaw()
            while not queue:
                assert backend.wait(20)
                backend.fetch_whole(queue)
            assert [payload for _, payload, _ in queue] == ["half"]
        db.close()


def recorded_notification(proxy, sender, channel, backend):
    """Return the bytes of a record that has one notification."""
    proxy.record()
    sender.notify(channel, "half")
    assert collect_payloads(backend, 1) == ["half"]
    return proxy._links[-1].down.recorded


@pytest.mark.drivers("pg8000.native")
def test_a_flood_is_drained_with_few_threads(tls_user, sender, channel, monkeypatch):
    calls = []
    in_thread = Loop.in_thread
    monkeypatch.setattr(Loop, "in_thread", lambda self, *call: calls.append(call) or in_thread(self, *call))

    async def main():
        db = pgnotify.wrap_async(tls_user.db)
        await db.listen(channel)
        calls.clear()
        send_numbers(sender, channel, 20_000)
        arrived = []
        while len(arrived) < 20_000:
            assert await db.wait(20)
            arrived += db.fetch()
        assert [int(each.payload.strip(".")) for each in arrived] == list(range(1, 20_001))

    asyncio.run(main())
    # The layer hides whether the rest of a message is there. A thread that waits for it takes a whole batch then.
    assert len(calls) <= 20_000 / BATCH + 2


# pgnotify.connect


@pytest.fixture
def connect(driver, tls_server, certificates):
    """A function that connects with an sslmode, from a host, trusting an authority; returns whether TLS is used."""

    def uses_tls(sslmode: str, host: str = "127.0.0.1", trusting: str | None = None) -> bool:
        root = {"sslrootcert": str(certificates / f"{trusting}.crt")} if trusting else {}
        dsn = tls_server.address._replace(host=host).dsn
        with pgnotify.connect(dsn, driver, sslmode=sslmode, hostaddr="127.0.0.1", **root) as connection:
            rows = connection.backend.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            return rows in ([(True,)], [("t",)])

    return uses_tls


@pytest.mark.parametrize("sslmode", ["require", "prefer"])
def test_connect_uses_tls_where_the_sslmode_says_so(connect, sslmode):
    assert connect(sslmode) is True


@pytest.mark.parametrize("sslmode", ["disable", "allow"])
def test_connect_uses_no_tls_where_the_sslmode_says_so(connect, sslmode):
    assert connect(sslmode) is False


def test_connect_verifies_the_authority(connect):
    assert connect("verify-ca", "localhost", "authority") is True
    with pytest.raises(Exception, match=r"(?i)certificate verify failed"):
        connect("verify-ca", "localhost", "stranger")


def test_connect_verifies_the_name_too_if_asked_to(connect):
    assert connect("verify-full", "127.0.0.1", "authority") is True
    with pytest.raises(Exception, match=r"(?i)does not match host name|certificate is not valid for|mismatch"):
        connect("verify-full", "localhost", "authority")
