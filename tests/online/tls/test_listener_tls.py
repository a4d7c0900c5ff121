"""A Listener through TLS: whole, in order, back after a loss, and stopped at once where nobody answers any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

import pgnotify
from pgnotify import ConnectionLost, Reason
from pgnotify.cli.examination.gathering import gather
from pgnotify.cli.findings import examine
from pgnotify.testing import TemporaryPostgreSQL
from pgnotify.testing._proxy import Proxy
from pgnotify.testing._wire import Session, literal
from tests.helpers.network import through
from tests.helpers.recorded import Recorded
from tests.helpers.threads import Background
from tests.helpers.waiting import LONGER_THAN_PATIENCE, PATIENCE
from tests.kinds import Address
from tests.online.tls import test_tls

certificates = test_tls.certificates
tls_server = test_tls.tls_server
sender = test_tls.sender

COUNT = 4_000
NEVER = LONGER_THAN_PATIENCE
"""A deadline that is not what ended a test that is through."""


@pytest.fixture
def tls_address(driver: str, tls_server: TemporaryPostgreSQL) -> Address:
    """Where the server listens; skips if the driver cannot use TLS."""
    address = tls_server.address
    try:
        pgnotify.connect(_dsn(address), driver).close()
    except Exception as error:
        if driver != "pygresql" or "not compiled in" not in str(error):
            raise
        pytest.skip("the libpq that PyGreSQL is built with has no TLS")
    return address


@pytest.fixture
def tls_proxy(tls_address: Address) -> Iterator[Proxy]:
    """A proxy in front of the server."""
    with Proxy(tls_address.host, tls_address.port) as opened:
        yield opened


@pytest.fixture
def recorded_on(driver: str, channel: str, tls_proxy: object) -> Iterator[Callable[..., Recorded]]:
    """A function that makes a listener to the channel at an address; it ends before the proxy does."""
    with ExitStack() as opened:

        def make(to: Address, **options: Any) -> Recorded:
            return opened.enter_context(Recorded(_dsn(to), channel, driver=driver, **options))

        yield make


def test_notifications_of_all_sizes_arrive_whole_and_in_order(recorded_on, tls_address, sender, channel):
    recorded = recorded_on(tls_address).start()
    assert _uses_tls(recorded, sender)

    _send_all_sizes(sender, channel)

    recorded.until(lambda: len(recorded.heard) >= COUNT)
    assert recorded.payloads == _all_sizes()


def test_they_arrive_likewise_where_the_thread_that_iterates_reads(driver, tls_address, sender, channel):
    with pgnotify.Listener(_dsn(tls_address), channel, driver=driver) as listener:
        _send_all_sizes(sender, channel)

        arrived = [each.payload for each in listener.notifications(PATIENCE, COUNT)]

    assert arrived == _all_sizes()


def test_heartbeats_in_between_swallow_nothing(recorded_on, tls_address, sender, channel):
    recorded = recorded_on(tls_address, heartbeat=0.001).start()

    for number in range(20):
        checks = recorded.checks
        sender.notify_all(channel, [f"{number}", f"{number} again"])
        recorded.until(lambda: recorded.checks > checks)  # noqa: B023

    recorded.until_heard(*(text for number in range(20) for text in (f"{number}", f"{number} again")))


def test_it_comes_back_through_tls_when_its_session_was_terminated(recorded_on, tls_address, sender, channel):
    recorded = recorded_on(tls_address).start()
    sender.notify(channel, "before")
    recorded.until_heard("before")

    sender.terminate(recorded.status.server_pid)
    gap = recorded.until_back()
    sender.notify(channel, "after")

    recorded.until_heard("before", "after")
    assert (gap.reason, gap.channels) == (Reason.CONNECTION_LOST, (channel,))
    assert _uses_tls(recorded, sender)


@pytest.mark.parametrize("end", ["fin", "reset", "terminate"])
@pytest.mark.parametrize("verb", ["listen", "unlisten", "notify", "check"])
def test_what_had_arrived_survives_a_statement_that_meets_the_end(
    driver, tls_address, tls_proxy, sender, channel, verb, end
):
    with pgnotify.connect(_dsn(through(tls_proxy, tls_address)), driver) as connection:
        backend: Any = connection.backend
        backend.listen(channel)
        sender.notify_all(channel, "abcde")
        assert backend.wait(PATIENCE)
        if end == "terminate":
            sender.terminate(backend.server_pid)
        else:
            getattr(tls_proxy, end)()

        with pytest.raises(ConnectionLost):
            backend.check() if verb == "check" else getattr(backend, verb)(channel)

        assert [each.payload for each in backend.fetch()] == [*"abcde"]
        with pytest.raises(ConnectionLost):
            backend.fetch()


def test_the_heartbeat_notices_a_black_hole(recorded_on, tls_address, tls_proxy, sender, channel):
    recorded = recorded_on(through(tls_proxy, tls_address), heartbeat=0.1, answer_timeout=0.3).start()
    sender.notify(channel, "before")
    recorded.until_heard("before")

    tls_proxy.freeze()
    recorded.until(lambda: recorded.lines("heartbeat missed"))
    assert recorded.status.delivering is False
    tls_proxy.thaw()
    gap = recorded.until_back()
    sender.notify(channel, "after")

    recorded.until(lambda: "after" in recorded.payloads)
    assert recorded.payloads == ["before", "after"]
    assert gap.reason is Reason.HEARTBEAT_MISSED
    assert _uses_tls(recorded, sender)


def test_it_is_stopped_at_once_where_nobody_answers(recorded_on, tls_address, tls_proxy):
    recorded = recorded_on(through(tls_proxy, tls_address), answer_timeout=NEVER).start()
    tls_proxy.freeze()

    assert recorded.listener.stop(PATIENCE)


def test_it_is_stopped_at_once_while_an_answer_does_not_come(recorded_on, tls_address, tls_proxy):
    recorded = recorded_on(through(tls_proxy, tls_address), answer_timeout=NEVER).start()
    tls_proxy.freeze()
    recorded.listener.subscribe("another", recorded.heard.append)
    recorded.until_in("listen_many")

    assert recorded.listener.stop(PATIENCE)
    assert recorded.lines("connecting again") == []


def test_it_is_stopped_at_once_while_tls_is_being_agreed_on(recorded_on, tls_address, tls_proxy):
    recorded = recorded_on(through(tls_proxy, tls_address), answer_timeout=NEVER)
    tls_proxy.freeze()
    starting = Background(recorded.start)
    recorded.until(lambda: recorded.status.state == "connecting")

    assert recorded.listener.stop(PATIENCE)
    starting.ended()


def _dsn(address: Address) -> str:
    return f"{address.dsn}?sslmode=require"


def _send_all_sizes(sender: Session, channel: str) -> None:
    sender.sql(f"SELECT count(pg_notify({literal(channel)}, {test_tls.MIXED})) FROM generate_series(1, {COUNT}) n")


def _all_sizes() -> list[str]:
    return [f"{n}|".ljust(37 + (n * 193) % 7864, "x") for n in range(1, COUNT + 1)]


def _uses_tls(recorded: Recorded, session: Session) -> bool:
    return session.sql(f"SELECT ssl FROM pg_stat_ssl WHERE pid = {recorded.status.server_pid}") == [("t",)]


def test_the_doctor_names_the_version_of_tls(tls_address, driver):
    report = {found.name: found.verdict for found in examine(gather(_dsn(tls_address), driver, PATIENCE))}

    assert report["tls"].state == "ok"
    assert report["tls"].text.startswith("TLSv1.")
