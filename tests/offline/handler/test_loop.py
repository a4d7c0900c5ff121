"""The programs by example: what happens in which order."""

from __future__ import annotations

import math
from concurrent.futures import Future

import pytest

from pgnotify.errors import ConnectionLost, HandlerClosed, TransactionError
from pgnotify.handler.loop import Stray
from pgnotify.program import actions as p
from pgnotify.program import verbs
from pgnotify.program.commands import answering
from pgnotify.program.state import State
from tests.helpers.notifications import note
from tests.helpers.play import LEFT
from tests.helpers.play_handler import documented, play, run

LISTENING = (("listen", None), ("listen", None))
UNLISTENING = (("unlisten", None), ("unlisten", None))
DEAD = ("fetch", ConnectionLost)  # asked once more after a loss: the driver may hold the last notifications


STOP = note(channel="stop_jobs")
STRAY = note(channel="other")


def listening(event="jobs", **settings):
    handler = documented(event, **settings)
    play(run(handler, verbs.listen), *(("listen", None) for _ in handler.watch.channels))
    handler.actions.clear()
    return handler


def lose(handler):
    with pytest.raises(ConnectionLost):
        play(run(handler, lambda watch: verbs.notify(watch, "jobs", "")), ("notify", ConnectionLost))


# The order of things.


def test_both_channels_are_listened_to_before_anything_is_fetched():
    handler = documented("jobs")

    play(run(handler), *LISTENING, ("fetch", LEFT))

    assert handler.actions == [p.Listen("jobs"), p.Listen("stop_jobs"), p.Fetch(handler.watch.queue)]
    assert handler.watch.state is State.LISTENING


def test_it_fetches_before_it_waits():
    handler = listening()

    delivered = play(run(handler), ("fetch", [note("1")]), ("fetch", []), ("wait", LEFT))

    assert delivered == [note("1")]


def test_it_fetches_again_after_each_delivery_until_there_is_no_more():
    handler = listening()

    delivered = play(
        run(handler), ("fetch", [note("1"), note("2")]), ("fetch", [note("3")]), ("fetch", []), ("wait", LEFT)
    )

    assert delivered == [note("1"), note("2"), note("3")]


def test_a_batch_is_delivered_in_one_go():
    handler = listening()

    play(run(handler), ("fetch", [note(str(number)) for number in range(300)]), ("fetch", LEFT))

    assert handler.asked(p.Deliver) == [p.Deliver(300)]


def test_a_loop_that_listens_already_does_not_listen_again():
    handler = listening()

    play(run(handler), ("fetch", LEFT))

    assert handler.asked(p.Listen) == []


# The stop notification.


def test_a_stop_is_unlistened_before_it_is_delivered():
    handler = documented("jobs")
    seen = []
    handler.callback = lambda notification: seen.append(handler.watch.state)

    delivered = play(run(handler), *LISTENING, ("fetch", [STOP]), *UNLISTENING)

    assert delivered == [STOP]
    assert seen == [State.IDLE]


def test_what_came_before_a_stop_is_delivered_before_it():
    handler = listening()

    delivered = play(run(handler), ("fetch", [note("1"), STOP]), *UNLISTENING)

    assert delivered == [note("1"), STOP]


def test_what_came_after_a_stop_is_delivered_first_by_the_next_call():
    handler = listening()
    play(run(handler), ("fetch", [STOP, note("1"), note("2")]), *UNLISTENING)

    delivered = play(run(handler), *LISTENING, ("fetch", LEFT))

    assert delivered == [note("1"), note("2")]


def test_a_stop_that_cannot_be_unlistened_stays_queued():
    handler = listening()

    with pytest.raises(TransactionError):
        play(run(handler), ("fetch", [note("1"), STOP]), ("unlisten", TransactionError))

    assert handler.delivered == [note("1")]
    assert handler.watch.state is State.LISTENING
    assert list(handler.watch.queue) == [STOP]


def test_a_stop_that_stayed_queued_is_delivered_by_the_next_call():
    handler = listening()
    with pytest.raises(TransactionError):
        play(run(handler), ("fetch", [STOP]), ("unlisten", TransactionError))

    assert play(run(handler), *UNLISTENING) == [STOP]


def test_a_stop_event_that_is_the_event_stops():
    handler = documented("jobs", stop_event="jobs")

    delivered = play(run(handler), ("listen", None), ("fetch", [note("1"), note("2")]), ("unlisten", None))

    assert delivered == [note("1")]
    assert list(handler.watch.queue) == [note("2")]


# The time-out.


def test_without_a_timeout_it_waits_for_ever():
    handler = listening(timeout=None)

    play(run(handler), ("fetch", []), ("wait", LEFT))

    assert handler.asked(p.Wait) == [p.Wait(None)]
    assert handler.clock.reads == 0


def test_an_infinite_timeout_waits_for_ever():
    handler = listening(timeout=math.inf)

    play(run(handler), ("fetch", []), ("wait", LEFT))

    assert handler.asked(p.Wait) == [p.Wait(None)]


@pytest.mark.parametrize("timeout", [0, 0.0, False])
def test_a_timeout_of_zero_delivers_what_is_there_and_never_waits(timeout):
    handler = documented("jobs", timeout=timeout)

    delivered = play(run(handler), *LISTENING, ("fetch", [note("1")]), ("fetch", [note("2")]), ("fetch", []))

    assert delivered == [note("1"), note("2")]
    assert handler.watch.state is State.LISTENING
    assert handler.clock.reads == 0


def test_a_poll_that_finds_a_stop_ends_there():
    handler = listening(timeout=0)

    delivered = play(run(handler), ("fetch", [note("1"), STOP]), *UNLISTENING)

    assert delivered == [note("1"), STOP]


def test_a_timeout_unlistens_before_it_is_reported():
    handler = documented("jobs", timeout=5)
    seen = []
    handler.callback = lambda notification: seen.append((notification, handler.watch.state))

    play(run(handler), *LISTENING, ("fetch", []), ("wait", handler.clock.passes(5)), ("fetch", []), *UNLISTENING)

    assert seen == [(None, State.IDLE)]


def test_a_notification_that_comes_at_the_last_moment_is_no_timeout():
    handler = listening(timeout=5)

    delivered = play(
        run(handler),
        ("fetch", []),
        ("wait", handler.clock.passes(5)),
        ("fetch", [note()]),
        ("fetch", []),
        ("wait", LEFT),
    )

    assert delivered == [note()]
    assert handler.asked(p.Wait) == [p.Wait(5), p.Wait(5)]


def test_false_alarms_do_not_put_the_timeout_off():
    handler = listening(timeout=5)
    alarm = (("wait", handler.clock.passes(2)), ("fetch", []))

    delivered = play(run(handler), ("fetch", []), *alarm, *alarm, *alarm, *UNLISTENING)

    assert delivered == [None]
    assert handler.asked(p.Wait) == [p.Wait(5), p.Wait(3), p.Wait(1)]


def test_commands_do_not_put_the_timeout_off():
    handler = listening(timeout=5)

    def someone_notifies():
        handler.clock.now += 2
        handler.watch.request(verbs.notify(handler.watch, "jobs", ""))

    play(run(handler), ("fetch", []), ("wait", someone_notifies), ("notify", None), ("fetch", []), ("wait", LEFT))

    assert handler.asked(p.Wait) == [p.Wait(5), p.Wait(3)]


def test_the_timeout_counts_anew_from_each_notification():
    handler = listening(timeout=5)

    play(
        run(handler),
        ("fetch", []),
        ("wait", handler.clock.passes(4)),
        ("fetch", [note()]),
        ("fetch", []),
        ("wait", handler.clock.passes(4)),
        ("fetch", [note()]),
        ("fetch", []),
        ("wait", LEFT),
    )

    assert handler.asked(p.Wait) == [p.Wait(5), p.Wait(5), p.Wait(5)]


def test_the_time_that_a_callback_takes_is_no_silence():
    handler = listening(timeout=5)
    handler.callback = lambda notification: handler.clock.passes(60)()

    play(run(handler), ("fetch", [note()]), ("fetch", []), ("wait", LEFT))

    assert handler.asked(p.Wait) == [p.Wait(5)]


def test_the_clock_is_read_once_a_wait_and_not_once_a_notification():
    handler = listening(timeout=5)

    play(run(handler), ("fetch", [note()] * 100), ("fetch", [note()] * 100), ("fetch", []), ("wait", LEFT))

    assert handler.clock.reads == 1


def test_a_timeout_set_by_the_callback_holds_for_the_next_wait():
    handler = listening(timeout=5)

    def grow_impatient(notification):
        handler.timeout = 1

    handler.callback = grow_impatient
    play(run(handler), ("fetch", [note()]), ("fetch", []), ("wait", LEFT))

    assert handler.asked(p.Wait) == [p.Wait(1)]


def test_a_timeout_in_a_transaction_is_not_reported():
    handler = listening(timeout=5)

    with pytest.raises(TransactionError):
        play(
            run(handler),
            ("fetch", []),
            ("wait", handler.clock.passes(5)),
            ("fetch", []),
            ("unlisten", TransactionError),
        )

    assert handler.delivered == []
    assert handler.watch.state is State.LISTENING


# Listening and unlistening.


def test_a_second_listen_that_fails_takes_the_first_back():
    handler = documented("jobs")

    with pytest.raises(TransactionError):
        play(run(handler), ("listen", None), ("listen", TransactionError), ("unlisten", None))

    assert handler.asked(p.Unlisten) == [p.Unlisten("jobs")]
    assert handler.watch.state is State.IDLE


def test_a_first_listen_that_fails_has_nothing_to_take_back():
    handler = documented("jobs")

    with pytest.raises(TransactionError):
        play(run(handler), ("listen", TransactionError))

    assert handler.watch.state is State.IDLE


def test_a_second_listen_that_is_interrupted_takes_both_back_since_it_may_be_in_force():
    handler = documented("jobs")

    with pytest.raises(KeyboardInterrupt):
        play(run(handler), ("listen", None), ("listen", KeyboardInterrupt), *UNLISTENING)

    assert {action.channel for action in handler.asked(p.Unlisten)} == {"jobs", "stop_jobs"}
    assert handler.watch.state is State.IDLE


def test_a_second_listen_that_fails_after_a_loss_takes_the_first_back():
    handler = documented("jobs")
    lose(handler)

    with pytest.raises(TransactionError):
        play(run(handler), ("listen", None), ("listen", TransactionError), ("unlisten", None))

    assert handler.watch.state is not State.LISTENING


@pytest.mark.parametrize("before", [(), (("listen", None),)])
def test_a_listen_that_finds_the_connection_lost_takes_nothing_back(before):
    handler = documented("jobs")

    with pytest.raises(ConnectionLost):
        play(run(handler), *before, ("listen", ConnectionLost), DEAD)

    assert handler.watch.state is State.LOST


def test_listening_twice_does_nothing_the_second_time():
    handler = listening()

    play(run(handler, verbs.listen))

    assert handler.actions == []


def test_unlistening_what_is_not_listened_to_does_nothing():
    handler = documented("jobs")

    play(run(handler, verbs.unlisten))

    assert handler.actions == []


def test_unlistening_names_both_channels():
    handler = listening()

    play(run(handler, verbs.unlisten), *UNLISTENING)

    assert handler.actions == [p.Unlisten("jobs"), p.Unlisten("stop_jobs")]
    assert handler.watch.state is State.IDLE


def test_unlistening_a_lost_connection_says_so():
    handler = listening()

    with pytest.raises(ConnectionLost):
        play(run(handler, verbs.unlisten), ("unlisten", ConnectionLost))

    assert handler.watch.state is State.LOST


def test_what_was_unlistened_by_half_is_not_listening():
    handler = listening()

    with pytest.raises(KeyboardInterrupt):
        play(run(handler, verbs.unlisten), ("unlisten", None), ("unlisten", KeyboardInterrupt))

    assert handler.watch.state is State.IDLE


def test_what_was_unlistened_by_half_is_unlistened_wholly_by_a_second_call():
    handler = listening()
    with pytest.raises(KeyboardInterrupt):
        play(run(handler, verbs.unlisten), ("unlisten", None), ("unlisten", KeyboardInterrupt))
    handler.actions.clear()

    play(run(handler, verbs.unlisten), ("unlisten", None))

    assert handler.actions == [p.Unlisten("stop_jobs")]


def test_an_equal_stop_event_is_listened_to_once():
    handler = documented("jobs", stop_event="jobs")

    play(run(handler, verbs.listen), ("listen", None))

    assert handler.watch.state is State.LISTENING


# A third channel.


def test_a_stray_is_unlistened_and_raised():
    handler = listening()

    with pytest.raises(Stray) as caught:
        play(run(handler), ("fetch", [note("1"), STRAY, note("2")]), *UNLISTENING)

    assert caught.value.notification == STRAY
    assert handler.delivered == [note("1")]
    assert handler.watch.state is State.IDLE


def test_what_came_behind_a_stray_is_delivered_first_by_the_next_call():
    handler = listening()
    with pytest.raises(Stray):
        play(run(handler), ("fetch", [STRAY, note("2")]), *UNLISTENING)

    assert play(run(handler), *LISTENING, ("fetch", LEFT)) == [note("2")]


def test_a_stray_that_cannot_be_unlistened_stays_queued():
    handler = listening()

    with pytest.raises(TransactionError):
        play(run(handler), ("fetch", [STRAY]), ("unlisten", TransactionError))

    assert list(handler.watch.queue) == [STRAY]


# Loss.


@pytest.mark.parametrize("verb", ["fetch", "wait"])
def test_a_loss_is_raised_and_known(verb):
    handler = listening()
    before = [("fetch", [])] if verb == "wait" else []

    with pytest.raises(ConnectionLost):
        play(run(handler), *before, (verb, ConnectionLost), DEAD)

    assert handler.watch.state is State.LOST


def test_after_a_loss_the_rest_is_delivered_before_it_is_raised():
    handler = listening()

    def nudge(notification):
        handler.watch.request(verbs.notify(handler.watch, "jobs", ""))
        handler.callback = lambda notification: None

    handler.callback = nudge
    with pytest.raises(ConnectionLost):
        play(run(handler), ("fetch", [note("1"), note("2"), note("3")]), ("notify", ConnectionLost), DEAD)

    assert handler.delivered == [note("1"), note("2"), note("3")]
    assert not handler.watch.queue


def test_a_loss_while_a_stop_is_unlistened_delivers_the_stop_and_leaves_the_rest():
    handler = listening()

    with pytest.raises(ConnectionLost):
        play(run(handler), ("fetch", [STOP, note("1")]), ("unlisten", ConnectionLost))

    assert handler.delivered == [STOP]
    assert list(handler.watch.queue) == [note("1")]


def test_a_loss_while_a_timeout_is_unlistened_is_no_timeout():
    handler = listening(timeout=5)

    with pytest.raises(ConnectionLost):
        play(
            run(handler),
            ("fetch", []),
            ("wait", handler.clock.passes(5)),
            ("fetch", []),
            ("unlisten", ConnectionLost),
            DEAD,
        )

    assert handler.delivered == []


def test_a_callback_that_raises_while_the_rest_is_delivered_leaves_the_others_queued():
    handler = listening()

    def fail(notification):
        raise ZeroDivisionError

    handler.watch.queue.extend([note("1"), note("2")])
    handler.watch.request(verbs.notify(handler.watch, "jobs", ""))
    handler.callback = fail
    play_of_a_loss = run(handler)
    with pytest.raises(ConnectionLost):  # an interruption before the loop has begun: nothing is delivered
        play(play_of_a_loss, ("notify", ConnectionLost))

    assert list(handler.watch.queue) == [note("1"), note("2")]

    with pytest.raises(ZeroDivisionError):
        play(run(handler), ("listen", ConnectionLost))

    assert list(handler.watch.queue) == [note("2")]


def test_a_loop_on_a_dead_connection_delivers_the_rest_up_to_a_stop_and_raises():
    handler = listening()
    with pytest.raises(TransactionError):
        play(run(handler), ("fetch", [STOP, note("1")]), ("unlisten", TransactionError))
    lose(handler)

    with pytest.raises(ConnectionLost):
        play(run(handler), ("listen", ConnectionLost))

    assert handler.delivered == [STOP]
    assert list(handler.watch.queue) == [note("1")]


def test_a_connection_that_came_back_is_listened_to_again():
    handler = listening()
    lose(handler)

    delivered = play(run(handler), *LISTENING, ("fetch", [note()]), ("fetch", LEFT))

    assert delivered == [note()]


def test_after_a_loss_that_a_command_found_the_driver_is_emptied_first():
    handler = listening()

    def someone_notifies():
        handler.watch.request(verbs.notify(handler.watch, "jobs", ""))

    with pytest.raises(ConnectionLost):
        play(
            run(handler),
            ("fetch", []),
            ("wait", someone_notifies),
            ("notify", ConnectionLost),
            ("fetch", [note("the last")]),
            ("fetch", ConnectionLost),
        )

    assert handler.delivered == [note("the last")]


def test_a_callback_that_closes_while_the_rest_is_delivered_leaves_the_others_queued():
    handler = listening()
    handler.watch.queue.extend([note("1"), note("2")])
    handler.callback = lambda notification: (handler.watch.closed(), handler.watch.interrupt())
    lose(handler)

    with pytest.raises(ConnectionLost):
        play(run(handler), ("listen", ConnectionLost))

    assert handler.delivered == [note("1")]
    assert list(handler.watch.queue) == [note("2")]


# What was asked for from elsewhere.


def test_a_stop_requested_before_the_start_ends_at_once():
    handler = documented("jobs")
    handler.watch.request_stop()

    play(run(handler))

    assert handler.actions == []


def test_a_stop_requested_between_two_calls_unlistens():
    handler = listening()
    handler.watch.queue.append(note())
    handler.watch.request_stop()

    delivered = play(run(handler), *UNLISTENING)

    assert delivered == []
    assert list(handler.watch.queue) == [note()]


def test_many_requested_stops_are_one():
    handler = documented("jobs")
    for _ in range(3):
        handler.watch.request_stop()
    play(run(handler))

    play(run(handler), *LISTENING, ("fetch", LEFT))


def test_a_stop_that_ended_a_call_at_once_does_not_strike_later():
    handler = documented("jobs")
    handler.watch.request_stop()
    play(run(handler))

    def someone_notifies():
        handler.watch.request(verbs.notify(handler.watch, "jobs", ""))

    play(run(handler), *LISTENING, ("fetch", []), ("wait", someone_notifies), ("notify", None), ("fetch", LEFT))


@pytest.mark.parametrize("verb", ["fetch", "wait"])
def test_a_stop_requested_during_a_call_ends_the_loop(verb):
    handler = listening()
    before = [("fetch", [])] if verb == "wait" else []

    def someone_stops():
        handler.watch.request_stop()
        return [note()] if verb == "fetch" else True

    play(run(handler), *before, (verb, someone_stops), *UNLISTENING)

    assert handler.delivered == []
    assert handler.watch.state is State.IDLE


def test_what_was_fetched_when_a_stop_was_requested_stays_queued():
    handler = listening()

    def fetch_and_stop():
        handler.watch.request_stop()
        return [note()]

    play(run(handler), ("fetch", fetch_and_stop), *UNLISTENING)

    assert list(handler.watch.queue) == [note()]


def test_a_stop_requested_by_the_callback_ends_after_the_current_notification():
    handler = listening()
    handler.callback = lambda notification: handler.watch.request_stop()

    delivered = play(run(handler), ("fetch", [note("1"), note("2")]), *UNLISTENING)

    assert delivered == [note("1")]
    assert list(handler.watch.queue) == [note("2")]


def test_a_command_ends_the_delivery_after_the_current_notification():
    handler = listening()

    def nudge(notification):
        if notification.payload == "2":
            handler.watch.request(verbs.notify(handler.watch, "answer", "2"))

    handler.callback = nudge
    delivered = play(run(handler), ("fetch", [note("1"), note("2"), note("3")]), ("notify", None), ("fetch", LEFT))

    assert delivered == [note("1"), note("2"), note("3")]
    assert handler.actions == [
        p.Fetch(handler.watch.queue),
        p.Deliver(3),
        p.Notify("answer", "2"),
        p.Deliver(1),
        p.Fetch(handler.watch.queue),
    ]


def test_commands_are_obeyed_in_order():
    handler = listening()
    for payload in "123":
        handler.watch.request(verbs.notify(handler.watch, "jobs", payload))

    play(run(handler), ("notify", None), ("notify", None), ("notify", None), ("fetch", LEFT))

    assert [each.payload for each in handler.asked(p.Notify)] == ["1", "2", "3"]


def test_a_command_that_comes_while_another_is_obeyed_is_obeyed_too():
    handler = listening()
    handler.watch.request(verbs.notify(handler.watch, "jobs", "1"))

    def one_more():
        handler.watch.request(verbs.notify(handler.watch, "jobs", "2"))

    play(run(handler), ("notify", one_more), ("notify", None), ("fetch", LEFT))

    assert [each.payload for each in handler.asked(p.Notify)] == ["1", "2"]


def test_a_requested_unlisten_ends_the_loop():
    handler = listening()

    def someone_unlistens():
        handler.watch.request(verbs.unlisten(handler.watch))

    play(run(handler), ("fetch", []), ("wait", someone_unlistens), *UNLISTENING)

    assert handler.watch.state is State.IDLE


def test_a_requested_close_ends_the_loop():
    handler = listening()

    def someone_closes():
        handler.watch.request(verbs.close(handler.watch))

    play(run(handler), ("fetch", []), ("wait", someone_closes), *UNLISTENING, ("close", None))

    assert handler.watch.state is State.CLOSED


def test_a_loop_that_a_command_has_closed_before_the_start_does_not_listen():
    handler = documented("jobs")
    handler.watch.request(verbs.close(handler.watch))

    play(run(handler), ("close", None))

    assert handler.watch.state is State.CLOSED


def test_a_stop_requested_beside_a_failing_command_does_not_strike_later():
    handler = listening()
    handler.watch.request(verbs.notify(handler.watch, "jobs", ""))
    handler.watch.request_stop()

    with pytest.raises(ZeroDivisionError):
        play(run(handler), ("notify", ZeroDivisionError))

    assert handler.watch.interrupted or not handler.watch.stop_requested


@pytest.mark.parametrize("last", [note("the last", "stop_jobs"), None])
def test_a_stop_requested_by_the_last_callback_does_not_end_the_next_loop(last):
    handler = listening(timeout=5)
    handler.callback = lambda notification: handler.watch.request_stop()
    if last is None:
        steps = (("fetch", []), ("wait", handler.clock.passes(5)), ("fetch", []), *UNLISTENING)
    else:
        steps = (("fetch", [last]), *UNLISTENING)
    assert play(run(handler), *steps) == [last]

    play(run(handler), *LISTENING, ("fetch", LEFT))


# Answers.


def test_an_answer_is_the_result():
    handler = listening()
    future = Future()

    def return_five():
        yield p.Notify("jobs", "")
        return 5

    play(run(handler, lambda watch: answering(return_five(), future)), ("notify", None))

    assert future.result(0) == 5


def test_an_error_is_answered_and_does_not_end_the_loop():
    handler = listening()
    future = Future()
    handler.watch.request(answering(verbs.unlisten(handler.watch), future))

    play(run(handler), ("unlisten", TransactionError("in the way")), ("fetch", LEFT))

    assert str(future.exception(0)) == "in the way"


@pytest.mark.parametrize("error", [ConnectionLost("gone"), KeyboardInterrupt()])
def test_an_error_that_ends_the_loop_is_raised_in_both_places(error):
    handler = listening()
    future = Future()
    handler.watch.request(answering(verbs.notify(handler.watch, "jobs", ""), future))

    with pytest.raises(type(error)):
        play(run(handler), ("notify", error))

    assert future.exception(0) is error


# Closing.


def close_an(handler, *steps):
    play(run(handler, verbs.close), *steps)
    return handler.watch.state


def test_closing_an_idle_watch_closes_the_connection():
    assert close_an(documented("jobs"), ("close", None)) is State.CLOSED


def test_closing_a_listening_watch_unlistens_first():
    assert close_an(listening(), *UNLISTENING, ("close", None)) is State.CLOSED


def test_closing_a_lost_watch_closes_the_connection():
    handler = listening()
    lose(handler)

    assert close_an(handler, ("close", None)) is State.CLOSED


def test_closing_a_closed_watch_does_nothing():
    handler = documented("jobs")
    close_an(handler, ("close", None))

    assert close_an(handler) is State.CLOSED


@pytest.mark.parametrize("error", [TransactionError, ConnectionLost])
def test_closing_does_not_need_the_unlisten(error):
    assert close_an(listening(), ("unlisten", error), ("close", None)) is State.CLOSED


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_closing_closes_whatever_the_unlisten_raises(error):
    handler = listening()

    with pytest.raises(error):
        close_an(handler, ("unlisten", error), ("close", None))

    assert handler.watch.state is State.CLOSED


def test_a_close_that_fails_is_closed_all_the_same():
    handler = documented("jobs")

    with pytest.raises(ZeroDivisionError):
        close_an(handler, ("close", ZeroDivisionError))

    assert handler.watch.state is State.CLOSED


@pytest.mark.parametrize("program", [verbs.listen, lambda watch: verbs.notify(watch, "jobs", "")])
def test_what_was_asked_for_behind_a_close_is_refused(program):
    handler = documented("jobs")
    close_an(handler, ("close", None))

    with pytest.raises(HandlerClosed):
        play(run(handler, program))

    assert handler.actions == [p.Close()]


def test_unlistening_what_is_closed_does_nothing():
    handler = listening()
    close_an(handler, *UNLISTENING, ("close", None))

    play(run(handler, verbs.unlisten))


def test_a_loop_that_is_closed_ends_though_others_ask_behind_it():
    handler = listening()
    future = Future()

    def someone_closes_and_another_notifies():
        handler.watch.request(verbs.close(handler.watch))
        handler.watch.request(answering(verbs.notify(handler.watch, "jobs", ""), future))

    play(run(handler), ("fetch", []), ("wait", someone_closes_and_another_notifies), *UNLISTENING, ("close", None))

    assert isinstance(future.exception(0), HandlerClosed)


# The callback.


def test_a_callback_that_raises_leaves_the_rest_queued_and_the_loop_listening():
    handler = listening()

    def fail(notification):
        raise ZeroDivisionError

    handler.callback = fail
    with pytest.raises(ZeroDivisionError):
        play(run(handler), ("fetch", [note("1"), note("2")]))

    assert handler.watch.state is State.LISTENING
    assert list(handler.watch.queue) == [note("2")]


def test_after_a_callback_that_raised_the_next_call_delivers_the_rest_before_it_fetches():
    handler = listening()
    handler.watch.queue.append(note("2"))

    delivered = play(run(handler), ("fetch", [note("3")]), ("fetch", LEFT))

    assert delivered == [note("2"), note("3")]
    assert handler.actions[0] == p.Deliver(1)
