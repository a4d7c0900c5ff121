"""Strings and numbers of the user's own classes, such as members of an Enum: they become plain where they are passed.

What a class makes of its values is its own affair: `str()` of such a member is its name, so is its `format()` from
Python 3.11 on, and it has the hash of its name.
"""

from __future__ import annotations

import enum
import re

import pytest

import pgnotify
from pgnotify import Backoff, ChannelError, Listener, NotificationHandler, PayloadError
from pgnotify.limits import check_channel, check_payload, check_timeout
from pgnotify.listener.options import Options
from pgnotify.registry import backend_for
from pgnotify.testing import MemoryServer, Notifications
from tests.helpers.waiting import IN_MEMORY


class InEnum(str, enum.Enum):
    JOBS = "jobs"
    WORK = "work"
    STOP = "enough"
    LONG = "x" * 64


class Hostile(str):
    """A string that says everywhere that it is another one, or none at all."""

    def _refuse(self, *arguments):
        raise AssertionError("a method of the user's was called")

    __str__ = __repr__ = __format__ = __eq__ = __ne__ = __len__ = __bool__ = __contains__ = __add__ = _refuse
    __hash__ = __getitem__ = __iter__ = encode = replace = startswith = isascii = _refuse


class Number(int, enum.Enum):
    """Its `format()` is that of the name, from Python 3.12 on."""

    ONE = 1
    FIVE = 5


class Seconds(float, enum.Enum):
    SHORT = 0.5


class Integer(enum.IntEnum):
    ONE = 1


JOBS, WORK, STOP = InEnum.JOBS, InEnum.WORK, InEnum.STOP

STRINGS = {"enum": InEnum, "hostile": lambda text: Hostile(text)}
if hasattr(enum, "StrEnum"):  # since Python 3.11
    STRINGS["StrEnum"] = enum.StrEnum("StrEnum", {"JOBS": "jobs", "WORK": "work", "STOP": "enough"})


@pytest.fixture(params=STRINGS)
def own(request):
    """Makes a string of a class of the user's."""
    return STRINGS[request.param]


@pytest.fixture
def server():
    with MemoryServer() as server:
        yield server


@pytest.fixture
def received():
    return []


def is_plain(value):
    return type(value) in (str, int, float)


# Where they enter


def test_a_checked_value_is_plain(own):
    checked = [check_channel(own("jobs")), check_payload(own("work"))]

    assert checked == ["jobs", "work"]
    assert all(map(is_plain, checked))


@pytest.mark.parametrize("value", [*Number, *Seconds, *Integer], ids=repr)
def test_a_checked_number_is_plain(value):
    assert check_timeout(value) == value.value
    assert is_plain(check_timeout(value))


def test_a_refusal_shows_the_value():
    with pytest.raises(ChannelError, match=re.escape(f"event '{'x' * 29}…' has 64 bytes")):
        NotificationHandler(MemoryServer().connect(), InEnum.LONG, print)
    with pytest.raises(PayloadError, match="payload 'xxx"):
        check_payload(Hostile("x" * 8000))


def test_a_handler_listens_to_the_values(server, own, received):
    handler = NotificationHandler(server.connect(), own("jobs"), lambda arg_dict: received.append(dict(arg_dict)))

    handler.listen()
    handler.notify(payload=own("work"))
    handler.notify(stop=True)
    handler()

    assert [(each["event"], each["extra"]) for each in received] == [("jobs", "work"), ("stop_jobs", "")]
    assert all(is_plain(each) for arg_dict in received for each in arg_dict.values())
    assert (handler.event, handler.stop_event) == ("jobs", "stop_jobs")
    assert all(map(is_plain, (handler.event, handler.stop_event)))


def test_a_stop_event_is_its_value_too(server, received):
    handler = NotificationHandler(server.connect(), JOBS, received.append, stop_event=STOP, timeout=Number.ONE)

    assert (handler.stop_event, handler.timeout) == ("enough", 1)
    assert all(map(is_plain, (handler.stop_event, handler.timeout)))


def test_a_connection_takes_values(server, own):
    connection, other = pgnotify.wrap(server.connect()), server.connect()
    connection.listen(own("jobs"))

    connection.notify(own("jobs"), own("work"))
    connection.notify_many([(own("jobs"), own("enough"))])
    pgnotify.notify(other, own("jobs"), own("work"))
    pgnotify.notify_many(other, [(own("jobs"), own("jobs"))])
    arrived = connection.fetch()
    connection.unlisten(own("jobs"))

    assert [note[:2] for note in arrived] == [("jobs", "work"), ("jobs", "enough"), ("jobs", "work"), ("jobs", "jobs")]
    assert all(is_plain(each) for note in arrived for each in note)
    assert connection.backend.check().channels == frozenset()


def test_a_listener_takes_values(server, own, received):
    sender = server.connect()
    with Listener(server.connect, own("jobs"), name=own("work"), heartbeat=None) as listener:
        with listener.subscribe(own("enough"), received.append) as subscription:
            assert subscription.wait_listening(Number.FIVE)
            sender.notify("jobs", "1")
            sender.notify("enough", "2")
            (first,) = listener.notifications(timeout=Number.FIVE, stop_after=Integer.ONE)
            status = listener.status()

        assert listener.stop(Number.FIVE)

    assert first[:2] == ("jobs", "1")
    assert status.channels == ("jobs", "enough")
    assert status.name == "work"
    assert all(map(is_plain, (*first, *status.channels, status.name, subscription.channel)))


def test_two_ways_to_write_a_channel_are_one_subscription(server, received):
    sender = server.connect()
    with Listener(server.connect, heartbeat=None) as listener:
        for channel in (JOBS, "jobs", Hostile("jobs")):
            assert listener.subscribe(channel, received.append).wait_listening(IN_MEMORY)
        sender.notify("jobs", "1")
        assert list(listener.notifications(timeout=0)) == []
        assert listener.status().channels == ("jobs",)

    assert [note[:2] for note in received] == [("jobs", "1")] * 3


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("workers", Number.ONE),
        ("queue_size", Number.FIVE),
        ("heartbeat", Seconds.SHORT),
        ("answer_timeout", Number.FIVE),
        ("name", JOBS),
    ],
)
def test_an_option_is_plain(option, value):
    kept = getattr(Options(**{option: value}), option)

    assert kept == value.value
    assert is_plain(kept)


def test_a_pause_is_plain():
    backoff = Backoff(Seconds.SHORT, Number.FIVE)

    assert backoff == Backoff(0.5, 5)
    assert is_plain(backoff.initial)
    assert is_plain(backoff.maximum)


def test_probing_says_its_seconds(server):
    with Listener(server.connect, "jobs", heartbeat=None, answer_timeout=Number.FIVE) as listener:
        assert listener.probe(Number.FIVE).delivering == "yes"


def test_a_server_in_memory_takes_values(server, own):
    connection, other = server.connect(own("work")), server.connect("work")

    connection.listen(own("jobs"))
    other.notify(own("jobs"), own("work"))
    (note,) = connection.fetch()
    server.lose_subscription(connection, own("jobs"))

    assert note[:2] == ("jobs", "work")
    assert all(map(is_plain, note))
    assert connection.check().channels == frozenset()


def test_a_collector_takes_values(server, own):
    with Notifications(server.connect()) as notifications:
        notifications.listen(own("jobs"))
        server.connect().notify("jobs", "work")

        assert notifications.expect(own("jobs"), own("work"), within=IN_MEMORY).payload == "work"
        notifications.expect_none(own("jobs"), own("work"))


def test_a_backend_is_registered_for_the_value(server, monkeypatch):
    monkeypatch.setattr("pgnotify.registry._registered", {})
    made = server.connect()
    package = enum.Enum("Package", {"MINE": __name__.partition(".")[0]}, type=str)

    pgnotify.register(package.MINE, lambda connection: made)

    assert backend_for(Package()) is made


class Package:
    """Its class is from this package."""
