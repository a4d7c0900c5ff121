"""What the loop does for one notification, counted: a lock, a log call or a generator more is a failure."""

from __future__ import annotations

from collections import Counter

import pytest

from pgnotify import NotificationHandler
from pgnotify.handler import handler
from pgnotify.handler.handler import _HandlerFront
from pgnotify.notification import Notification
from pgnotify.program.runner import BlockingRunner
from tests.helpers.counting import counting_calls, counting_instructions, rewritten

NOTE = Notification("jobs", "a payload", 7)

# For each further one in a batch: 7 to see that it is an event, the others to deliver it. It is 36 in Python 3.10
# and 3.12, 37 in 3.11, 32 in 3.13; a lock is 8 or more.
INSTRUCTIONS = 37

# For one that comes alone, up to the callback. Our functions: the two generators of the loop go on (2), the runner
# fetches (1), they go on (2); what to deliver is decided (1), of which event and not of which stop event (2); the
# runner tells (1) the front (1). What these call: send (2), isinstance (3), the backend's fetch, extend, len, and the
# callback.
OURS_BEFORE_THE_CALLBACK = 10
OTHERS_BEFORE_THE_CALLBACK = 9
# Up to the next wait, besides: they go on (2), the runner fetches (1), they go on (2); there is no time-out (1);
# the runner waits (2): nobody woke it (1), signals may do so (1). What these call: send (2), isinstance (2),
# the backend's fetch and wait, extend, recv, get_ident, fileno.
OURS_IN_ALL = OURS_BEFORE_THE_CALLBACK + 10
OTHERS_IN_ALL = OTHERS_BEFORE_THE_CALLBACK + 10
# In Python 3.11, which takes the most of them.
INSTRUCTIONS_BEFORE_THE_CALLBACK = 257
INSTRUCTIONS_IN_ALL = 498


# What is counted


def handler_of(backend, *batches):
    """A handler that delivers batches which are there already, and returns."""
    prepared = iter(batches)
    backend.fetch = lambda: next(prepared, ())
    return NotificationHandler(backend, "jobs", ignore, timeout=0)


def ignore(arg_dict):
    """The user's callback."""


def calls_of_five_batches(canned, size):
    handler = handler_of(canned(), *[[NOTE] * size] * 5)
    with counting_calls() as calls:
        handler()
    return Counter(call.name for call in calls)


def instructions_of_a_batch(canned, size):
    handler = handler_of(canned(), [NOTE] * size)
    with counting_instructions() as counted:
        handler()
    return counted


def moments_of_a_lone_notification(backend, now):
    """Return ``now()`` as the wait returns with a notification, in the callback, and as the loop waits again."""
    moments = []

    def wait(timeout, wakeup):
        moments.append(now())
        if len(moments) < 5:  # the second is looked at: all that is made once is made then
            backend.arrived.append(NOTE)
        else:
            handler.stop()
        return True

    backend.wait = wait
    backend.fetch = lambda: [backend.arrived.popleft()] if backend.arrived else []
    handler = NotificationHandler(backend, "jobs", lambda arg_dict: moments.append(now()))
    handler()
    return moments[2:]


def calls_of_a_lone_notification(backend):
    """Return the calls before the callback, and in all."""
    with counting_calls() as calls:
        returned, called, waits = moments_of_a_lone_notification(backend, lambda: len(calls))
    return calls[returned:called], calls[returned:waits]


def instructions_of_a_lone_notification(backend):
    """Return how many there are before the callback, and in all."""
    with counting_instructions() as counted:
        returned, called, waits = moments_of_a_lone_notification(backend, counted.total)
    return called - returned, waits - returned


def ours(calls):
    return [call.name for call in calls if call.ours]


def others(calls):
    """What pgnotify calls of Python's, the backend's and the user's."""
    return [call.name for call in calls if call.by_us and not call.ours]


# What it comes to


def test_each_further_notification_in_a_batch_calls_the_callback_and_nothing_else(canned):
    of_500, of_1500 = calls_of_five_batches(canned, 100), calls_of_five_batches(canned, 300)

    assert of_1500 == of_500 + Counter({f"{__name__}.ignore": 1_000})


def test_each_further_notification_in_a_batch_takes_no_more_instructions_than_ever(canned):
    of_100, of_300 = instructions_of_a_batch(canned, 100), instructions_of_a_batch(canned, 300)

    assert (of_300.total() - of_100.total()) / 200 <= INSTRUCTIONS, of_300


def test_a_lone_notification_comes_to_the_callback_by_no_more_calls_than_ever(backend):
    before_the_callback, _ = calls_of_a_lone_notification(backend)

    assert len(ours(before_the_callback)) <= OURS_BEFORE_THE_CALLBACK, ours(before_the_callback)
    assert len(others(before_the_callback)) <= OTHERS_BEFORE_THE_CALLBACK, others(before_the_callback)


def test_behind_a_lone_notification_the_loop_waits_again_after_no_more_calls_than_ever(backend):
    _, in_all = calls_of_a_lone_notification(backend)

    assert len(ours(in_all)) <= OURS_IN_ALL, ours(in_all)
    assert len(others(in_all)) <= OTHERS_IN_ALL, others(in_all)


def test_a_lone_notification_takes_no_more_instructions_than_ever(backend):
    before_the_callback, in_all = instructions_of_a_lone_notification(backend)

    assert before_the_callback <= INSTRUCTIONS_BEFORE_THE_CALLBACK
    assert in_all <= INSTRUCTIONS_IN_ALL


# What would be noticed


CALLBACK = "handler.callback(arg_dict)"
QUEUE = "starmap(watch.queue.popleft, repeat((), at_most))"
A_LOCK = (CALLBACK, f"with LOCK: {CALLBACK}")
IN_THE_FRONT = {
    "a lock": A_LOCK,
    "a log call": (CALLBACK, f"LOGGER.debug('delivered'), {CALLBACK}"),
    "a generator layer": (QUEUE, f"(plain for plain in {QUEUE})"),
    "a named tuple": (QUEUE, f"starmap(Notification, {QUEUE})"),
    "a property": ("handler.arg_dict", "handler.event and handler.arg_dict"),
}

DELIVER = "return front.deliver(action.at_most)"
LOOP = "yield from _loop_while_listening(watch, settings, clock)"
AROUND_IT = {
    "a lock": (BlockingRunner, "_tell", DELIVER, f"with LOCK: {DELIVER}"),
    "a log call": (BlockingRunner, "_tell", DELIVER, f"LOGGER.debug('delivering'); {DELIVER}"),
    "a generator layer": (handler, "handler_loop", LOOP, f"yield from (lambda: ({LOOP}))()"),
}


@pytest.mark.parametrize(("old", "new"), IN_THE_FRONT.values(), ids=IN_THE_FRONT)
def test_this_in_the_front_would_be_more_calls_for_each_notification(canned, monkeypatch, old, new):
    monkeypatch.setattr(_HandlerFront, "deliver", rewritten(_HandlerFront.deliver, old, new))

    of_500, of_1500 = calls_of_five_batches(canned, 100), calls_of_five_batches(canned, 300)

    assert of_1500.total() - of_500.total() >= 2_000


def test_a_lock_in_the_front_would_be_too_many_instructions(canned, monkeypatch):
    monkeypatch.setattr(_HandlerFront, "deliver", rewritten(_HandlerFront.deliver, *A_LOCK))

    of_100, of_300 = instructions_of_a_batch(canned, 100), instructions_of_a_batch(canned, 300)

    assert (of_300.total() - of_100.total()) / 200 > INSTRUCTIONS


@pytest.mark.parametrize(("owner", "name", "old", "new"), AROUND_IT.values(), ids=AROUND_IT)
def test_this_around_the_front_would_be_more_calls_for_a_lone_notification(backend, monkeypatch, owner, name, old, new):
    monkeypatch.setattr(owner, name, rewritten(getattr(owner, name), old, new))

    _, in_all = calls_of_a_lone_notification(backend)

    assert len(ours(in_all)) + len(others(in_all)) > OURS_IN_ALL + OTHERS_IN_ALL
