"""What a signal handler may do to a NotificationHandler that runs in the main thread."""

import random
import signal
import threading
import traceback
from contextlib import suppress

import pytest

from tests.helpers import handler_fronts
from tests.helpers.interrupting import AVAILABLE, Interruption
from tests.helpers.sending import burst
from tests.helpers.signals import on_signal, run_with_a_signal, send_signal
from tests.helpers.threads import Background, functions_of, waits
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = pytest.mark.handler_fronts("blocking", why=handler_fronts.SIGNALS)

ENDING = ("stop", "close", "unlisten", "notify")


def doing(handler, verb):
    """What the signal handler does: end the loop, in one of the ways there are."""
    return lambda: handler.notify(stop=True, payload="stop") if verb == "notify" else getattr(handler, verb)()


def assert_ended(handler, verb, user):
    assert handler.listening is False
    assert (handler.db is None) == (verb == "close")
    if verb != "close":
        assert user.listened_to == set()


@pytest.mark.parametrize("verb", ENDING)
def test_a_loop_that_waits_is_ended_by_a_signal_handler(documented, record, user, verb):
    handler = documented()

    def interrupt():
        eventually(lambda: waits(threading.main_thread()))
        send_signal()

    with on_signal(doing(handler, verb)):
        interrupting = Background(interrupt)
        handler()
        interrupting.ended()

    assert record.payloads == (["stop"] if verb == "notify" else [])
    assert_ended(handler, verb, user)


@pytest.mark.parametrize("verb", ENDING)
def test_a_loop_that_delivers_is_ended_by_a_signal_handler(documented, record, session, user, verb):
    delivering, done = threading.Event(), threading.Event()

    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["extra"] == "100":
            delivering.set()

    def send_and_interrupt():
        start = 0
        while not done.is_set():
            burst(session, handler.event, 500, start)
            start += 500
            if start == 1_000:
                assert delivering.wait(PATIENCE)
                send_signal()

    handler = documented(callback)
    handler.listen()
    with on_signal(doing(handler, verb)):
        interrupting = Background(send_and_interrupt)
        try:
            handler()
        finally:
            done.set()
            interrupting.ended()

    payloads = record.payloads
    assert (payloads.pop() == "stop") if verb == "notify" else payloads
    assert payloads == list(map(str, range(len(payloads))))
    assert_ended(handler, verb, user)


@pytest.mark.parametrize("verb", ENDING)
def test_a_loop_in_a_callback_is_ended_by_a_signal_handler(documented, record, session, user, verb):
    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["extra"] == "0":
            send_signal()

    handler = documented(callback)
    handler.listen()
    burst(session, handler.event, 3)
    user.run("SELECT 1")  # so that all three have arrived

    with on_signal(doing(handler, verb)):
        handler()

    assert record.payloads == (["0", "1", "2", "stop"] if verb == "notify" else ["0"])
    assert_ended(handler, verb, user)


@pytest.mark.parametrize("verb", ENDING)
def test_a_loop_in_a_callback_in_the_midst_of_a_statement_is_ended_by_a_signal_handler(
    kind, documented, record, session, user, verb
):
    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["extra"] == "0":
            with suppress(Exception if verb == "close" else ()):  # close() may have closed before the statement's end
                run_with_a_signal(user, session)

    def end():
        if verb == "unlisten" and kind.implicit_transactions and not kind.interruptible:
            user.commit()  # Python runs this only after the statement, which has opened a transaction
        doing(handler, verb)()

    handler = documented(callback)
    handler.listen()
    burst(session, handler.event, 3)
    user.run("SELECT 1")  # so that all three have arrived

    with on_signal(end):
        handler()

    assert record.payloads == (["0", "1", "2", "stop"] if verb == "notify" else ["0"])
    assert_ended(handler, verb, user)


@pytest.mark.parametrize("verb", ["stop", "close"])
def test_a_handler_that_was_ended_by_a_signal_handler_while_no_loop_ran_returns_at_once(documented, user, verb):
    handler = documented()
    handler.listen()

    with on_signal(doing(handler, verb)):
        send_signal()
    handler()

    assert_ended(handler, verb, user)


def test_a_signal_handler_that_raises_ends_the_wait_and_nothing_is_lost(documented, record, session):
    def give_up():
        raise KeyboardInterrupt

    def interrupt():
        eventually(lambda: waits(threading.main_thread()))
        send_signal()

    handler = documented()
    with on_signal(give_up):
        interrupting = Background(interrupt)
        with pytest.raises(KeyboardInterrupt):
            handler()
        interrupting.ended()
    after_the_interrupt = handler.listening
    session.notify(handler.event, "later")
    session.notify(handler.stop_event)
    handler()

    assert after_the_interrupt is True
    assert record.payloads == ["later", ""]


class Storm:
    """Signals to the main thread at random moments of the loop, while a thread sends numbered notifications."""

    strikes = 60

    def __init__(self, handler, session, number):
        self.handler = handler
        self.session = session
        self.number = number
        self.raised = 0
        self.sent = 0
        self.interrupted = set()
        """The payloads of the calls of the callback that were interrupted."""
        self.over = threading.Event()

    def send(self):
        while not self.over.is_set():
            burst(self.session, self.handler.event, 20, self.sent)
            self.sent += 20
            self.over.wait(random.uniform(0, 0.002))
        self.session.notify(self.handler.stop_event)

    def strike(self):
        main = threading.main_thread()
        try:
            for number in range(self.strikes):
                eventually(lambda: "_run" in functions_of(main))
                self.over.wait(random.uniform(0, 0.004))
                signal.pthread_kill(main.ident, self.number)
                eventually(lambda number=number: self.raised > number)
        finally:
            self.over.set()

    def run(self, errors):
        """Run the handler again after each error of a signal handler."""
        sending, striking = Background(self.send), Background(self.strike)
        try:
            while self.raised <= self.strikes:
                try:
                    self.handler()
                    break
                except errors as error:
                    if "record_payload" in (frame.name for frame in traceback.extract_tb(error.__traceback__)):
                        self.interrupted.add(int(self.handler.arg_dict["extra"]))
                    self.raised += 1
        finally:
            self.over.set()
            sending.ended()
            striking.ended()


def test_ctrl_c_at_any_moment_loses_and_repeats_nothing(documented, session):
    payloads = []

    def record_payload(arg_dict):
        payloads.append(int(arg_dict["extra"] or -1))

    handler = documented(record_payload)
    handler.listen()
    storm = Storm(handler, session, signal.SIGINT)

    storm.run(KeyboardInterrupt)

    assert storm.raised == storm.strikes
    assert payloads.pop() == -1
    assert payloads == sorted(set(payloads))
    assert set(range(storm.sent)) - set(payloads) <= storm.interrupted
    assert handler.listening is False


@pytest.mark.skipif(not AVAILABLE, reason="not applicable: this Python runs signal handlers at other places")
@pytest.mark.drivers("psycopg", "psycopg2")
def test_an_interrupted_statement_leaves_the_connection_in_its_mode(documented):
    def interrupt():
        raise KeyboardInterrupt

    handler = documented()
    mode, counting = handler.db.autocommit, Interruption(0)
    with counting.here():
        handler.notify()
    assert counting.count > 10
    for place in range(1, counting.count + 1):
        interruption = Interruption(place, interrupt)
        with interruption.here(), suppress(KeyboardInterrupt):
            handler.notify()

        assert handler.db.autocommit is mode, interruption.where
