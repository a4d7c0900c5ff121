"""NotificationHandler.notify, and the names and payloads that go through it."""

import pytest

import pgnotify
from pgnotify.registry import DRIVERS
from pgnotify.testing.nasty import GOOD_CHANNELS, GOOD_PAYLOADS
from tests.helpers.handlers import Recorder
from tests.helpers.user import User


def test_notify_sends_on_the_event_or_on_the_stop_event(documented, session):
    handler = documented()
    session.listen(handler.event, handler.stop_event)

    handler.notify()
    handler.notify(payload="it's")
    handler.notify(stop=True)
    handler.notify(stop=True, payload="enough")

    assert session.received() == [
        (handler.event, ""),
        (handler.event, "it's"),
        (handler.stop_event, ""),
        (handler.stop_event, "enough"),
    ]


def test_notify_takes_its_arguments_in_the_documented_order(connect, documented, session):
    handler = documented()
    session.listen(handler.event, handler.stop_event)

    handler.notify(connect(), True, "by position")

    assert session.received() == [(handler.stop_event, "by position")]


def test_notify_sends_through_its_own_connection_by_default(user, documented, record):
    handler = documented(timeout=0)
    handler.listen()

    handler.notify(payload="to myself")
    handler()

    assert record.payloads == ["to myself"]
    assert record[0]["pid"] == user.pid


def test_notify_sends_through_another_connection(kind, connect, documented, record):
    handler, other = documented(), connect()
    handler.listen()

    handler.notify(other, payload="from afar")
    handler.notify(db=other, stop=True)
    handler()

    assert record.payloads == ["from afar", ""]
    assert {each["pid"] for each in record} == {User(kind, other).pid}


def test_notify_sends_through_a_wrapped_connection(connect, documented, record, handler_front):
    handler = documented()
    handler.listen()

    handler.notify(handler_front.wrap(connect()), stop=True, payload="wrapped")
    handler()

    assert record.payloads == ["wrapped"]


def test_notify_sends_through_each_driver_that_is_installed(documented, record, address, session):
    drivers = pgnotify.registry.installed_drivers()
    handler = documented()
    handler.listen()

    for name in drivers:
        with pgnotify.connect(address.dsn, driver=name) as other:
            handler.notify(other.connection, payload=f"it's {name}")
    session.notify(handler.stop_event)
    handler()

    assert record.payloads == [*(f"it's {name}" for name in drivers), ""]


def test_a_closed_handler_still_sends_through_another_connection_but_not_through_its_own(connect, documented, session):
    handler = documented()
    session.listen(handler.event)
    handler.close()

    handler.notify(connect(), payload="still")
    with pytest.raises(pgnotify.HandlerClosed):
        handler.notify(payload="gone")
    with pytest.raises(pgnotify.HandlerClosed):
        handler.listen()
    handler.unlisten()

    assert session.received() == [(handler.event, "still")]


@pytest.mark.drivers(*DRIVERS)
def test_a_connection_that_pgnotify_has_opened_makes_handlers(kind, address, channel, record, session):
    with pgnotify.connect(address.dsn, driver=kind.driver).notification_handler(channel, record) as handler:
        handler.listen()
        session.notify(channel, "made")
        session.notify(handler.stop_event)
        handler()

    assert record.payloads == ["made", ""]


def test_every_channel_name_works_as_it_is_written(user, documented, session):
    for name in GOOD_CHANNELS:
        record = Recorder()
        handler = documented(record, event=name, stop_event="the end")

        handler.listen()
        listened = user.listened_to
        session.notify(name, "from another")
        handler.notify(payload="from myself")
        session.notify("the end")
        handler()

        assert listened == {name, "the end"}
        assert sorted(zip(record.events, record.payloads, strict=True)) == sorted(
            [(name, "from another"), (name, "from myself"), ("the end", "")]
        )
    assert user.listened_to == set()


def test_every_name_of_a_stop_event_works_as_it_is_written(user, documented):
    for name in GOOD_CHANNELS:
        record = Recorder()
        handler = documented(record, event="the beginning", stop_event=name)

        handler.listen()
        handler.notify(stop=True)
        handler()

        assert record.events == [name]
    assert user.listened_to == set()


def test_every_payload_arrives_as_it_was_sent(documented, record):
    handler = documented(timeout=0)
    handler.listen()

    for payload in GOOD_PAYLOADS:
        handler.notify(payload=payload)
    handler()

    assert record.payloads == list(GOOD_PAYLOADS)
