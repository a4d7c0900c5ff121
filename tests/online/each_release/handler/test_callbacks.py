"""What a callback of NotificationHandler may do: raise, query, unlisten, stop, close, notify, call again."""

import pytest


def test_what_a_query_inside_the_callback_has_read_is_delivered_without_a_wait(documented, session, user):
    payloads = []

    def callback(arg_dict):
        payloads.append(arg_dict["extra"])
        if arg_dict["extra"] == "first":
            session.notify(handler.event, "second")
            session.notify(handler.stop_event, "stop")
            user.run("SELECT 1")  # reads both

    handler = documented(callback)
    handler.listen()
    handler.notify(payload="first")

    handler()

    assert payloads == ["first", "second", "stop"]


def test_a_callback_that_raises_loses_nothing(documented, record, user):
    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["extra"] == "bad":
            raise LookupError("of the user's")

    handler = documented(callback, timeout=0)
    handler.listen()
    for payload in ("good", "bad", "third", "fourth"):
        handler.notify(payload=payload)

    with pytest.raises(LookupError, match="of the user's"):
        handler()
    after_the_error = record.payloads, handler.listening, user.listened_to
    handler.notify(payload="newer")
    handler()

    assert after_the_error == (["good", "bad"], True, {handler.event, handler.stop_event})
    assert record.payloads == ["good", "bad", "third", "fourth", "newer"]


def test_a_callback_that_raises_at_a_stop_finds_it_unlistened(documented, user):
    def callback(arg_dict):
        raise LookupError(arg_dict["extra"])

    handler = documented(callback)
    handler.listen()
    handler.notify(stop=True, payload="stop")

    with pytest.raises(LookupError, match="stop"):
        handler()

    assert handler.listening is False
    assert user.listened_to == set()


def test_a_callback_that_raises_after_a_timeout_finds_it_unlistened(documented, user):
    def callback(arg_dict):
        raise LookupError(arg_dict)

    handler = documented(callback, timeout=0.01)

    with pytest.raises(LookupError, match="None"):
        handler()

    assert handler.listening is False
    assert user.listened_to == set()


def test_the_callback_gets_the_same_dict_each_time(documented):
    kept = []
    handler = documented(kept.append, timeout=0)
    handler.listen()
    handler.notify(payload="1")
    handler.notify(payload="2")

    handler()

    assert kept[0] is kept[1] is handler.arg_dict
    assert handler.arg_dict["extra"] == "2"


def test_a_callback_may_unlisten_and_nothing_more_is_delivered(documented, record, user):
    def callback(arg_dict):
        record(arg_dict)
        handler.unlisten()

    handler = documented(callback)
    handler.listen()
    handler.notify(payload="1")
    handler.notify(payload="2")

    handler()

    assert record.payloads == ["1"]
    assert user.listened_to == set()
    handler()
    assert record.payloads == ["1", "2"]


def test_a_callback_may_close_and_nothing_more_is_delivered(documented, record):
    def callback(arg_dict):
        record(arg_dict)
        handler.close()

    handler = documented(callback)
    handler.listen()
    handler.notify(payload="1")
    handler.notify(payload="2")

    handler()
    handler()

    assert record.payloads == ["1"]
    assert handler.db is None


def test_a_callback_may_stop_and_the_next_call_delivers_the_rest(documented, record, user):
    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["extra"] != "2":
            handler.stop()

    handler = documented(callback, timeout=0)
    handler.listen()
    for payload in ("1", "2", "3"):
        handler.notify(payload=payload)

    handler()
    at_the_stop = record.payloads, handler.listening, user.listened_to
    handler()

    assert at_the_stop == (["1"], False, set())
    assert record.payloads == ["1", "2", "3"]


def test_a_callback_may_notify_on_the_same_connection(documented, record):
    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["event"] == handler.event:
            handler.notify(stop=True, payload="enough")

    handler = documented(callback)
    handler.listen()
    handler.notify(payload="1")

    handler()

    assert record.payloads == ["1", "enough"]


def test_a_callback_may_call_the_handler_and_each_notification_is_delivered_once(documented, record):
    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["extra"] == "2":
            handler()

    handler = documented(callback, timeout=0)
    handler.listen()
    for payload in ("1", "2", "3", "4"):
        handler.notify(payload=payload)

    handler()

    assert record.payloads == ["1", "2", "3", "4"]
    assert handler.listening is True
