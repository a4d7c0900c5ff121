"""The edges of NotificationHandler: bad input, queues, time-outs, raising callbacks, stray notifications."""

import threading
from types import SimpleNamespace

import pytest

import pgnotify
from pgnotify import ChannelError, PayloadError, UnexpectedNotification
from pgnotify.testing.nasty import BAD_CHANNELS, BAD_PAYLOADS
from tests.helpers.handlers import Recorder
from tests.helpers.sending import burst
from tests.helpers.threads import Background
from tests.helpers.waiting import PATIENCE


def test_a_bad_channel_is_refused_when_the_handler_is_made(db, user, record, handler_front):
    user.begin()

    for name in BAD_CHANNELS:
        with pytest.raises(ChannelError, match=r"^event "):
            handler_front.make(db, name, record)
    for name in filter(None, BAD_CHANNELS):  # an empty one means the default
        with pytest.raises(ChannelError, match=r"^stop_event "):
            handler_front.make(db, "jobs", record, stop_event=name)

    user.commit()
    assert user.listened_to == set()


def test_a_derived_stop_event_that_is_too_long_is_refused_when_the_handler_is_made(db, record, handler_front):
    event = "x" * 59

    with pytest.raises(ChannelError, match=r"stop_event 'stop_x.* has 64 bytes, PostgreSQL keeps 63"):
        handler_front.make(db, event, record)

    assert handler_front.make(db, event, record, stop_event="x" * 63).stop_event == "x" * 63


def test_a_bad_payload_is_refused_before_anything_is_sent(connect, user, documented, session):
    handler, other = documented(), connect()
    session.listen(handler.event, handler.stop_event)

    for payload in BAD_PAYLOADS:
        for arguments in ({}, {"stop": True}, {"db": other}):
            with pytest.raises(PayloadError):
                handler.notify(payload=payload, **arguments)

    assert session.received() == []
    assert user.run("SELECT 1") == [(1,)]
    assert handler.listening is False


def test_a_payload_that_is_sql_is_sent_as_data(documented, session):
    handler = documented()
    session.listen(handler.event)
    injection = f"'); SELECT pg_terminate_backend({session.pid}); --"

    handler.notify(payload="it's")
    handler.notify(payload=injection)

    assert session.received() == [(handler.event, "it's"), (handler.event, injection)]


def test_an_empty_payload_is_sent_and_arrives_empty(documented, record):
    handler = documented(timeout=0)
    handler.listen()

    handler.notify(payload="")
    handler()

    assert record.payloads == [""]


def test_notify_before_listen_sends(documented, session):
    handler = documented()
    session.listen(handler.event)

    handler.notify(payload="early")

    assert session.received() == [(handler.event, "early")]
    assert handler.listening is False


@pytest.fixture
def waited(handler_front, monkeypatch):
    """The time-outs of all waits, but for those that only look."""
    waited = []

    def note(timeout):
        waited.append(timeout)
        return timeout

    handler_front.around_waits(monkeypatch, before=note)
    return waited


def test_what_is_inside_the_driver_already_is_delivered_at_once(documented, record):
    handler = documented(timeout=0.1)
    handler.listen()
    handler.notify(payload="inside")  # comes back with the answer to it, so no socket becomes readable

    handler()

    assert record.payloads == ["inside", None]


def test_what_is_inside_the_driver_already_is_delivered_without_a_wait(documented, record, session, user, waited):
    handler = documented(timeout=0.01)
    handler()
    handler.timeout = 0.5
    del waited[:]

    handler.listen()
    handler.notify(payload="inside")
    session.notify(handler.event, "read along the way")
    user.run("SELECT 1")
    handler.notify(stop=True, payload="stop")
    handler()

    assert record.payloads == [None, "inside", "read along the way", "stop"]
    assert waited == []


def test_a_backlog_arrives_whole_and_in_order(documented, record, session):
    handler = documented()
    handler.listen()

    burst(session, handler.event, 5_000)
    session.notify(handler.stop_event, "stop")
    handler()

    assert record.payloads == [*map(str, range(5_000)), "stop"]


def test_the_timeout_counts_from_the_last_notification_whatever_else_comes_in(
    handler_front, documented, record, session, user, monkeypatch
):
    woken = threading.Event()
    handler_front.around_waits(monkeypatch, after=lambda readable: readable and woken.set())
    # Makes the server tell this session each time that it looks for notifications, of any channel.
    user.run("SET client_min_messages = debug1")
    user.run("SET trace_notify = on")
    handler = documented(timeout=0.3)
    loop = Background(handler)

    for _ in range(round(PATIENCE / 0.05)):
        session.notify("nobody's")
        loop.join(0.05)
        if not loop.is_alive():
            break

    assert not loop.is_alive()
    loop.ended()
    assert record.payloads == [None]
    assert woken.is_set() is (user.kind.name != "asyncpg")  # which reads by itself


def test_each_notification_starts_the_timeout_anew(handler_front, documented, record, session, monkeypatch):
    now = 0.0
    to_send = ["1", "2", "3"]

    def six_seconds_later(_):
        nonlocal now
        now += 6 if to_send else 11
        if to_send:
            session.notify(handler.event, to_send.pop(0))
        return PATIENCE if now < 20 else 0

    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(f"{handler_front.handler_class.__module__}.time", clock)  # not that of the event loop
    handler_front.around_waits(monkeypatch, before=six_seconds_later)
    handler = documented(timeout=10)

    handler()

    assert record.payloads == ["1", "2", "3", None]


def test_a_notification_of_a_third_channel_ends_the_loop_with_the_documented_error(documented, record, session, user):
    handler = documented(event="good", stop_event="enough")
    user.run('LISTEN "a third"')
    handler.listen()
    session.notify("good", "before")
    session.notify("a third", "stray")
    session.notify("good", "behind")
    session.notify("enough", "stop")
    user.run("SELECT 1")  # so that all have arrived

    with pytest.raises(UnexpectedNotification) as caught:
        handler()
    after_the_error = record.payloads, handler.listening, user.listened_to
    handler()

    assert str(caught.value) == 'Listening for "good" and "enough", but notified of "a third"'
    assert isinstance(caught.value, user.driver.DatabaseError)
    assert isinstance(caught.value, pgnotify.PgNotifyError)
    assert after_the_error == (["before"], False, {"a third"})
    assert record.payloads == ["before", "behind", "stop"]


def test_old_except_clauses_catch_the_error_of_a_third_channel(documented, user):
    handler = documented(timeout=0)
    user.run("LISTEN third")
    handler.listen()
    user.run("NOTIFY third")

    with pytest.raises(user.driver.DatabaseError, match="but notified of"):
        handler()


def test_a_third_channel_that_nobody_listens_to_does_no_harm(documented, record, session, user):
    handler = documented(timeout=0)
    handler.listen()
    handler.notify(payload="before")
    user.run("NOTIFY third")
    session.sql("NOTIFY third")
    handler.notify(payload="behind")

    handler()

    assert record.payloads == ["before", "behind"]
    assert handler.listening is True


def test_what_had_arrived_before_unlisten_is_delivered_first_by_the_next_call(documented, record, session, user):
    handler = documented(timeout=0)
    handler.listen()
    handler.notify(payload="before")
    session.notify(handler.event, "before, too")

    handler.unlisten()
    handler.notify(payload="meanwhile")  # nobody listens
    handler.listen()
    handler.notify(payload="after")
    handler()

    assert record.payloads == ["before", "before, too", "after"]


def test_what_had_arrived_before_a_stop_was_read_is_delivered_first_by_the_next_call(documented, record):
    handler = documented()
    handler.listen()
    handler.notify(payload="1")
    handler.notify(stop=True, payload="stop")
    handler.notify(payload="2")
    handler.notify(payload="3")

    handler()
    at_the_stop = record.payloads
    handler.timeout = 0
    handler()

    assert at_the_stop == ["1", "stop"]
    assert record.payloads == ["1", "stop", "2", "3"]


def test_a_stop_before_the_call_ends_it_at_once(documented, record, user):
    handler = documented()
    handler.stop()

    handler()

    assert record == []
    assert user.listened_to == set()


def test_two_handlers_may_take_turns_on_one_connection(documented, session, user):
    one, another = Recorder(), Recorder()
    first = documented(one, event="first")
    second = documented(another, event="second")

    for handler in (first, second):
        handler.listen()
        session.notify(handler.event, "for it")
        session.notify(handler.stop_event)
        handler()

    assert (one.events, another.events) == (["first", "stop_first"], ["second", "stop_second"])
    assert user.listened_to == set()
