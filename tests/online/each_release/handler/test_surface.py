"""The documented surface of NotificationHandler, on each kind of connection."""

import enum

import pytest

import pgnotify
from tests.helpers.handlers import Recorder
from tests.helpers.threads import Background, waits
from tests.helpers.waiting import eventually


def test_the_arguments_may_be_positional_and_are_kept_as_attributes(db, handler_front):
    callback, arg_dict = Recorder(), {"of": "mine"}

    handler = handler_front.make(db, "jobs", callback, arg_dict, 5, "enough")

    assert handler.db is db
    assert handler.event == "jobs"
    assert handler.callback is callback
    assert handler.arg_dict is arg_dict
    assert handler.timeout == 5
    assert handler.stop_event == "enough"
    assert handler.listening is False


def test_the_arguments_may_be_keywords(db, handler_front):
    callback, arg_dict = Recorder(), {}

    handler = handler_front.make(
        db=db, event="jobs", callback=callback, arg_dict=arg_dict, timeout=0.5, stop_event="enough"
    )

    assert (handler.db, handler.event, handler.callback) == (db, "jobs", callback)
    assert (handler.timeout, handler.stop_event) == (0.5, "enough")
    assert handler.arg_dict is arg_dict


def test_the_defaults_are_a_new_dict_no_timeout_and_a_derived_stop_event(db, documented):
    one, another = documented(event="jobs"), documented(event="jobs")

    assert one.arg_dict == {}
    assert one.arg_dict is not another.arg_dict
    assert one.timeout is None
    assert one.stop_event == "stop_jobs"


def test_making_a_handler_sends_nothing(user, documented):
    user.begin()

    handler = documented()

    user.commit()
    assert handler.listening is False
    assert user.listened_to == set()


def test_listen_brings_both_channels_into_force_and_unlisten_ends_both(user, documented):
    handler = documented()

    handler.listen()
    in_force = handler.listening, user.listened_to
    handler.unlisten()

    assert in_force == (True, {handler.event, handler.stop_event})
    assert handler.listening is False
    assert user.listened_to == set()


def test_listen_and_unlisten_do_nothing_if_there_is_nothing_to_do(user, documented):
    handler = documented()
    handler.listen()

    user.begin()  # where to send anything would be refused
    handler.listen()
    user.commit()
    handler.unlisten()
    user.begin()
    handler.unlisten()
    user.commit()

    assert user.listened_to == set()


def test_listening_is_false_until_the_listens_are_in_force(user, documented):
    handler = documented()
    user.begin()

    with pytest.raises(pgnotify.TransactionError):
        handler.listen()

    assert handler.listening is False
    user.commit()


def test_a_notification_is_put_into_the_dict_and_the_callback_called_with_it(documented, session):
    seen = []
    mine = {"of": "mine"}
    handler = documented(lambda arg_dict: seen.append((arg_dict is mine, dict(arg_dict))), mine)
    handler.listen()

    session.notify(handler.event, "first")
    session.notify(handler.event)
    session.notify(handler.stop_event, "last")
    handler()

    assert seen == [
        (True, {"of": "mine", "pid": session.pid, "event": handler.event, "extra": "first"}),
        (True, {"of": "mine", "pid": session.pid, "event": handler.event, "extra": ""}),
        (True, {"of": "mine", "pid": session.pid, "event": handler.stop_event, "extra": "last"}),
    ]
    assert [type(mine[key]) for key in ("pid", "event", "extra")] == [int, str, str]


def test_a_call_listens_by_itself(documented, record, session):
    handler = documented(timeout=None)

    loop = Background(handler)
    eventually(lambda: handler.listening)
    session.notify(handler.event, "heard")
    session.notify(handler.stop_event)
    loop.ended()

    assert record.payloads == ["heard", ""]


def test_a_stop_is_unlistened_before_the_callback_sees_it(user, documented, session):
    seen = []
    handler = documented(lambda arg_dict: seen.append((arg_dict["event"], handler.listening, user.listened_to)))
    handler.listen()

    session.notify(handler.event)
    session.notify(handler.stop_event)
    handler()

    both = {handler.event, handler.stop_event}
    assert seen == [(handler.event, True, both), (handler.stop_event, False, set())]


def test_the_loop_ends_with_a_stop_and_may_be_called_again(documented, record, session):
    handler = documented()

    for payload in ("first", "second"):
        handler.listen()
        session.notify(handler.event, payload)
        session.notify(handler.stop_event)
        handler()

    assert record.payloads == ["first", "", "second", ""]


def test_without_a_timeout_the_loop_waits_until_something_comes(documented, record, session):
    handler = documented(timeout=None)
    loop = Background(handler)

    eventually(lambda: waits(loop))
    session.notify(handler.event, "at last")
    eventually(lambda: record.payloads == ["at last"])
    eventually(lambda: waits(loop))

    assert loop.is_alive()
    session.notify(handler.stop_event)
    loop.ended()


def test_a_timeout_unlistens_and_calls_back_with_none_and_ends(user, documented):
    seen = []
    handler = documented(lambda arg_dict: seen.append((arg_dict, handler.listening, user.listened_to)))
    handler.timeout = 0.01

    handler()

    assert seen == [(None, False, set())]
    assert handler.listening is False


def test_after_a_timeout_the_handler_may_be_called_again(documented, record, session):
    handler = documented(timeout=0.01)
    handler()
    handler.timeout = None

    handler.listen()
    session.notify(handler.event, "late")
    session.notify(handler.stop_event)
    handler()

    assert record.payloads == [None, "late", ""]


def test_a_timeout_of_zero_polls_and_keeps_listening(user, documented, record, session):
    handler = documented(timeout=0)

    handler()

    assert record == []
    assert handler.listening is True
    assert user.listened_to == {handler.event, handler.stop_event}
    session.notify(handler.event, "there")
    eventually(lambda: handler() or record.payloads == ["there"])
    assert handler.listening is True


def test_a_timeout_of_zero_unlistens_after_a_stop(user, documented, record, session):
    handler = documented(timeout=0)
    handler.listen()
    session.notify(handler.event, "there")
    session.notify(handler.stop_event, "stop")
    user.run("SELECT 1")  # so that both have arrived

    handler()

    assert record.payloads == ["there", "stop"]
    assert handler.listening is False
    assert user.listened_to == set()


def test_a_timeout_of_zero_never_waits(handler_front, documented, record, monkeypatch):
    handler = documented(timeout=0)
    handler.listen()
    handler.notify(payload="there")
    handler_front.around_waits(monkeypatch, before=lambda timeout: pytest.fail("it waits"))

    handler()

    assert record.payloads == ["there"]


def test_close_unlistens_closes_the_connection_and_forgets_it(user, documented, session):
    handler = documented()
    handler.listen()
    pid = user.pid

    handler.close()

    assert handler.db is None
    assert handler.listening is False
    eventually(lambda: not session.sql(f"SELECT FROM pg_stat_activity WHERE pid = {pid}"))


def test_close_may_be_called_twice_and_a_closed_handler_returns_at_once(documented, record):
    handler = documented()
    handler.close()

    handler.close()
    handler()

    assert record == []
    assert handler.listening is False


def test_a_wrapped_connection_makes_handlers(db, channel, record, session, handler_front):
    wrapped, arg_dict = handler_front.wrap(db), {}

    with wrapped.notification_handler(channel, record, arg_dict, 20, "enough") as handler:
        handler.listen()
        session.notify(channel, "made")
        session.notify("enough")
        handler()

    assert repr(handler).startswith(f"<{handler_front.handler_class.__name__} ")
    assert handler.arg_dict is arg_dict
    assert (handler.event, handler.callback, handler.timeout, handler.stop_event) == (channel, record, 20, "enough")
    assert record.payloads == ["made", ""]


def test_a_member_of_an_enum_is_an_event_by_its_value(db, channel, record, handler_front):
    event = enum.Enum("Event", {"JOBS": channel}, type=str)

    with handler_front.wrap(db).connection_handler(event.JOBS, record) as handler:
        handler.listen()
        handler.notify(payload=event.JOBS)
        handler.notify(stop=True)
        handler()

    assert handler.stop_event == f"stop_{channel}"
    assert [(each["event"], each["extra"]) for each in record] == [(channel, channel), (f"stop_{channel}", "")]
    assert {type(text) for each in record for text in (each["event"], each["extra"])} == {str}


def test_a_with_statement_closes_at_the_end(db, user, channel, record, session, handler_front):
    pid = user.pid

    with handler_front.make(db, channel, record) as handler:
        handler.listen()

    assert handler.db is None
    eventually(lambda: not session.sql(f"SELECT FROM pg_stat_activity WHERE pid = {pid}"))
