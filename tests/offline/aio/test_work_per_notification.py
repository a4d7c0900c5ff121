"""What the asynchronous handler does for one notification, counted, as for the handler that blocks."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import NamedTuple

import pytest

from pgnotify import AsyncBackend, AsyncNotificationHandler
from pgnotify.aio.handler import _AsyncHandlerFront
from pgnotify.notification import Notification
from tests.helpers.counting import counting_calls, counting_instructions, rewritten

NOTE = Notification("jobs", "a payload", 7)


class Limits(NamedTuple):
    """For one notification that comes to a loop that waits, up to the next wait."""

    ours: int
    """Calls of pgnotify's functions."""
    others: int
    """What these call of Python's, the backend's and the user's."""
    instructions: int


# In Python 3.11, which takes the most of them.
FURTHER = 40
FURTHER_COROUTINE = 61
LONE = Limits(25, 25, 522)
LONE_COROUTINE = Limits(35, 43, 796)  # the wait ends, and another one begins


class Prepared(AsyncBackend):
    """A backend in memory with a pipe for a socket: each byte in it is a notification."""

    def __init__(self, *batches):
        self.batches = list(batches)
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    async def listen(self, channel):
        pass

    async def unlisten(self, channel):
        pass

    async def wait(self, timeout, wakeup):
        return await wakeup.wait_readable(self.reading, timeout)

    def has_news(self):
        return False

    def fileno(self):
        return self.reading

    def fetch(self):
        if self.batches:
            return self.batches.pop(0)
        try:
            return [NOTE] * len(os.read(self.reading, 100))
        except BlockingIOError:
            return []

    async def close(self):
        os.close(self.reading)
        os.close(self.writing)


def ignore(arg_dict):
    """The user's callback."""


async def ignore_later(arg_dict):
    """The same as a coroutine function."""


def counted_in_batches(counting, callback, size):
    """Count what five batches take, which are there already."""
    backend = Prepared(*[[NOTE] * size for _ in range(5)])
    handler = AsyncNotificationHandler(backend, "jobs", callback, timeout=0)
    return counted(counting, handler, backend)


def counted_one_by_one(counting, is_async, number):
    """Count what notifications take that come one by one, each to a loop that waits."""
    backend, left = Prepared(), [number]

    def send_the_next(arg_dict):
        left[0] -= 1
        if left[0]:
            asyncio.get_running_loop().call_soon(os.write, backend.writing, b"1")  # when the loop waits again
        else:
            handler.stop()

    async def send_the_next_later(arg_dict):
        send_the_next(arg_dict)

    handler = AsyncNotificationHandler(backend, "jobs", send_the_next_later if is_async else send_the_next)
    os.write(backend.writing, b"1")
    return counted(counting, handler, backend)


def counted(counting, handler, backend):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(handler.listen())
    with counting() as result:
        loop.run_until_complete(handler())
    loop.run_until_complete(handler.close())
    loop.close()
    return result


def further(counting, callback):
    """Return what is counted for 100 further notifications in batches, all of which are delivered in one turn."""
    of_100, of_200 = (counted_in_batches(counting, callback, size) for size in (20, 40))
    return of_100, of_200


def lone(counting, is_async):
    """Return what is counted for 10 more notifications, each of which comes to a loop that waits."""
    return tuple(counted_one_by_one(counting, is_async, number) for number in (20, 30))


def names(calls, which):
    return Counter(call.name for call in calls if which(call))


def ours(call):
    return call.ours


def others(call):
    """What pgnotify calls of Python's, the backend's and the user's."""
    return call.by_us and not call.ours


# What it comes to, for a function and for a coroutine function.


@pytest.mark.parametrize(("callback", "takes"), [(ignore, ()), (ignore_later, ("deque.popleft",))])
def test_each_further_notification_in_a_batch_calls_the_callback_and_hardly_anything_else(callback, takes):
    of_100, of_200 = (names(calls, lambda call: True) for calls in further(counting_calls, callback))

    assert of_200 - of_100 == Counter(dict.fromkeys((f"{__name__}.{callback.__name__}", *takes), 100))


@pytest.mark.parametrize(("callback", "instructions"), [(ignore, FURTHER), (ignore_later, FURTHER_COROUTINE)])
def test_each_further_notification_in_a_batch_takes_no_more_instructions_than_ever(callback, instructions):
    of_100, of_200 = further(counting_instructions, callback)

    assert (of_200.total() - of_100.total()) / 100 <= instructions, of_200


@pytest.mark.parametrize(("is_async", "limits"), [(False, LONE), (True, LONE_COROUTINE)])
def test_a_lone_notification_takes_no_more_calls_and_instructions_than_ever(is_async, limits):
    of_20, of_30 = lone(counting_calls, is_async)
    instructions_of_20, instructions_of_30 = lone(counting_instructions, is_async)
    of_ours = names(of_30, ours) - names(of_20, ours)
    of_others = names(of_30, others) - names(of_20, others)
    instructions = instructions_of_30 - instructions_of_20

    assert of_ours.total() / 10 <= limits.ours, of_ours
    assert of_others.total() / 10 <= limits.others, of_others
    assert instructions.total() / 10 <= limits.instructions, instructions


# What would be noticed.


@pytest.mark.parametrize(
    ("callback", "method", "old", "new"),
    [
        (ignore, "deliver", "result = handler.callback(arg_dict)", "with LOCK: result = handler.callback(arg_dict)"),
        (ignore, "deliver", "= handler.arg_dict", "= handler.event and handler.arg_dict"),
        (ignore_later, "_deliver_rest", "            await result", "            await ensure_future(result)"),
        (ignore_later, "_deliver_rest", "queue.popleft()", "Notification(*queue.popleft())"),
    ],
    ids=["a lock", "a property", "a task", "a named tuple"],
)
def test_this_would_be_too_much_for_each_further_notification(monkeypatch, callback, method, old, new):
    changed = rewritten(getattr(_AsyncHandlerFront, method), old, new)
    changed.__globals__["ensure_future"] = asyncio.ensure_future
    monkeypatch.setattr(_AsyncHandlerFront, method, changed)

    of_100, of_200 = further(counting_instructions, callback)
    calls_of_100, calls_of_200 = further(counting_calls, callback)

    limit = FURTHER if callback is ignore else FURTHER_COROUTINE
    more_calls = len(calls_of_200) - len(calls_of_100)
    assert (of_200.total() - of_100.total()) / 100 > limit or more_calls > 100 * (1 if callback is ignore else 2)
