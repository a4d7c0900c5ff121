"""Payloads that a driver cannot decode: each is told, nothing else is lost, and the connection is kept."""

from __future__ import annotations

import importlib
import threading
import uuid
from inspect import signature

import pytest

from pgnotify import Gap, Reason
from pgnotify.testing import _proxy as proxies
from pgnotify.testing._wire import Session
from tests.helpers.listener_fronts import Listener, both_fronts
from tests.helpers.listeners import Told, listening
from tests.helpers.network import through
from tests.helpers.recorded import Recorded
from tests.helpers.threads import Background
from tests.helpers.waiting import PATIENCE

pytestmark = both_fronts

BAD = b"sec\xe9ret"
SENT = [each for number in range(20) for each in (b"%d" % number, BAD)] + [b"the end"]
GOOD = [each.decode() for each in SENT if each is not BAD]


@pytest.fixture
def database_in(address, session):
    """A function that makes a database with an encoding; it is dropped at the end."""
    made = []

    def make(encoding):
        made.append(f"pgnotify_{encoding.lower()}_{uuid.uuid4().hex}")
        session.sql(f"CREATE DATABASE {made[-1]} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
        session.sql(f"ALTER DATABASE {made[-1]} SET client_encoding TO '{encoding}'")
        return address._replace(database=made[-1])

    yield make
    for name in made:
        session.sql(f"DROP DATABASE {name} (FORCE)")


class InOrder(Recorded):
    """Keeps the gaps in the same list as the payloads."""

    def __init__(self, *args, **options):
        self.seen = []
        super().__init__(*args, on_listening=self._listening, **options)

    def _listening(self, event):
        self.events.append(event)
        if event.gap is not None:
            self.seen.append(event.gap.reason)

    def hears(self, channel):
        self.listener.subscribe(channel, lambda notification: self.seen.append(notification.payload))
        return self

    def until_the_end(self):
        self.until(lambda: "the end" in self.seen)

    @property
    def good(self):
        return [each for each in self.seen if each in GOOD]


def assert_only_the_bad_are_lost(recorded, driver, channel):
    recorded.until_the_end()
    bad = [each for each in recorded.seen if each not in GOOD]
    status, gaps = recorded.status, recorded.gaps

    assert recorded.good == GOOD
    assert (status.reconnects, status.attempts, status.last_error, status.delivering) == (0, 0, None, True)
    assert status.notifications == len(SENT)
    assert recorded.seen == [bad.pop() if each is BAD else each.decode() for each in SENT]  # each in its place
    assert recorded.errors == []
    if driver == "pygresql":
        assert [(gap.reason, gap.channels, gap.dropped) for gap in gaps] == [(Reason.UNDECODABLE, (channel,), 1)] * 20
        assert (status.dropped, status.gaps) == (20, 20)
        assert all(gap.lost_at <= gap.restored_at for gap in gaps)
        assert len(recorded.lines("could not be decoded: ")) == 1
        assert len(recorded.lines("could not be decoded, and is lost")) == 20
        assert not recorded.lines("ret")
    else:  # they are delivered, with some other character
        assert (status.dropped, gaps) == (0, [])


def test_each_is_told_in_its_place_and_the_connection_is_kept(driver, address, proxy, channel):
    with InOrder(through(proxy, address).dsn, driver=driver).hears(channel) as recorded:
        recorded.start()
        recorded.until(lambda: recorded.events)

        proxy.say(b"".join(proxies.notification(channel, each) for each in SENT))

        assert_only_the_bad_are_lost(recorded, driver, channel)


def test_so_it_is_in_a_database_without_an_encoding(driver, database_in, channel):
    there = database_in("SQL_ASCII")
    with (
        InOrder(there.dsn, driver=driver).hears("plain") as recorded,
        Session(*there) as sender,
    ):
        recorded.start()
        for each in SENT:
            sender.sql("SELECT pg_notify('plain', E'{}')".format(each.decode("latin-1").replace("é", r"\xe9")))

        assert_only_the_bad_are_lost(recorded, driver, "plain")


def test_in_another_client_encoding_whatever_the_driver_can_decode_arrives(driver, address, session, channel):
    if driver == "pg8000":
        core = importlib.import_module("pg8000.core")
        if "startup_params" not in signature(core.CoreConnection).parameters:
            pytest.skip("not applicable: this release of pg8000 has no way to say the client_encoding")
    with InOrder(f"{address.dsn}?client_encoding=LATIN1", driver=driver).hears("plain") as recorded:
        recorded.start()
        for each in ("1", "é", "2", "the end"):
            session.notify("plain", each)
        recorded.until_the_end()

        assert recorded.seen == ["1", Reason.UNDECODABLE if driver == "pygresql" else "é", "2", "the end"]
        assert (recorded.status.reconnects, recorded.status.notifications) == (0, 4)


def test_a_database_in_another_encoding_is_read_in_one_that_the_driver_decodes(driver, database_in):
    there = database_in("LATIN1")
    with (
        InOrder(there.dsn, driver=driver).hears("plain") as recorded,
        Session(*there) as sender,
    ):
        sender.sql("SET client_encoding TO UTF8")
        recorded.start()
        sender.notify("plain", "é")
        sender.notify("plain", "the end")
        recorded.until_the_end()

        assert recorded.seen == ["é", "the end"]


def test_one_that_is_iterated_is_told_too(driver, address, proxy, channel):
    told = Told()
    with Listener(through(proxy, address).dsn, channel, driver=driver, on_listening=told) as listener:
        proxy.say(b"".join(proxies.notification(channel, each) for each in SENT))

        good = []
        for notification in listener.notifications(PATIENCE):
            if notification.payload in GOOD:
                good.append(notification.payload)
            if notification.payload == "the end":
                break

        assert good == GOOD
        assert [gap.reason for gap in told.gaps] == [Reason.UNDECODABLE] * (20 if driver == "pygresql" else 0)


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_what_comes_after_one_is_fetched_from_a_connection_that_has_ended(driver, address, proxy, channel, end):
    with InOrder(through(proxy, address).dsn, driver=driver).hears(channel) as recorded:
        recorded.start()
        recorded.until(lambda: recorded.events)
        proxy.freeze()
        proxy.thaw()

        proxy.say(b"".join(proxies.notification(channel, each) for each in SENT))
        getattr(proxy, end)()
        recorded.until_back()
        recorded.until_the_end()

        assert recorded.good == GOOD
        recorded.until(lambda: recorded.status.gaps == (21 if driver == "pygresql" else 1))
        assert recorded.status.notifications == len(SENT)


def test_a_drain_delivers_what_comes_after_one_and_tells_of_it(driver, address, proxy, channel):
    with InOrder(through(proxy, address).dsn, driver=driver).hears(channel) as recorded:
        entered, released = threading.Event(), threading.Event()
        recorded.listener.subscribe(channel, lambda _: (entered.set(), released.wait(PATIENCE)))
        recorded.start()
        recorded.until(lambda: recorded.events)
        proxy.say(proxies.notification(channel, b"0"))
        assert entered.wait(PATIENCE)
        proxy.say(b"".join(proxies.notification(channel, each) for each in SENT[1:]))
        stopping = Background(recorded.listener.stop, PATIENCE, drain=True)
        recorded.until(lambda: recorded.listener._watch.stop_requested)
        released.set()

        assert stopping.ended()

        assert recorded.good == GOOD
        assert recorded.seen.count(Reason.UNDECODABLE) == recorded.status.dropped == (20 if driver == "pygresql" else 0)


@pytest.mark.drivers("pygresql")
def test_a_connection_of_ones_own_that_is_lost_after_one_tells_of_it_too(kind, connect, address, proxy, channel):
    with InOrder(connect(through(proxy, address))).hears(channel) as recorded:
        recorded.start()
        recorded.until(lambda: recorded.events)
        proxy.say(b"".join(proxies.notification(channel, each) for each in SENT))
        proxy.fin()
        recorded.until(lambda: recorded.status.state == "closed")

        assert recorded.good == GOOD
        recorded.until(lambda: recorded.seen.count(Reason.UNDECODABLE) == 20)


def test_in_a_stream_each_has_its_place(driver, address, proxy, channel):
    with (
        listening(through(proxy, address).dsn, driver=driver) as listener,
        listener.subscription(channel) as stream,
    ):
        proxy.say(b"".join(proxies.notification(channel, each) for each in SENT))

        items = [item.reason if isinstance(item, Gap) else item.payload for item in stream.items(PATIENCE, len(SENT))]

        bad = [each for each in items if each not in GOOD]
        assert bad.count(Reason.UNDECODABLE) == listener.status().dropped == (20 if driver == "pygresql" else 0)
        assert items == [bad.pop() if each is BAD else each.decode() for each in SENT]
