"""Who is called for which channel."""

from __future__ import annotations

import pytest

from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.subscriptions import Routes, Subscription


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

    assert routes.wanted() == ("b", "a", "c")


def test_subscriptions_of_a_channel_are_in_the_order_in_which_they_were_made():
    routes = Routes(())
    first, second = subscription(), subscription()

    routes.add(first)
    routes.add(second)

    assert routes.of == {"jobs": (first, second)}
    assert routes.wanted() == ("jobs",)


def test_a_channel_is_wanted_until_the_last_subscription_is_removed():
    routes = Routes(())
    first, second = subscription(), subscription()
    routes.add(first)
    routes.add(second)

    routes.remove(first)
    assert routes.of == {"jobs": (second,)}
    routes.remove(second)
    assert routes.of == {}
    assert routes.wanted() == ()


def test_a_channel_of_the_listeners_own_stays_wanted():
    routes = Routes(("jobs",))
    only = subscription()
    routes.add(only)

    routes.remove(only)

    assert routes.wanted() == ("jobs",)


def test_the_subscriptions_that_a_delivery_has_looked_up_stay_as_they_were():
    routes = Routes(())
    first = subscription()
    routes.add(first)
    seen = routes.of["jobs"]

    routes.add(subscription())
    routes.remove(first)

    assert seen == (first,)


def test_removing_twice_does_nothing():
    routes = Routes(())
    one, other = subscription(), subscription()
    routes.add(one)
    routes.add(other)

    routes.remove(one)
    routes.remove(one)

    assert routes.of == {"jobs": (other,)}


def test_the_wanted_channels_are_the_same_tuple_until_they_change():
    routes = Routes(("own",))
    one, other = subscription("jobs"), subscription("jobs")

    seen = [routes.wanted()]
    for change in (
        lambda: routes.add(one),
        lambda: routes.add(other),
        lambda: routes.add(subscription("own")),
        lambda: routes.remove(one),
        lambda: routes.remove(other),
    ):
        change()
        if routes.wanted() is not seen[-1]:
            seen.append(routes.wanted())

    assert seen == [("own",), ("own", "jobs"), ("own",)]


def test_removing_says_whether_the_channel_is_wanted_no_longer():
    routes = Routes(("own",))
    one, other, own = subscription("jobs"), subscription("jobs"), subscription("own")
    for each in (one, other, own):
        routes.add(each)

    assert [routes.remove(each) for each in (one, other, other, own)] == [False, True, False, False]


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
