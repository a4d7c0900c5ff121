"""What is done for each notification on each kind of connection, from the socket to the callback, counted."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import termios
from collections import Counter
from typing import NamedTuple

import pytest

import pgnotify
from pgnotify import AsyncNotificationHandler
from pgnotify.registry import DRIVERS
from tests.helpers import handler_fronts
from tests.helpers.counting import counting_calls, counting_instructions
from tests.helpers.sending import burst
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.handler_fronts("blocking", why=handler_fronts.COUNTED)

COUNT = 2_000


class Bounds(NamedTuple):
    """For one notification. What is there for each batch, or each read, comes to half of one at most."""

    others: int
    """What our functions call of the driver's, of Python's, and the callback."""
    instructions: int
    """Of our functions; in Python 3.11, which takes the most."""


BOUNDS = {
    "psycopg": Bounds(4, 59),  # PGnotify(…), by the driver's notifies(); two of: decode
    "psycopg2": Bounds(3, 49),  # two of: utf_8.decode, by the driver's poll()
    "pg": Bounds(1, 49),  # getnotify() is called in C
    "pg8000": Bounds(5, 103),  # unpack_from, startswith, decode, append
}


@pytest.fixture
def bounds(user):
    return BOUNDS["pg" if user.driver.__name__ == "pgdb" else user.driver.__name__]


@pytest.fixture
def handler(documented, session, channel):
    """A handler that finds its notifications in the socket, and returns when there are no more."""
    # A short name, so that they fit in there: what came in the midst would be read in more parts.
    made = documented(event=channel[2:14], timeout=0)
    made.listen()
    fill(made, session)
    return made


def fill(handler, session):
    """Have a backlog lie in the socket of a handler that listens."""
    burst(session, handler.event, COUNT, start=COUNT)
    size = sum(message_bytes(handler.event, str(number)) for number in range(COUNT, 2 * COUNT))
    eventually(lambda: unread_bytes(handler.db) == size)


def unread_bytes(db):
    """How much there is to be read from the socket of a connection."""
    driver_connection = pgnotify.wrap(db).backend.connection
    descriptor = pgnotify.wrap(driver_connection).backend.fileno()
    (size,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0)))
    return size


def message_bytes(channel, payload):
    """The size of a NotificationResponse: Byte1 Int32 Int32 String String."""
    return 9 + len(f"{channel}\0{payload}\0")


def test_functions_of_ours_are_called_per_batch_and_not_per_notification(handler, record):
    with counting_calls() as calls:
        handler()

    ours = Counter(call.name for call in calls if call.ours)
    assert len(record) == COUNT
    assert ours.total() < 0.1 * COUNT, ours


def test_for_each_notification_ours_call_no_more_than_ever(handler, bounds):
    with counting_calls() as calls:
        handler()

    others = Counter(call.name for call in calls if call.by_us and not call.ours)
    assert others.total() < (bounds.others + 0.5) * COUNT, others


def test_for_each_notification_ours_take_no_more_instructions_than_ever(handler, bounds):
    with counting_instructions() as counted:
        handler()

    assert counted.total() < (bounds.instructions + 0.5) * COUNT, counted


# On an event loop.


@pytest.fixture
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(params=["plain", "coroutine"])
def on_loop(request, loop, db, session, channel, record, handler_front):
    """The same handler on an event loop; with a function, or with a coroutine function."""

    async def coroutine_function(arg_dict):
        record(arg_dict)

    callback = record if request.param == "plain" else coroutine_function
    made = AsyncNotificationHandler(db, channel[2:14], callback, timeout=0)
    loop.run_until_complete(made.listen())
    fill(made, session)
    yield made
    loop.run_until_complete(made.close())


on_asyncio = pytest.mark.handler_fronts("plain", why=handler_fronts.COUNTED)
of_drivers = pytest.mark.drivers(*DRIVERS)


@on_asyncio
@of_drivers
def test_on_a_loop_functions_of_ours_are_called_per_batch_and_others_as_seldom(loop, on_loop, record, bounds):
    with counting_calls() as calls:
        loop.run_until_complete(on_loop())

    ours = Counter(call.name for call in calls if call.ours)
    others = Counter(call.name for call in calls if call.by_us and not call.ours)
    taken = 0 if on_loop.callback is record else 1  # popleft
    assert len(record) == COUNT
    assert ours.total() < 0.1 * COUNT, ours
    assert others.total() < (bounds.others + taken + 0.5) * COUNT, others


@on_asyncio
@of_drivers
def test_on_a_loop_ours_take_few_more_instructions(loop, on_loop, record, bounds):
    with counting_instructions() as counted:
        loop.run_until_complete(on_loop())

    more = 2 if on_loop.callback is record else 24  # to see whether there is anything to await, and to await it
    assert counted.total() < (bounds.instructions + more + 0.5) * COUNT, counted
