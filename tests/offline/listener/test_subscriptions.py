"""Who is called for which channel."""

from __future__ import annotations

import weakref

import pytest

from pgnotify.listener.gap import Moment
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.subscriptions import Queued, Routes, Subscription


def subscription(channel="jobs", routes=None, internal=False, wait_listening=None):
    return Subscription(
        channel,
        print,
        wait_listening or (lambda channel, timeout: True),
        routes.remove if routes is not None else (lambda each: None),
        Mailbox(10),
        internal=internal,
    )


def test_the_listeners_own_channels_come_first_and_once():
    routes = Routes(("b", "a", "b"))
    routes.add(subscription("c"))
    routes.add(subscription("a"))

    assert routes.wanted.all() == ("b", "a", "c")


def test_subscriptions_of_a_channel_are_in_the_order_in_which_they_were_made():
    routes = Routes(())
    first, second = subscription(), subscription()

    routes.add(first)
    routes.add(second)

    assert routes.of == {"jobs": [first, second]}
    assert routes.wanted.all() == ("jobs",)


def test_a_channel_is_wanted_until_the_last_subscription_is_removed():
    routes = Routes(())
    first, second = subscription(), subscription()
    routes.add(first)
    routes.add(second)

    routes.remove(first)
    assert routes.of == {"jobs": [second]}
    routes.remove(second)
    assert routes.of == {}
    assert routes.wanted.all() == ()


def test_a_channel_of_the_listeners_own_stays_wanted():
    routes = Routes(("jobs",))
    only = subscription()
    routes.add(only)

    routes.remove(only)

    assert routes.wanted.all() == ("jobs",)


def test_the_subscriptions_that_a_delivery_has_looked_up_stay_where_they_were():
    routes = Routes(())
    first, second = subscription(), subscription()
    routes.add(first)
    seen = routes.of["jobs"]

    routes.add(second)
    routes.remove(first)

    assert seen == [first, second]
    assert routes.of == {"jobs": [second]}


def test_the_cancelled_ones_of_a_channel_are_removed_when_they_are_the_half():
    routes = Routes(())
    subscriptions = [subscription() for _ in range(5)]
    for each in subscriptions:
        routes.add(each)

    for each in subscriptions[:2]:
        routes.remove(each)
    assert [each.cancelled for each in routes.of["jobs"]] == [True, True, False, False, False]
    assert routes.of["jobs"][2:] == routes.subscriptions() == subscriptions[2:]
    routes.remove(subscriptions[2])

    assert routes.of == {"jobs": subscriptions[3:]}


def test_a_cancelled_one_is_not_kept():
    routes = Routes(())
    subscriptions = [subscription() for _ in range(20)]
    for each in subscriptions:
        routes.add(each)

    del each
    for left in range(19, -1, -1):
        routes.remove(subscriptions[0])
        cancelled = weakref.ref(subscriptions.pop(0))
        assert (cancelled(), len(routes.subscriptions())) == (None, left)


def test_removing_a_removed_one_changes_no_other():
    routes = Routes(())
    subscriptions = [subscription() for _ in range(20)]
    for each in subscriptions:
        routes.add(each)

    for each in subscriptions[9::-1] * 2:
        routes.remove(each)

    assert routes.subscriptions() == subscriptions[10:]


def test_removing_twice_does_nothing():
    routes = Routes(())
    one, other = subscription(), subscription()
    routes.add(one)
    routes.add(other)

    routes.remove(one)
    routes.remove(one)

    assert routes.of == {"jobs": [other]}


def test_only_the_first_and_the_last_subscription_of_a_channel_change_what_is_wanted():
    routes = Routes(("own",))
    routes.wanted.settle(routes.wanted.take_up(1), {"own"})
    one, other = subscription("jobs"), subscription("jobs")

    seen = []
    for change in (
        lambda: routes.add(one),
        lambda: routes.add(other),
        lambda: routes.add(subscription("own")),
        lambda: routes.remove(one),
        lambda: routes.remove(other),
    ):
        change()
        part = routes.wanted.take_up(9)
        seen.append((part, routes.wanted.all()))
        routes.wanted.settle(part, routes.wanted.channels)

    assert seen == [
        (("jobs",), ("own", "jobs")),
        ((), ("own", "jobs")),
        ((), ("own", "jobs")),
        ((), ("own", "jobs")),
        (("jobs",), ("own",)),
    ]


def test_a_subscription_that_is_cancelled_says_so():
    routes = Routes(())
    one = subscription(routes=routes)
    routes.add(one)

    one.cancel()

    assert one.cancelled
    assert routes.of == {}
    assert repr(one) == "<cancelled Subscription to 'jobs'>"


def test_as_a_context_manager_it_is_cancelled_at_the_end():
    routes = Routes(())
    with subscription(routes=routes) as one:
        routes.add(one)
        assert repr(one) == "<Subscription to 'jobs'>"

    assert one.cancelled


@pytest.mark.parametrize("answer", [True, False])
def test_waiting_is_the_listeners_business(answer):
    asked = []
    one = subscription(wait_listening=lambda *asking: asked.append(asking) or answer)

    assert one.wait_listening(3.0) is answer
    assert asked == [(one, 3.0)]


def test_waiting_for_a_cancelled_one_is_in_vain():
    one = subscription(wait_listening=lambda *asking: pytest.fail("it asked"))
    one.cancelled = True

    assert one.wait_listening() is False


# Streams.


def queued(channel="jobs"):
    mailbox = Mailbox(10)
    return Queued(channel, print, lambda *_: True, lambda _: None, mailbox, lambda: None, True, "its consumer is slow")


def test_a_further_stream_of_a_channel_copies_none_of_the_others():
    routes = Routes(())
    routes.add(queued())
    streams = routes.queued["jobs"]

    routes.add(queued())

    assert routes.queued["jobs"] is streams
    assert len(streams) == 2


def test_a_stream_that_is_removed_is_not_kept_and_the_others_stay_in_order():
    routes = Routes(())
    streams = [queued() for _ in range(20)]
    for each in streams:
        routes.add(each)

    del each
    for _ in range(19):
        routes.remove(streams[0])
        removed = weakref.ref(streams.pop(0))
        assert removed() is None
        assert routes.subscriptions() == streams
    routes.remove(streams[0])
    assert (routes.queued, routes.wanted.all()) == ({}, ())


def test_a_channel_is_wanted_for_a_stream_as_for_a_callback():
    routes = Routes(())
    stream, callback = queued(), subscription()
    routes.add(stream)
    routes.add(callback)

    routes.remove(callback)
    assert routes.wanted.all() == ("jobs",)
    routes.remove(stream)
    assert routes.wanted.all() == ()


def test_the_place_of_a_removed_stream_holds_nothing():
    routes = Routes(())
    streams = [queued() for _ in range(3)]
    for each in streams:
        routes.add(each)
    routes.remove(streams[1])

    [_, place, _] = routes.queued["jobs"]
    place.mailbox.put([("jobs", "1", 7)] * 2000, Moment(0.0, 0.0), Moment(0.0, 0.0))

    assert len(place.mailbox) == 0
