"""The documented handler on a backend in memory: its surface, its edges, threads, signals, forks, deletion."""

from __future__ import annotations

import gc
import inspect
import math
import random
import threading
import warnings

import pytest

import pgnotify
from pgnotify import (
    ChannelError,
    ConnectionLost,
    HandlerClosed,
    PayloadError,
    TransactionError,
    UnexpectedNotification,
)
from pgnotify.testing.nasty import BAD_CHANNELS, BAD_PAYLOADS, GOOD_CHANNELS, GOOD_PAYLOADS
from tests.helpers import handler_fronts
from tests.helpers.canned import CannedError
from tests.helpers.handlers import Recorder
from tests.helpers.notifications import note
from tests.helpers.threads import Running

UNLISTENING = [("unlisten", "jobs"), ("unlisten", "stop_jobs")]
LISTENING = [("listen", "jobs"), ("listen", "stop_jobs")]


STOP = note(channel="stop_jobs")


# Surface


def test_all_arguments_are_positional_in_the_documented_order(backend, received, handler_front):
    arg_dict = {}

    handler = handler_front.make(backend, "jobs", received, arg_dict, 5, "enough")

    assert handler.db is backend
    assert handler.event == "jobs"
    assert handler.callback is received
    assert handler.arg_dict is arg_dict
    assert handler.timeout == 5
    assert handler.stop_event == "enough"
    assert handler.listening is False


def test_all_arguments_are_keywords(backend, received, handler_front):
    handler = handler_front.make(
        db=backend, event="jobs", callback=received, arg_dict=None, timeout=None, stop_event=None
    )

    assert handler.event == "jobs"


def test_the_defaults_are_the_documented_ones(backend, received, handler_front):
    handler = handler_front.make(backend, "jobs", received)

    assert handler.arg_dict == {}
    assert handler.timeout is None
    assert handler.stop_event == "stop_jobs"


def test_an_empty_stop_event_means_the_default_one(backend, handler_on):
    assert handler_on(backend, stop_event="").stop_event == "stop_jobs"


def test_each_handler_has_an_arg_dict_of_its_own(backend, received, handler_on):
    assert handler_on(backend).arg_dict is not handler_on(backend).arg_dict


def test_an_empty_arg_dict_is_kept_and_not_replaced(backend, handler_on):
    arg_dict = {}

    assert handler_on(backend, arg_dict=arg_dict).arg_dict is arg_dict


def test_making_a_handler_sends_nothing(backend, handler_on):
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


def test_both_names_of_the_factory_take_what_the_handler_takes(backend, handler_front):
    of_handler, *of_factories = (
        list(inspect.signature(function).parameters.values())[1:]
        for function in (
            handler_front.handler_class,
            handler_front.connection_class.notification_handler,
            handler_front.connection_class.connection_handler,
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


def test_the_repr_tells_the_event_and_the_state(poll, handler_front):
    assert repr(poll) == f"<{handler_front.handler_class.__name__} event='jobs' idle>"


# Bad input: refused before anything is sent.


@pytest.mark.parametrize("timeout", [-1, -0.5, math.nan])
def test_a_timeout_that_makes_no_sense_is_refused(backend, timeout, handler_on):
    with pytest.raises(ValueError, match="timeout must be"):
        handler_on(backend, timeout=timeout)


def test_a_timeout_that_is_no_number_is_refused(backend, handler_on):
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not str"):
        handler_on(backend, timeout="5")


@pytest.mark.parametrize("channel", BAD_CHANNELS, ids=ascii)
def test_a_bad_event_is_refused(backend, channel, handler_front):
    with pytest.raises(ChannelError, match=r"^event "):
        handler_front.make(backend, channel, print)

    assert backend.calls == []


@pytest.mark.parametrize("channel", [bad for bad in BAD_CHANNELS if bad], ids=ascii)
def test_a_bad_stop_event_is_refused(backend, channel, handler_on):
    with pytest.raises(ChannelError, match=r"^stop_event "):
        handler_on(backend, stop_event=channel)


def test_a_derived_stop_event_that_is_too_long_is_refused(backend, handler_front):
    with pytest.raises(ChannelError, match=r"^stop_event 'stop_x.*' has 64 bytes, PostgreSQL keeps 63$"):
        handler_front.make(backend, "x" * 59, print)

    assert backend.calls == []


def test_a_derived_stop_event_that_just_fits_is_taken(backend, handler_front):
    assert handler_front.make(backend, "x" * 58, print).stop_event == "stop_" + "x" * 58


@pytest.mark.parametrize("channel", [good for good in GOOD_CHANNELS if len(good.encode()) <= 58], ids=ascii)
def test_a_good_event_is_listened_to_as_written(backend, received, channel, handler_front):
    handler = handler_front.make(backend, channel, received, timeout=0)

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


def test_an_object_that_is_no_connection_is_refused(handler_front):
    with pytest.raises(pgnotify.UnknownBackend):
        handler_front.make(object(), "jobs", print)


def test_an_init_that_raised_leaves_nothing_to_delete(backend, handler_on):
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


def test_the_callback_gets_the_very_arg_dict_with_what_else_is_in_it(backend, handler_on):
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


def test_a_timeout_unlistens_and_calls_with_none(backend, received, handler_on):
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


@pytest.mark.parametrize("error", [GeneratorExit(), KeyboardInterrupt(), ConnectionLost("theirs")])
def test_any_error_of_the_callback_passes_through_as_it_is(poll, backend, received, error):
    assert_passed_through(poll, backend, received, error)


@pytest.mark.handler_fronts("blocking", why=handler_fronts.STOP_ITERATION)
def test_even_stop_iteration_passes_through_as_it_is(poll, backend, received):
    assert_passed_through(poll, backend, received, StopIteration(5))


def assert_passed_through(poll, backend, received, error):
    """The caller gets the error of the callback, and the next call delivers the rest."""

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


def test_a_with_statement_closes(backend, received, handler_on):
    with handler_on(backend, received, timeout=0) as handler:
        handler()
        assert handler.listening

    assert handler.db is None
    assert backend.closed


def test_a_with_statement_closes_after_an_error(backend, received, handler_on):
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


def test_a_callback_of_a_timeout_may_call_the_handler_again(backend, received, handler_on):
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
def test_a_stop_in_the_last_callback_does_not_end_the_next_call(backend, received, last, handler_on):
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


def test_calling_a_handler_that_runs_in_another_thread_is_an_error(waiting, handler, handler_front):
    with pytest.raises(RuntimeError, match=f"^this handler is already running, in {handler_front.where(waiting)}$"):
        handler()


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


@pytest.mark.handler_fronts("blocking", why=handler_fronts.THREADS)
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


def test_a_storm_of_stops_unlistens_and_notifies(canned, handler_on):
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
def test_a_storm_with_a_close_in_it(canned, seed, handler_on):
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
