"""The documented handler on a backend in memory: its surface, its edges, threads, signals, forks, deletion."""

from __future__ import annotations

import gc
import inspect
import math
import os
import random
import signal
import threading
import traceback
import warnings
from contextlib import suppress

import pytest

import pgnotify
from pgnotify import (
    ChannelError,
    ConnectionLost,
    HandlerClosed,
    NotificationHandler,
    PayloadError,
    TransactionError,
    UnexpectedNotification,
)
from pgnotify.testing.nasty import BAD_CHANNELS, BAD_PAYLOADS, GOOD_CHANNELS, GOOD_PAYLOADS
from tests.helpers.canned import CannedError
from tests.helpers.handlers import Recorder
from tests.helpers.notifications import note
from tests.helpers.threads import Running

UNLISTENING = [("unlisten", "jobs"), ("unlisten", "stop_jobs")]
LISTENING = [("listen", "jobs"), ("listen", "stop_jobs")]


STOP = note(channel="stop_jobs")


def handler_on(backend, callback=print, **settings):
    return NotificationHandler(backend, "jobs", callback, **settings)


@pytest.fixture
def received():
    return Recorder()


@pytest.fixture
def poll(backend, received):
    """A handler that polls."""
    return handler_on(backend, received, timeout=0)


@pytest.fixture
def handler(backend, received):
    """A handler that waits for ever."""
    made = handler_on(backend, received)
    yield made
    made.close()


@pytest.fixture
def waiting(handler, backend):
    """The loop of `handler`, waiting in another thread."""
    loop = Running(handler)
    assert backend.waiting.wait(10)
    yield loop
    handler.stop()
    loop.ended()


# Surface


def test_all_arguments_are_positional_in_the_documented_order(backend, received):
    arg_dict = {}

    handler = NotificationHandler(backend, "jobs", received, arg_dict, 5, "enough")

    assert handler.db is backend
    assert handler.event == "jobs"
    assert handler.callback is received
    assert handler.arg_dict is arg_dict
    assert handler.timeout == 5
    assert handler.stop_event == "enough"
    assert handler.listening is False


def test_all_arguments_are_keywords(backend, received):
    handler = NotificationHandler(
        db=backend, event="jobs", callback=received, arg_dict=None, timeout=None, stop_event=None
    )

    assert handler.event == "jobs"


def test_the_defaults_are_the_documented_ones(backend, received):
    handler = NotificationHandler(backend, "jobs", received)

    assert handler.arg_dict == {}
    assert handler.timeout is None
    assert handler.stop_event == "stop_jobs"


def test_an_empty_stop_event_means_the_default_one(backend):
    assert handler_on(backend, stop_event="").stop_event == "stop_jobs"


def test_each_handler_has_an_arg_dict_of_its_own(backend, received):
    assert handler_on(backend).arg_dict is not handler_on(backend).arg_dict


def test_an_empty_arg_dict_is_kept_and_not_replaced(backend):
    arg_dict = {}

    assert handler_on(backend, arg_dict=arg_dict).arg_dict is arg_dict


def test_making_a_handler_sends_nothing(backend):
    handler_on(backend)

    assert backend.calls == []


@pytest.mark.parametrize("name", ["db", "event", "stop_event", "listening"])
def test_what_the_loop_depends_on_cannot_be_set(poll, name):
    with pytest.raises(AttributeError):
        setattr(poll, name, "other")


def test_the_timeout_can_be_set_and_is_checked(poll):
    poll.timeout = 3

    with pytest.raises(ValueError, match="timeout must be None, 0 or positive seconds, not -1"):
        poll.timeout = -1

    assert poll.timeout == 3


def test_the_callback_and_the_arg_dict_can_be_set(poll, backend):
    poll()
    poll.callback, poll.arg_dict = Recorder(), {"my": "own"}
    backend.arrive(note("1"))

    poll()

    assert poll.callback == [{"my": "own", "pid": 7, "event": "jobs", "extra": "1"}]


@pytest.mark.parametrize("factory", ["notification_handler", "connection_handler"])
def test_a_connection_makes_a_handler_on_itself(backend, received, factory):
    connection = pgnotify.Connection(object(), backend)

    handler = getattr(connection, factory)("jobs", received, timeout=0)

    assert handler.db is connection
    handler()
    assert backend.listened == {"jobs", "stop_jobs"}


def test_both_names_of_the_factory_take_what_the_handler_takes(backend):
    of_handler, *of_factories = (
        list(inspect.signature(function).parameters.values())[1:]
        for function in (
            NotificationHandler,
            pgnotify.Connection.notification_handler,
            pgnotify.Connection.connection_handler,
        )
    )

    assert of_factories == [of_handler, of_handler]


def test_a_factory_of_a_subclass_is_used_by_both_names(backend):
    class Mine(pgnotify.Connection):
        def notification_handler(self, *arguments):
            return arguments

    assert Mine(object(), backend).connection_handler("jobs", print) == ("jobs", print, None, None, None)


def test_a_connection_keeps_its_own_methods_of_these_names(backend):
    own = type("Own", (), {"connection_handler": "own", "notification_handler": "own, too"})()

    connection = pgnotify.Connection(own, backend)

    assert (connection.connection.connection_handler, connection.connection.notification_handler) == ("own", "own, too")


def test_the_repr_tells_the_event_and_the_state(poll):
    assert repr(poll) == "<NotificationHandler event='jobs' idle>"


# Bad input: refused before anything is sent.


@pytest.mark.parametrize("timeout", [-1, -0.5, math.nan])
def test_a_timeout_that_makes_no_sense_is_refused(backend, timeout):
    with pytest.raises(ValueError, match="timeout must be"):
        handler_on(backend, timeout=timeout)


def test_a_timeout_that_is_no_number_is_refused(backend):
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not str"):
        handler_on(backend, timeout="5")


@pytest.mark.parametrize("channel", BAD_CHANNELS, ids=ascii)
def test_a_bad_event_is_refused(backend, channel):
    with pytest.raises(ChannelError, match=r"^event "):
        NotificationHandler(backend, channel, print)

    assert backend.calls == []


@pytest.mark.parametrize("channel", [bad for bad in BAD_CHANNELS if bad], ids=ascii)
def test_a_bad_stop_event_is_refused(backend, channel):
    with pytest.raises(ChannelError, match=r"^stop_event "):
        handler_on(backend, stop_event=channel)


def test_a_derived_stop_event_that_is_too_long_is_refused(backend):
    with pytest.raises(ChannelError, match=r"^stop_event 'stop_x.*' has 64 bytes, PostgreSQL keeps 63$"):
        NotificationHandler(backend, "x" * 59, print)

    assert backend.calls == []


def test_a_derived_stop_event_that_just_fits_is_taken(backend):
    assert NotificationHandler(backend, "x" * 58, print).stop_event == "stop_" + "x" * 58


@pytest.mark.parametrize("channel", [good for good in GOOD_CHANNELS if len(good.encode()) <= 58], ids=ascii)
def test_a_good_event_is_listened_to_as_written(backend, received, channel):
    handler = NotificationHandler(backend, channel, received, timeout=0)

    handler()

    assert backend.listened == {channel, f"stop_{channel}"}


@pytest.mark.parametrize("payload", BAD_PAYLOADS, ids=lambda payload: f"{payload[:5]!a} of {len(payload)}")
def test_a_bad_payload_is_refused(poll, backend, payload):
    with pytest.raises(PayloadError):
        poll.notify(payload=payload)

    assert backend.calls == []


@pytest.mark.parametrize("payload", GOOD_PAYLOADS, ids=lambda payload: f"{payload[:5]!a} of {len(payload)}")
def test_a_good_payload_arrives_as_written(poll, received, payload):
    poll.listen()
    poll.notify(payload=payload)

    poll()

    assert received == [{"pid": 7, "event": "jobs", "extra": payload}]


def test_an_object_that_is_no_connection_is_refused():
    with pytest.raises(pgnotify.UnknownBackend):
        NotificationHandler(object(), "jobs", print)


def test_an_init_that_raised_leaves_nothing_to_delete(backend):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for settings in ({"timeout": -1}, {"stop_event": "\0"}):
            with pytest.raises(ValueError, match=r"must be None|has a NUL"):
                handler_on(backend, **settings)
        gc.collect()


# The loop


def test_the_callback_gets_pid_event_and_extra(poll, backend, received):
    backend.arrive(note("it's"), note())

    poll()

    assert received == [
        {"pid": 7, "event": "jobs", "extra": "it's"},
        {"pid": 7, "event": "jobs", "extra": ""},
    ]


def test_the_callback_gets_the_very_arg_dict_with_what_else_is_in_it(backend):
    arg_dict = {"my": "own"}
    seen = []
    backend.arrive(note("1"), note("2"))

    handler_on(backend, seen.append, arg_dict=arg_dict, timeout=0)()

    assert [each is arg_dict for each in seen] == [True, True]
    assert arg_dict == {"my": "own", "pid": 7, "event": "jobs", "extra": "2"}


def test_a_poll_keeps_listening(poll, backend):
    poll()
    poll()

    assert poll.listening
    assert backend.calls == [*LISTENING, ("fetch",), ("fetch",)]


def test_a_stop_notification_is_unlistened_and_delivered(handler, backend, received):
    received.then = lambda: received.append(handler.listening)
    backend.arrive(STOP)

    handler()

    assert received == [{"pid": 7, "event": "stop_jobs", "extra": ""}, False]
    assert backend.listened == set()


def test_a_timeout_unlistens_and_calls_with_none(backend, received):
    handler = handler_on(backend, received, timeout=0.01)

    handler()

    assert received == [None]
    assert backend.calls[-2:] == UNLISTENING


def test_more_than_one_batch_is_delivered_in_order(poll, backend, received):
    backend.batch_size = 7
    backend.arrive(*(note(str(number)) for number in range(100)))

    poll()

    assert received.payloads == [str(number) for number in range(100)]


def test_a_third_channel_is_an_error_with_the_documented_text(poll, backend, received):
    backend.arrive(note("1"), note("x", "other"), note("2"))

    with pytest.raises(UnexpectedNotification) as caught:
        poll()

    assert str(caught.value) == 'Listening for "jobs" and "stop_jobs", but notified of "other"'
    assert isinstance(caught.value, CannedError)
    assert received.payloads == ["1"]
    assert not poll.listening


def test_what_came_behind_a_third_channel_is_delivered_by_the_next_call(poll, backend, received):
    backend.arrive(note("x", "other"), note("2"))
    with pytest.raises(UnexpectedNotification):
        poll()

    poll()

    assert received.payloads == ["2"]


def test_a_callback_that_raises_leaves_the_rest_for_the_next_call(poll, backend, received):
    backend.arrive(note("1"), note("2"), note("3"))
    received.then = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        poll()
    assert poll.listening

    received.then = lambda: None
    poll()

    assert received.payloads == ["1", "2", "3"]


@pytest.mark.parametrize("error", [StopIteration(5), GeneratorExit(), KeyboardInterrupt(), ConnectionLost("theirs")])
def test_any_error_of_the_callback_passes_through_as_it_is(poll, backend, received, error):
    def fail():
        raise error

    received.then = fail
    backend.arrive(note("1"), note("2"))
    caught = None
    try:
        poll()
    except BaseException as passed:
        caught = passed

    assert caught is error
    assert poll.listening
    received.then = lambda: None
    poll()
    assert received.payloads == ["1", "2"]


def test_a_lost_connection_is_raised_after_the_last_notification(poll, backend, received):
    poll.listen()
    backend.arrive(note("the last"))
    backend.during("fetch", ConnectionLost("gone"), nth=2)

    with pytest.raises(ConnectionLost, match="gone"):
        poll()

    assert received.payloads == ["the last"]
    assert not poll.listening


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TransactionError("in the way")])
def test_what_was_unlistened_by_half_is_listened_to_again_by_the_next_call(poll, backend, error):
    poll.listen()
    backend.during("unlisten", error, nth=2)
    with pytest.raises(type(error)):
        poll.unlisten()

    poll()

    assert backend.listened == {"jobs", "stop_jobs"}


# psycopg2 is in C when Ctrl-C comes: KeyboardInterrupt is raised when the command has been carried
# out. Whether it is in force is not known then: `listen` must listen again, `unlisten` must unlisten again.
@pytest.mark.parametrize("nth", [1, 2])
def test_an_unlisten_that_was_interrupted_when_it_had_been_carried_out_leaves_no_deaf_handler(poll, backend, nth):
    poll.listen()
    backend.interrupt_after("unlisten", nth)
    with pytest.raises(KeyboardInterrupt):
        poll.unlisten()

    poll()

    assert poll.listening
    assert backend.listened == {"jobs", "stop_jobs"}


@pytest.mark.parametrize("nth", [1, 2])
def test_a_listen_that_was_interrupted_when_it_had_been_carried_out_leaves_nothing_listened_to(poll, backend, nth):
    backend.interrupt_after("listen", nth)

    with pytest.raises(KeyboardInterrupt):
        poll.listen()

    assert not poll.listening
    assert backend.listened == set()


@pytest.mark.parametrize("error", [TransactionError("in the way"), KeyboardInterrupt()])
def test_a_second_listen_that_fails_takes_the_first_back(poll, backend, error):
    backend.during("listen", error, nth=2)

    with pytest.raises(type(error)):
        poll()

    assert not poll.listening
    assert backend.listened == set()


# notify


def test_notify_sends_on_the_event(poll, backend):
    poll.notify()
    poll.notify(payload="1")
    poll.notify(payload="")

    assert backend.sent == [("jobs", ""), ("jobs", "1"), ("jobs", "")]


def test_notify_with_stop_sends_on_the_stop_event(poll, backend):
    poll.notify(stop=True, payload="enough")

    assert backend.sent == [("stop_jobs", "enough")]


def test_notify_takes_its_arguments_in_the_documented_order(poll, backend, canned):
    other = canned()

    poll.notify(other, True, "enough")

    assert other.sent == [("stop_jobs", "enough")]
    assert backend.sent == []


def test_notify_through_its_own_connection_is_the_same_as_without(poll, backend):
    poll.notify(backend, payload="1")

    assert backend.sent == [("jobs", "1")]


def test_notify_does_not_need_to_be_listening(poll, backend):
    poll.notify(payload="1")

    assert backend.verbs() == ["notify"]


# listen, unlisten, close


def test_listen_and_unlisten_do_nothing_the_second_time(poll, backend):
    poll.listen()
    poll.listen()
    assert poll.listening
    poll.unlisten()
    poll.unlisten()
    assert not poll.listening

    assert backend.calls == LISTENING + UNLISTENING


def test_close_unlistens_and_closes_the_connection(poll, backend):
    poll.listen()

    poll.close()

    assert backend.calls[2:] == [*UNLISTENING, ("close",)]
    assert poll.db is None
    assert not poll.listening


def test_closing_twice_does_nothing_the_second_time(poll, backend):
    poll.close()
    poll.close()

    assert backend.calls == [("close",)]


@pytest.mark.parametrize("error", [TransactionError("in the way"), ConnectionLost("gone")])
def test_close_closes_though_it_cannot_unlisten(poll, backend, error):
    poll.listen()
    backend.during("unlisten", error)

    poll.close()

    assert backend.closed
    assert poll.db is None


def test_a_close_that_fails_is_closed(poll, backend):
    backend.during("close", OSError("no way to close"))

    with pytest.raises(OSError, match="no way to close"):
        poll.close()

    assert poll.db is None


@pytest.fixture
def closed(poll, backend):
    poll.close()
    backend.calls.clear()
    yield poll
    assert backend.calls == []


def test_calling_a_closed_handler_returns_at_once(closed):
    assert closed() is None


def test_listen_on_a_closed_handler_is_an_error(closed):
    with pytest.raises(HandlerClosed, match=r"^the handler for 'jobs' is closed$"):
        closed.listen()


def test_notify_on_a_closed_handler_is_an_error(closed):
    with pytest.raises(HandlerClosed):
        closed.notify()


def test_notify_through_another_connection_needs_none_of_its_own(closed, canned):
    other = canned()

    closed.notify(other, payload="1")

    assert other.sent == [("jobs", "1")]


def test_unlisten_close_and_stop_on_a_closed_handler_do_nothing(closed):
    closed.unlisten()
    closed.close()
    closed.stop()


def test_a_with_statement_closes(backend, received):
    with handler_on(backend, received, timeout=0) as handler:
        handler()
        assert handler.listening

    assert handler.db is None
    assert backend.closed


def test_a_with_statement_closes_after_an_error(backend, received):
    received.then = lambda: 1 / 0
    backend.arrive(note("1"))

    with pytest.raises(ZeroDivisionError), handler_on(backend, received, timeout=0) as handler:
        handler()

    assert backend.closed


# Within the callback


def test_a_callback_that_unlistens_ends_the_loop_after_the_current_notification(handler, backend, received):
    received.then = handler.unlisten
    backend.arrive(note("1"), note("2"))

    handler()

    assert received.payloads == ["1"]
    assert backend.listened == set()


def test_what_was_left_when_the_callback_unlistened_is_delivered_by_the_next_call(poll, backend, received):
    received.then = poll.unlisten
    backend.arrive(note("1"), note("2"))
    poll()

    received.then = lambda: None
    poll()

    assert received.payloads == ["1", "2"]


def test_a_callback_that_closes_ends_the_loop(handler, backend, received):
    received.then = handler.close
    backend.arrive(note("1"), note("2"))

    handler()

    assert received.payloads == ["1"]
    assert handler.db is None
    assert backend.closed


def test_a_callback_that_stops_ends_the_loop(handler, backend, received):
    received.then = handler.stop
    backend.arrive(note("1"), note("2"))

    handler()

    assert received.payloads == ["1"]
    assert backend.listened == set()


def test_a_callback_that_unlistens_and_listens_goes_on(poll, backend, received):
    def start_anew():
        poll.unlisten()
        poll.listen()

    received.then = start_anew
    backend.arrive(note("1"), note("2"))

    poll()

    assert received.payloads == ["1", "2"]
    assert backend.listened == {"jobs", "stop_jobs"}


def test_a_callback_that_listens_changes_nothing(poll, backend, received):
    received.then = poll.listen
    backend.arrive(note("1"), note("2"))

    poll()

    assert backend.verbs().count("listen") == 2


def test_a_callback_that_notifies_sends_at_once(poll, backend, received):
    received.then = lambda: len(received) < 3 and poll.notify(payload=f"after {len(received)}")
    backend.arrive(note("1"))

    poll()

    assert received.payloads == ["1", "after 1", "after 2"]


def test_a_callback_that_calls_the_handler_has_the_rest_delivered_inside(poll, backend, received):
    depths = []

    def call_again():
        received.then = lambda: None
        poll()
        depths.append(len(received))

    received.then = call_again
    backend.arrive(note("1"), note("2"), note("3"))

    poll()

    assert received.payloads == ["1", "2", "3"]
    assert depths == [3]


def test_a_stop_within_a_nested_call_ends_both(handler, backend, received):
    def call_again():
        received.then = lambda: None
        handler()

    received.then = call_again
    backend.arrive(note("1"), STOP, note("2"))

    handler()

    assert received.payloads == ["1", ""]
    assert not handler.listening


def test_a_callback_of_a_timeout_may_call_the_handler_again(backend, received):
    handler = handler_on(backend, received, timeout=0.01)
    received.then = lambda: len(received) < 3 and handler()

    handler()

    assert received == [None, None, None]


def test_a_callback_that_sets_the_timeout_to_zero_ends_with_what_is_there(handler, backend, received):
    def be_quick():
        handler.timeout = 0

    received.then = be_quick
    backend.arrive(note("1"), note("2"))

    handler()

    assert received.payloads == ["1", "2"]
    assert handler.listening


# Stop


def test_a_stop_before_the_start_ends_the_next_call_at_once(handler, backend):
    handler.stop()

    handler()

    assert backend.calls == []


def test_many_stops_end_one_call(poll, backend):
    for _ in range(5):
        poll.stop()
    poll()

    poll()

    assert poll.listening


@pytest.mark.parametrize("last", [STOP, None])
def test_a_stop_in_the_last_callback_does_not_end_the_next_call(backend, received, last):
    handler = handler_on(backend, received, timeout=0.01)
    received.then = handler.stop
    if last is not None:
        backend.arrive(last)
    handler()
    received.then = lambda: None
    backend.arrive(note("1"))

    handler()

    assert received.payloads == [last and "", "1", None]


# Other threads


def test_a_notification_that_comes_while_the_loop_waits_is_delivered(waiting, backend, received):
    heard = threading.Event()
    received.then = heard.set

    backend.arrive(note("1"))

    assert heard.wait(10)


def test_calling_a_handler_that_runs_in_another_thread_is_an_error(waiting, handler):
    with pytest.raises(RuntimeError, match=f"^this handler is already running, in thread {waiting.ident}$"):
        handler()


def test_a_signal_handler_cannot_call_the_handler_while_the_driver_works(backend):
    backend.fetch = lambda: handler()  # in there a signal handler calls it
    handler = handler_on(backend, Recorder(), timeout=0)

    with pytest.raises(RuntimeError, match=f"^this handler is already running, in thread {threading.get_ident()}$"):
        handler()

    handler.close()


def test_a_stop_from_another_thread_ends_the_wait(waiting, handler, backend, received):
    handler.stop()

    waiting.ended()

    assert received == []
    assert backend.listened == set()


def test_an_unlisten_from_another_thread_ends_the_wait(waiting, handler, backend):
    handler.unlisten()

    assert backend.listened == set()
    waiting.ended()


def test_a_close_from_another_thread_ends_the_wait_and_returns_when_it_is_done(waiting, handler, backend):
    handler.close()

    assert backend.closed
    assert handler.db is None
    waiting.ended()


def test_a_notify_from_another_thread_is_sent_and_the_loop_goes_on(waiting, handler, backend, received):
    heard = threading.Event()
    received.then = heard.set

    handler.notify(payload="1")

    assert backend.sent == [("jobs", "1")]
    assert heard.wait(10)
    assert waiting.is_alive()


def test_only_the_thread_of_the_loop_touches_the_connection(waiting, handler, backend):
    handler.notify()
    handler.notify(backend)
    handler.unlisten()
    waiting.ended()

    assert set(backend.callers) == {waiting.ident}


def test_an_error_is_raised_in_the_thread_that_asked(waiting, handler, backend):
    backend.during("unlisten", TransactionError("in the way"))

    with pytest.raises(TransactionError, match="in the way"):
        handler.unlisten()

    assert handler.listening
    assert waiting.is_alive()


def test_a_lost_connection_is_raised_in_both_threads(handler, backend):
    loop = Running(handler)
    assert backend.waiting.wait(10)
    backend.during("notify", ConnectionLost("gone"))

    with pytest.raises(ConnectionLost, match="gone"):
        handler.notify()
    with pytest.raises(ConnectionLost, match="gone"):
        loop.ended()


class Busy:
    """A loop that is in its callback until it is released."""

    def __init__(self, handler, backend, received):
        self.entered, self.leave = threading.Event(), threading.Event()
        self.handler = handler
        self.then = lambda: None
        """What the callback does when it is released."""
        received.then = self._while_listening
        backend.arrive(note("1"), note("2"))
        self.loop = Running(handler)
        assert self.entered.wait(10)

    def _while_listening(self):
        self.entered.set()
        assert self.leave.wait(10)
        self.then()

    def asked_by_another_thread(self, function):
        """Have another thread call a function, and return when it has put its command."""
        put = threading.Event()
        request = self.handler._request

        def request_and_tell(command):
            request(command)
            put.set()

        self.handler._request = request_and_tell
        asking = Running(function)
        assert put.wait(10)
        del self.handler._request
        return asking


@pytest.fixture
def busy(handler, backend, received):
    made = Busy(handler, backend, received)
    yield made
    made.leave.set()
    handler.stop()
    with suppress(ZeroDivisionError):  # the test's own
        made.loop.ended()


def test_a_stop_while_the_callback_runs_ends_the_loop_after_it(busy, handler, received):
    handler.stop()
    busy.leave.set()

    busy.loop.ended()

    assert received.payloads == ["1"]


@pytest.mark.parametrize("method", ["unlisten", "close"])
def test_what_ends_the_loop_waits_for_the_callback(busy, handler, backend, received, method):
    asking = busy.asked_by_another_thread(getattr(handler, method))
    assert asking.is_alive()
    busy.leave.set()

    asking.ended()
    busy.loop.ended()

    assert received.payloads == ["1"]
    assert backend.listened == set()
    assert backend.closed is (method == "close")


def test_a_notify_while_the_callback_runs_is_sent_after_it(busy, handler, backend):
    asking = busy.asked_by_another_thread(lambda: handler.notify(payload="3"))
    assert backend.sent == []
    busy.leave.set()

    asking.ended()

    assert backend.sent == [("jobs", "3")]


@pytest.mark.parametrize("callback", ["raises", "closes", "unlistens"])
def test_who_has_asked_is_answered_however_the_loop_ends(busy, handler, callback):
    asking = busy.asked_by_another_thread(handler.unlisten)
    busy.then = {"raises": lambda: 1 / 0, "closes": handler.close, "unlistens": handler.unlisten}[callback]
    busy.leave.set()

    asking.ended()
    assert not handler.listening


def test_who_has_asked_behind_one_that_fails_is_answered_though_the_loop_has_ended(busy, handler, backend):
    first = busy.asked_by_another_thread(handler.notify)
    second = busy.asked_by_another_thread(handler.unlisten)
    backend.during("notify", ConnectionLost("gone"))
    busy.then = lambda: 1 / 0
    busy.leave.set()

    with pytest.raises(ConnectionLost, match="gone"):
        first.ended()
    second.ended()
    with pytest.raises(ConnectionLost, match="gone"):
        busy.loop.ended()


def test_a_lost_connection_is_raised_in_all_threads_and_left_by_them(busy, handler, backend):
    for nth in range(1, 5):
        backend.during("notify", ConnectionLost(f"gone {nth}"), nth)
    asking = [busy.asked_by_another_thread(handler.notify) for _ in range(4)]

    busy.leave.set()

    for each in asking:
        with pytest.raises(ConnectionLost, match="gone"):
            each.ended()
    with pytest.raises(ConnectionLost, match="gone"):
        busy.loop.ended()
    Running(handler.close).ended()
    assert backend.closed


@pytest.mark.parametrize("method", ["notify", "listen"])
def test_who_asks_behind_a_close_is_told_that_the_handler_is_closed(busy, handler, backend, method):
    if method == "listen":
        busy.asked_by_another_thread(handler.unlisten)
    closing = busy.asked_by_another_thread(handler.close)
    asking = busy.asked_by_another_thread(lambda: handler._do(lambda: _program_of(handler, method)))
    busy.leave.set()

    closing.ended()
    with pytest.raises(HandlerClosed):
        asking.ended()
    busy.loop.ended()


def _program_of(handler, method):
    from pgnotify.program import verbs

    return verbs.listen(handler._watch) if method == "listen" else verbs.notify(handler._watch, "jobs", "")


def test_two_threads_may_close_at_once(busy, handler, backend):
    first = busy.asked_by_another_thread(handler.close)
    second = busy.asked_by_another_thread(handler.close)
    busy.leave.set()

    first.ended()
    second.ended()

    assert backend.verbs().count("close") == 1


@pytest.mark.parametrize("method", ["notify", "listen"])
def test_a_call_waits_for_another_thread_that_only_sends_or_listens(poll, backend, method):
    poll()
    poll.unlisten()
    begun, go_on = threading.Event(), threading.Event()
    backend.during(method, lambda: (begun.set(), go_on.wait(10)))
    using = Running(getattr(poll, method))
    assert begun.wait(10)

    calling = Running(poll)
    calling.join(0.05)  # it fails at once, or has to wait
    go_on.set()

    calling.ended()
    using.ended()
    assert poll.listening
    poll.close()


def test_a_storm_of_stops_unlistens_and_notifies(canned):
    backend = canned()
    received = Recorder()
    handler = handler_on(backend, received, timeout=None)
    over = threading.Event()

    def loop():
        while not over.is_set():
            handler()

    def storm(seed):
        choose = random.Random(seed).choice
        for number in range(150):
            action = choose((handler.stop, handler.unlisten, handler.notify, handler.notify))
            action(payload=f"{seed}.{number}") if action == handler.notify else action()

    looping = Running(loop)
    storming = [Running(lambda seed=seed: storm(seed)) for seed in range(4)]
    for each in storming:
        each.ended()
    over.set()
    handler.stop()
    looping.ended()
    handler.close()

    payloads = received.payloads
    assert len(set(payloads)) == len(payloads)
    for seed in range(4):
        numbers = [int(payload.split(".")[1]) for payload in payloads if payload.startswith(f"{seed}.")]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("seed", range(5))
def test_a_storm_with_a_close_in_it(canned, seed):
    backend = canned()
    handler = handler_on(backend, Recorder(), timeout=None)
    begin = threading.Barrier(4)

    def act(*actions):
        begin.wait(10)
        for action in actions:
            try:
                action()
            except HandlerClosed:
                return

    def loop():
        begin.wait(10)
        while handler.db is not None:
            handler()

    running = [
        Running(loop),
        Running(lambda: act(*[handler.notify] * (seed * 3), handler.close)),
        Running(lambda: act(*[handler.notify, handler.stop, handler.unlisten] * 50)),
        Running(lambda: act(*[handler.unlisten, handler.notify, handler.stop] * 50)),
    ]

    for each in running:
        each.ended()
    assert backend.closed


# Deletion


def test_deleting_a_listening_handler_unlistens_at_once(backend, no_gc):
    handler = handler_on(backend, Recorder(), timeout=0)
    handler()

    del handler

    assert backend.calls[-2:] == UNLISTENING
    assert not backend.closed


def test_deleting_a_handler_after_its_module_does_no_harm(backend, no_gc, monkeypatch):
    handler = handler_on(backend)
    monkeypatch.setattr("pgnotify.handler.handler.sys", None)  # as at the end of a frozen application

    del handler  # an error in __del__ is a warning, and an error here


def test_deleting_a_handler_after_an_error_of_the_callback_unlistens_at_once(backend, no_gc):
    handler = handler_on(backend, Recorder(lambda: 1 / 0), timeout=0)
    backend.arrive(note("1"))
    with pytest.raises(ZeroDivisionError):
        handler()

    del handler

    assert backend.calls[-2:] == UNLISTENING


def test_deleting_a_handler_after_a_third_channel_leaves_nothing(backend, no_gc):
    handler = handler_on(backend, Recorder(), timeout=0)
    backend.arrive(note("", "other"))
    with pytest.raises(UnexpectedNotification):
        handler()
    handler.listen()

    del handler

    assert backend.calls[-2:] == UNLISTENING


def test_deleting_a_handler_that_is_not_listening_sends_nothing(backend, no_gc):
    handler = handler_on(backend)

    del handler

    assert backend.calls == []


def test_deleting_a_handler_releases_its_descriptors(backend, no_gc):
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else pytest.skip("no /proc here")
    handler = handler_on(backend, Recorder(), timeout=0.01)
    handler()
    assert len(os.listdir("/proc/self/fd")) > len(before)

    del handler

    assert len(os.listdir("/proc/self/fd")) == len(before)


def warned_on_deletion(reason, state="listening"):
    return pytest.warns(ResourceWarning, match=f"^<NotificationHandler event='jobs' {state}> .* listening: {reason}")


def test_a_handler_last_used_in_another_thread_is_not_unlistened_by_deletion(backend, no_gc):
    handler = handler_on(backend)
    Running(handler.listen).ended()
    gc.collect()

    with warned_on_deletion("its connection was last used in another thread"):
        del handler

    assert backend.calls == LISTENING


def test_a_handler_on_a_busy_connection_is_not_unlistened_by_deletion(backend, no_gc):
    handler = handler_on(backend)
    handler.listen()
    backend.busy = True

    with warned_on_deletion("its connection is busy with a call"):
        del handler

    assert backend.calls == LISTENING


def test_a_deletion_that_cannot_unlisten_says_why(backend, no_gc):
    handler = handler_on(backend)
    handler.listen()
    backend.during("unlisten", TransactionError("in the way"))

    with warned_on_deletion("TransactionError: in the way"):
        del handler


# Forks

forking = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")


def succeeds_in_a_child(function):
    """Run a function in a forked child; return whether it raised nothing."""
    child = os.fork()
    if child == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@forking
@pytest.mark.parametrize("method", ["__call__", "listen", "unlisten", "notify"])
def test_a_forked_child_cannot_use_the_handler(backend, method):
    handler = handler_on(backend, Recorder(), timeout=0)
    if method != "listen":
        handler.listen()
    backend.calls.clear()

    def use():
        with pytest.raises(HandlerClosed, match=f"this handler belongs to process {os.getppid()}, from which"):
            getattr(handler, method)()
        assert backend.calls == []

    assert succeeds_in_a_child(use)
    handler.close()


@forking
def test_a_forked_child_does_not_say_that_it_listens(backend):
    handler = handler_on(backend)
    handler.listen()

    def look():
        assert not handler.listening
        assert repr(handler) == "<NotificationHandler event='jobs' lost>"

    assert succeeds_in_a_child(look)
    assert handler.listening
    handler.close()


@forking
def test_a_callback_that_returns_in_a_forked_child_ends_the_loop_there(backend):
    parent, delivered, codes = os.getpid(), [], []

    def fork(arg_dict):
        delivered.append(arg_dict["extra"])
        child = os.fork()
        if not child:
            signal.alarm(60)
        if child:
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    handler = handler_on(backend, fork, timeout=0)
    for payload in ("1", "2"):
        backend.arrive(note(payload))

    ended = None
    try:
        handler()
    except HandlerClosed as error:
        ended = error
    if os.getpid() != parent:  # only the parent may go on with the tests
        told = "make a new connection and handler in the child" in str(ended)
        os._exit(delivered.index(delivered[-1]) if told else 10)

    assert (delivered, codes, ended) == (["1", "2"], [0, 1], None)
    handler.close()


@forking
def test_closing_in_a_forked_child_sends_nothing_and_lets_go_of_the_connection(backend):
    handler = handler_on(backend, Recorder(), timeout=0)
    handler.listen()
    backend.calls.clear()

    def close():
        handler.close()
        assert backend.calls == []
        assert handler.db is None
        handler()
        handler.close()

    assert succeeds_in_a_child(close)
    handler.close()


@forking
def test_a_handler_closed_in_a_forked_child_is_not_listening_there(backend):
    handler = handler_on(backend, Recorder(), timeout=0)
    handler.listen()

    def close():
        nonlocal handler
        handler.close()
        assert not handler.listening
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del handler
            gc.collect()
        assert caught == []

    assert succeeds_in_a_child(close)
    handler.close()


@forking
def test_a_child_does_not_keep_the_parent_from_listening(backend):
    received = Recorder()
    handler = handler_on(backend, received, timeout=0.01)
    handler()
    handler.listen()

    assert succeeds_in_a_child(handler.close)

    backend.arrive(note("1"))
    handler()
    assert received.payloads == [None, "1", None]


@forking
def test_a_stop_in_a_forked_child_does_not_end_the_loop_of_the_parent(backend):
    received = Recorder()
    handler = handler_on(backend, received, timeout=0.01)
    handler()
    assert succeeds_in_a_child(handler.stop)
    backend.arrive(note("1"))

    handler()

    assert received.payloads == [None, "1", None]


@forking
def test_a_handler_deleted_in_a_forked_child_sends_nothing(backend, no_gc):
    handler = handler_on(backend)
    handler.listen()
    backend.calls.clear()

    def delete():
        nonlocal handler
        with warned_on_deletion("its connection belongs to the parent process", "lost"):
            del handler
        assert backend.calls == []

    assert succeeds_in_a_child(delete)
    handler.close()


@forking
def test_a_new_handler_in_a_forked_child_works(backend, canned):
    handler = handler_on(backend)
    handler.listen()

    def start_anew():
        other = canned()
        received = Recorder()
        other.arrive(note("1"))
        handler_on(other, received, timeout=0)()
        assert received.payloads == ["1"]

    assert succeeds_in_a_child(start_anew)
    handler.close()


# Signals


@pytest.fixture
def on_signal():
    """A function that says what a signal does; the signal is SIGUSR1."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda function: signal.signal(signal.SIGUSR1, lambda number, frame: function())
    signal.signal(signal.SIGUSR1, before)


def send_signal():
    signal.raise_signal(signal.SIGUSR1)


ENDING = ["stop", "unlisten", "close"]


@pytest.mark.parametrize(
    ("method", "verb"),
    [*((method, verb) for method in ENDING for verb in ("wait", "fetch")), ("stop", "listen"), ("close", "listen")],
)
def test_a_signal_handler_that_comes_in_during_a_call_ends_the_loop(handler, backend, on_signal, method, verb):
    on_signal(getattr(handler, method))
    backend.during(verb, send_signal)

    handler()

    assert backend.listened == set()
    assert backend.closed is (method == "close")
    assert (handler.db is None) is (method == "close")


@pytest.mark.parametrize("method", ENDING)
def test_a_signal_that_comes_while_the_loop_is_blocked_ends_it(handler, backend, on_signal, method):
    on_signal(getattr(handler, method))
    here, over = threading.get_ident(), threading.Event()

    def kill():
        assert backend.waiting.wait(10)
        while not over.wait(0.05):  # see the test below for why one signal may not do
            signal.pthread_kill(here, signal.SIGUSR1)

    killing = Running(kill)

    handler()

    over.set()
    killing.ended()
    assert backend.listened == set()


# CPython runs signal handlers between bytecodes, and poll() begins some instructions after the last of these. A
# signal in between sets a mark in C and poll() blocks all the same (29 of 300 with this timing). That gap is
# closed by signal.set_wakeup_fd() while the main thread waits (0 of 600).
def test_a_signal_that_comes_just_before_poll_is_not_lost(canned, on_signal):
    lost = 0
    here = threading.get_ident()
    for _ in range(100):
        backend = canned(patience=0.2)
        handler = handler_on(backend)
        on_signal(handler.stop)
        killing = Running(
            lambda backend=backend: backend.waiting.wait(10) and signal.pthread_kill(here, signal.SIGUSR1)
        )
        try:
            handler()
        except AssertionError:
            backend.violations.clear()
            lost += 1
        killing.ended()
        handler.close()

    assert lost == 0


@pytest.mark.parametrize("method", ENDING)
def test_a_signal_handler_that_comes_in_during_a_callback_ends_the_loop_after_it(
    handler, backend, received, on_signal, method
):
    on_signal(getattr(handler, method))
    received.then = send_signal
    backend.arrive(note("1"), note("2"))

    handler()

    assert received.payloads == ["1"]
    assert backend.listened == set()
    assert backend.closed is (method == "close")


@pytest.mark.parametrize("method", ["unlisten", "close", "notify"])
def test_a_signal_handler_does_not_touch_a_driver_that_the_callback_is_using(
    handler, backend, received, on_signal, method
):
    on_signal(getattr(handler, method))

    def query():
        backend.busy = True
        calls = list(backend.calls)
        send_signal()
        assert backend.calls == calls
        backend.busy = False
        handler.stop()

    received.then = query
    backend.arrive(note("1"))

    handler()

    assert backend.closed is (method == "close")
    assert backend.sent == ([("jobs", "")] if method == "notify" else [])


def test_a_signal_handler_may_notify_while_the_loop_waits(handler, backend, received, on_signal):
    on_signal(lambda: handler.notify(payload="from a signal"))
    received.then = handler.stop
    backend.during("wait", send_signal)

    handler()

    assert received.payloads == ["from a signal"]


def test_an_error_of_what_a_signal_handler_has_asked_for_comes_out_of_the_loop(handler, backend, on_signal):
    on_signal(handler.unlisten)
    backend.during("wait", send_signal)
    backend.during("unlisten", TransactionError("in the way"))

    with pytest.raises(TransactionError, match="in the way"):
        handler()

    assert handler.listening


def test_a_keyboard_interrupt_ends_the_wait_and_leaves_it_listening(handler, backend, received):
    backend.during("wait", KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        handler()

    assert handler.listening
    backend.arrive(note("1"), STOP)
    handler()
    assert received.payloads == ["1", ""]


def test_a_signal_handler_may_stop_a_loop_that_runs_in_another_thread(waiting, handler, on_signal):
    on_signal(handler.stop)

    send_signal()

    waiting.ended()
