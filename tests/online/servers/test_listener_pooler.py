"""A Listener behind a real PgBouncer: what it notices, what it says, and that it comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from typing import Any

import pytest

import pgnotify
from pgnotify import Gap, Listening, Reason
from pgnotify.testing import NoPostgreSQL, TemporaryPostgreSQL
from pgnotify.testing._wire import Session
from tests.helpers.listener_fronts import both_fronts
from tests.helpers.pooler import DROPPED, NOT_INSTALLED, PgBouncer, find_pgbouncer
from tests.helpers.recorded import Recorded
from tests.helpers.threads import Background
from tests.helpers.waiting import LONGER_THAN_PATIENCE, PATIENCE, eventually
from tests.kinds import Address

pytestmark = [pytest.mark.skipif(find_pgbouncer() is None, reason=NOT_INSTALLED), both_fronts]

SOON, NEVER = 0.05, LONGER_THAN_PATIENCE
"""Seconds for `wait_or_poll`: which of the two it took is seen from whether it returns at all."""


@pytest.fixture(scope="module")
def _own_server() -> Iterator[TemporaryPostgreSQL]:
    try:
        with TemporaryPostgreSQL() as server:
            yield server
    except NoPostgreSQL as error:
        pytest.skip(str(error))


@pytest.fixture
def own_server(_own_server: TemporaryPostgreSQL) -> TemporaryPostgreSQL:
    """A server that may be stopped and started; it runs when a test begins."""
    _own_server.start()
    return _own_server


@pytest.fixture
def pooler(address: Address) -> Iterator[Callable[..., PgBouncer]]:
    """A function that starts a PgBouncer, in front of the common server unless another is given."""
    with ExitStack() as opened:

        def start(mode: Any = "session", server: Any = address, **settings: Any) -> PgBouncer:
            return opened.enter_context(PgBouncer(server, mode, settings=settings))

        yield start


@pytest.fixture
def listening(driver: str, channel: str, pooler: object) -> Iterator[Callable[..., Recorded]]:
    """A function that starts a listener to the channel, through something that has a DSN; it ends before the pooler."""
    with ExitStack() as opened:

        def start(to: Any, **options: Any) -> Recorded:
            return opened.enter_context(Recorded(to.dsn, channel, driver=driver, **options)).start()

        yield start


# Session mode: all works, with a warning.


def test_in_session_mode_notifications_arrive_and_the_pooler_is_told_of(listening, pooler, session, channel):
    recorded = listening(pooler())

    session.notify(channel, "1")
    session.notify(channel, "it's 日本")

    recorded.until_heard("1", "it's 日本")
    assert recorded.status.behind_pooler is True
    assert len(recorded.lines("a pooler is in between")) == 1


def test_without_a_pooler_none_is_told_of(listening, address, session, channel):
    recorded = listening(address)

    assert (recorded.status.behind_pooler, recorded.status.delivering) == (False, True)
    assert recorded.lines("pooler") == []


def test_in_session_mode_the_probe_says_yes_and_from_then_on_it_counts_as_healthy(listening, pooler, channel):
    recorded = listening(pooler())
    assert recorded.status.delivering is False  # nobody knows yet
    assert recorded.listener.wait_or_poll(healthy=NEVER, deaf=SOON) is None

    probe = recorded.listener.probe(PATIENCE)

    assert (probe.delivering, recorded.status.delivering) == ("yes", True)
    assert recorded.listener.wait_or_poll(healthy=SOON, deaf=NEVER) is None
    assert (recorded.heard, recorded.status.channels) == ([], (channel,))


def test_in_session_mode_the_heartbeat_finds_all_in_order(listening, pooler, session, channel):
    recorded = listening(pooler(), heartbeat=SOON)

    recorded.until(lambda: recorded.checks >= 3)
    session.notify(channel, "still")

    recorded.until_heard("still")
    assert recorded.gaps == []


def test_in_session_mode_it_is_back_when_the_servers_connection_was_ended(listening, pooler, session, channel):
    recorded = listening(pooler())
    first = recorded.status.server_pid
    session.notify(channel, "before")
    recorded.until_heard("before")

    session.terminate(first)
    gap = recorded.until_back()
    session.notify(channel, "after")

    recorded.until_heard("before", "after")
    assert (gap.reason, gap.channels) == (Reason.CONNECTION_LOST, (channel,))
    assert recorded.status.server_pid != first
    assert recorded.status.reconnects == 1
    assert recorded.errors == []


def test_it_is_back_when_the_pooler_is(listening, pooler, session, channel):
    opened = pooler()
    recorded = listening(opened)
    session.notify(channel, "before")
    recorded.until_heard("before")

    opened.stop()
    recorded.until(lambda: recorded.status.attempts >= 3)
    lost = _now()
    opened.start()
    gap = recorded.until_back()
    session.notify(channel, "after")

    recorded.until_heard("before", "after")
    assert gap.reason is Reason.CONNECTION_LOST
    assert gap.lost_at < lost < gap.restored_at
    assert len(recorded.lines("to connect failed")) == len(recorded.pauses.attempts)  # one line for each attempt
    assert len(recorded.lines("connecting again")) == 1


def test_it_is_back_when_the_server_behind_the_pooler_is(listening, pooler, own_server, channel):
    recorded = listening(pooler(server=own_server.address), answer_timeout=0.5)
    _notify(own_server, channel, "before")
    recorded.until_heard("before")

    own_server.stop()
    recorded.until(lambda: recorded.status.attempts >= 3)
    lost = _now()
    own_server.start()
    gap = recorded.until_back()
    _notify(own_server, channel, "after")

    recorded.until_heard("before", "after")
    assert gap.reason is Reason.CONNECTION_LOST
    assert gap.lost_at < lost < gap.restored_at
    assert len(recorded.lines("to connect failed")) == len(recorded.pauses.attempts)
    assert recorded.errors == []


# A pooler that accepts, with no server behind.


def test_an_answer_that_does_not_come_since_the_pool_is_taken_is_given_up(listening, pooler, session, channel):
    opened = pooler(default_pool_size=1)
    with Session(*opened.address):  # has the pool's only connection eventually it leaves
        recorded = listening(opened, answer_timeout=0.1)
        recorded.until(lambda: recorded.status.attempts >= 3)
        assert recorded.events == []
    recorded.until(lambda: recorded.events)
    session.notify(channel, "in")

    recorded.until_heard("in")
    assert recorded.lines("no answer within 0.1 s")
    assert len(recorded.lines("to connect failed")) == len(recorded.pauses.attempts)
    assert recorded.gaps == []  # it had not listened before


def test_it_may_be_started_while_the_server_behind_the_pooler_is_down(listening, pooler, own_server, channel):
    opened = pooler(server=own_server.address)
    own_server.stop()

    recorded = listening(opened, answer_timeout=0.5)
    recorded.until(lambda: recorded.status.attempts >= 3)
    own_server.start()
    recorded.until(lambda: recorded.events)
    _notify(own_server, channel, "up")

    recorded.until_heard("up")
    assert (recorded.gaps, recorded.errors) == ([], [])


def test_it_is_stopped_while_the_pooler_does_not_answer(driver, pooler, channel):
    opened = pooler(default_pool_size=1)
    with (
        Session(*opened.address),
        Recorded(opened.dsn, channel, driver=driver, answer_timeout=NEVER) as recorded,
    ):
        starting = Background(recorded.start)
        recorded.until_in("check")

        assert recorded.listener.stop(PATIENCE)  # less than the deadline: it was cut off
        starting.ended()

    assert recorded.status.state == "closed"
    assert recorded.lines("to connect failed") == []


# Transaction mode: nothing arrives, and nobody is told; but the listener says so.


def test_in_transaction_mode_nothing_arrives_and_the_pooler_is_told_of(listening, pooler, session, channel):
    opened = pooler("transaction")
    recorded = listening(opened)

    session.notify(channel)
    eventually(lambda: DROPPED in opened.log())

    assert len(recorded.lines("a pooler is in between")) == 1
    assert (recorded.status.behind_pooler, recorded.status.delivering) == (True, False)
    assert recorded.heard == []


def test_in_transaction_mode_the_probe_says_no_and_names_the_pooler(listening, pooler, channel):
    recorded = listening(pooler("transaction"))

    probe = recorded.listener.probe(0.3)

    assert (probe.delivering, probe.seconds) == ("no", None)
    assert "a pooler is in between" in probe.reason
    assert recorded.status.delivering is False
    recorded.until(lambda: recorded.status.channels == (channel,))


def test_in_transaction_mode_who_polls_does_so_at_the_short_interval(listening, pooler):
    recorded = listening(pooler("transaction"), heartbeat=SOON)
    recorded.until(lambda: recorded.checks >= 2)  # a heartbeat that is answered proves nothing

    for _ in range(3):
        assert recorded.listener.wait_or_poll(healthy=NEVER, deaf=SOON) is None


def test_in_transaction_mode_each_lost_subscription_becomes_one_gap(listening, pooler, session, channel):
    recorded = listening(pooler("transaction"), heartbeat=0.2)

    for times in (1, 2):
        session.terminate(recorded.status.server_pid)  # of which the pooler tells nobody
        gap = recorded.until_back(times)
        assert (gap.reason, gap.channels) == (Reason.SUBSCRIPTION_LOST, (channel,))

    checks = recorded.checks
    recorded.until(lambda: recorded.checks >= checks + 3)
    assert len(recorded.gaps) == 2
    assert len(recorded.lines("subscription lost")) == 2
    assert len(recorded.log) == 5  # and the pooler, that another process answers, and the first LISTEN
    assert recorded.states == ["connecting", "listening"]


def test_in_transaction_mode_another_server_connection_is_a_lost_subscription(listening, pooler, channel):
    opened = pooler("transaction")
    recorded = listening(opened, heartbeat=0.1)

    with Session(*opened.address) as other:
        other.sql("BEGIN")  # takes the connection that listens
        gap = recorded.until_back()
        checks = recorded.checks
        recorded.until(lambda: recorded.checks >= checks + 3)

    assert gap.reason is Reason.SUBSCRIPTION_LOST
    assert len(recorded.gaps) == 1  # and not one with each heartbeat


def test_in_transaction_mode_who_polls_is_told_of_a_gap_at_once(listening, pooler, session):
    recorded = listening(pooler("transaction"), heartbeat=0.2)

    session.terminate(recorded.status.server_pid)

    gap = recorded.listener.wait_or_poll(healthy=NEVER, deaf=NEVER)
    assert isinstance(gap, Gap)
    assert gap.reason is Reason.SUBSCRIPTION_LOST


def test_in_transaction_mode_a_listen_that_is_not_answered_is_given_up(listening, pooler, channel):
    opened = pooler("transaction", default_pool_size=1)
    recorded = listening(opened, answer_timeout=0.1)
    with Session(*opened.address) as other:
        other.sql("BEGIN")  # on the only connection to the server
        recorded.listener.subscribe("another", recorded.heard.append)
        recorded.until(lambda: recorded.status.attempts >= 3)
        assert recorded.gaps == []
    gap = recorded.until_back()

    assert (gap.reason, gap.channels) == (Reason.HEARTBEAT_MISSED, (channel,))
    assert set(recorded.status.channels) == {channel, "another"}
    assert ["no answer within 0.1 s" in line for line in recorded.lines("connecting again")] == [True]
    assert len(recorded.lines("to connect failed")) == len(recorded.pauses.attempts)


def test_in_transaction_mode_the_gap_has_all_that_was_dropped(listening, pooler, session, channel):
    opened = pooler("transaction")
    recorded = listening(opened, heartbeat=0.3)
    session.notify(channel)
    sent = _now()
    eventually(lambda: DROPPED in opened.log())
    recorded.until(lambda: recorded.checks >= 1)

    session.terminate(recorded.status.server_pid)
    gap = recorded.until_back()

    assert recorded.heard == []
    assert gap.lost_at <= sent


def test_in_transaction_mode_what_one_sends_to_oneself_proves_nothing(listening, pooler, channel):
    def notify_myself(event: Listening) -> None:
        pgnotify.wrap(event.connection).notify(channel, "own")

    recorded = listening(pooler("transaction"), on_listening=notify_myself)

    recorded.until_heard("own")
    assert recorded.status.delivering is False


def _notify(server: Any, channel: str, payload: str) -> None:
    with Session(*server.address) as session:
        session.notify(channel, payload)


def _now() -> datetime:
    return datetime.now(timezone.utc)
