"""What other threads may do to a NotificationHandler while its loop runs."""

import sys
import threading

import pytest

import pgnotify
from pgnotify import ConnectionLost
from pgnotify.program.ownership import Answer
from tests.helpers import handler_fronts
from tests.helpers.sending import burst
from tests.helpers.threads import Background, waits, waits_for_answer
from tests.helpers.waiting import PATIENCE, eventually

ENDING = ("stop", "close", "unlisten")


class Holding:
    """A callback that records, and at the first call holds the loop until it is released."""

    def __init__(self, record):
        self.record = record
        self.entered, self.released = threading.Event(), threading.Event()

    def __call__(self, arg_dict):
        self.record(arg_dict)
        self.entered.set()
        assert self.released.wait(PATIENCE)


@pytest.fixture
def holding(record):
    holding = Holding(record)
    yield holding
    holding.released.set()


@pytest.fixture
def switching_often():
    """Have threads take turns as often as possible, which shows what is not guarded."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def send_until(done, session, channel):
    """Send numbers without end, so that the loop never comes to wait."""
    start = 0
    while not done.is_set():
        burst(session, channel, 500, start)
        start += 500


def assert_ended(handler, verb, user):
    assert handler.listening is False
    assert (handler.db is None) == (verb == "close")
    if verb != "close":
        assert user.listened_to == set()


@pytest.mark.parametrize("verb", ENDING)
def test_a_loop_that_waits_is_ended_from_another_thread(documented, record, user, verb):
    handler = documented()
    loop = Background(handler)
    eventually(lambda: waits(loop))

    getattr(handler, verb)()
    done_on_return = handler.listening is False and (verb != "close" or handler.db is None)
    loop.ended()

    assert done_on_return or verb == "stop"
    assert record == []
    assert_ended(handler, verb, user)


@pytest.mark.parametrize("verb", ENDING)
def test_a_loop_that_delivers_is_ended_from_another_thread(documented, record, session, user, verb):
    delivering, done = threading.Event(), threading.Event()

    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["extra"] == "100":
            delivering.set()

    handler = documented(callback)
    loop = Background(handler)
    eventually(lambda: handler.listening)
    sender = Background(send_until, done, session, handler.event)

    try:
        assert delivering.wait(PATIENCE)
        getattr(handler, verb)()
        loop.ended()
    finally:
        done.set()
        sender.ended()

    assert record.payloads == list(map(str, range(len(record.payloads))))
    assert_ended(handler, verb, user)


@pytest.mark.handler_fronts("blocking", "coroutine", why=handler_fronts.ONE_TASK)
@pytest.mark.parametrize("verb", ENDING)
def test_a_loop_in_a_callback_is_ended_from_another_thread(documented, record, holding, session, user, verb):
    handler = documented(holding)
    loop = Background(handler)
    eventually(lambda: handler.listening)
    burst(session, handler.event, 3)
    assert holding.entered.wait(PATIENCE)

    ending = Background(getattr(handler, verb))
    eventually(lambda: not ending.is_alive() or waits_for_answer(ending))
    holding.released.set()
    ending.ended()
    loop.ended()

    assert record.payloads == ["0"]
    assert_ended(handler, verb, user)
    handler.timeout = 0
    handler()
    assert record.payloads == (["0"] if verb == "close" else ["0", "1", "2"])


@pytest.mark.handler_fronts("blocking", "coroutine", why=handler_fronts.ONE_TASK)
def test_stop_does_not_wait(documented, holding):
    handler = documented(holding)
    loop = Background(handler)
    eventually(lambda: handler.listening)
    handler.notify()
    assert holding.entered.wait(PATIENCE)

    handler.stop()
    handler.stop()

    assert loop.is_alive()
    holding.released.set()
    loop.ended()


def test_a_connection_that_was_closed_from_another_thread_is_gone_from_the_server(documented, session, user):
    handler, pid = documented(), user.pid
    loop = Background(handler)
    eventually(lambda: waits(loop))

    handler.close()

    eventually(lambda: not session.sql(f"SELECT FROM pg_stat_activity WHERE pid = {pid}"))
    loop.ended()


def test_close_may_be_called_from_several_threads_at_once(documented):
    handler = documented()
    loop = Background(handler)
    eventually(lambda: waits(loop))

    closing = [Background(handler.close) for _ in range(5)]
    for each in closing:
        each.ended()
    loop.ended()

    assert handler.db is None


def test_another_thread_may_notify_on_the_handlers_own_connection_while_the_loop_waits(
    documented, record, session, user
):
    handler, pid = documented(), user.pid
    session.listen(handler.event)
    loop = Background(handler)

    for payload in ("it's", "from another", "thread"):
        eventually(lambda: waits(loop))
        handler.notify(payload=payload)
        assert session.received() == [(handler.event, payload)]  # sent on return
    handler.notify(stop=True)
    loop.ended()

    assert record.payloads == ["it's", "from another", "thread", ""]
    assert {each["pid"] for each in record} == {pid}


@pytest.mark.handler_fronts("blocking", "coroutine", why=handler_fronts.ONE_TASK)
def test_another_thread_may_notify_on_the_handlers_own_connection_while_a_callback_runs(documented, record, holding):
    handler = documented(holding)
    loop = Background(handler)
    eventually(lambda: handler.listening)
    handler.notify(payload="1")
    assert holding.entered.wait(PATIENCE)

    notifying = Background(handler.notify, payload="2")
    eventually(lambda: waits_for_answer(notifying))
    holding.released.set()
    notifying.ended()
    handler.notify(stop=True)
    loop.ended()

    assert record.payloads == ["1", "2", ""]


def test_many_threads_may_notify_on_the_handlers_own_connection(documented, record):
    handler = documented()
    loop = Background(handler)
    eventually(lambda: handler.listening)

    def send(name):
        for number in range(50):
            handler.notify(payload=f"{name} {number}")

    senders = [Background(send, name) for name in "abc"]
    for each in senders:
        each.ended()
    handler.notify(stop=True)
    loop.ended()

    assert record.payloads[-1] == ""
    assert len(record.payloads) == 151
    for name in "abc":
        assert [each for each in record.payloads if each.startswith(name)] == [f"{name} {n}" for n in range(50)]


def test_many_threads_may_notify_while_no_loop_runs(documented, session, switching_often):
    handler = documented()
    session.listen(handler.event)

    def send(name):
        for number in range(100):
            handler.notify(payload=f"{name} {number}")

    senders = [Background(send, name) for name in "abc"]
    for each in senders:
        each.ended()

    payloads = [payload for _, payload in session.received()]
    for name in "abc":
        assert [each for each in payloads if each.startswith(name)] == [f"{name} {n}" for n in range(100)]


def test_another_thread_may_notify_whether_the_loop_runs_or_not(documented, record, switching_often):
    handler = documented(timeout=0)
    handler.listen()

    def send():
        for number in range(200):
            handler.notify(payload=str(number))

    sender = Background(send)
    while sender.is_alive():
        handler()
    sender.ended()
    handler()

    assert record.payloads == list(map(str, range(200)))


def test_listening_again_from_another_thread_does_nothing(documented, record):
    handler = documented()
    loop = Background(handler)
    eventually(lambda: waits(loop))

    handler.listen()

    handler.notify(stop=True)
    loop.ended()
    assert record.payloads == [""]


def test_a_loop_runs_in_one_thread_at_a_time(documented):
    handler = documented()
    loop = Background(handler)
    eventually(lambda: waits(loop))

    with pytest.raises(RuntimeError, match="already running"):
        handler()

    assert loop.is_alive()
    handler.stop()
    loop.ended()


@pytest.mark.handler_fronts("blocking", "coroutine", why=handler_fronts.ONE_TASK)
def test_who_asks_a_loop_whose_server_has_gone_is_told_so(documented, holding, session, user):
    handler, pid = documented(holding), user.pid
    loop = Background(handler)
    eventually(lambda: handler.listening)
    handler.notify(payload="1")
    assert holding.entered.wait(PATIENCE)
    session.terminate(pid)

    notifying = Background(handler.notify, payload="2")
    eventually(lambda: waits_for_answer(notifying))
    holding.released.set()

    with pytest.raises(ConnectionLost):
        notifying.ended()
    with pytest.raises(ConnectionLost):
        loop.ended()
    assert handler.listening is False


@pytest.mark.handler_fronts("blocking", "coroutine", why=handler_fronts.ONE_TASK)
def test_who_asks_a_loop_that_ends_with_an_error_of_the_callbacks_is_answered(documented, session, record):
    entered, released = threading.Event(), threading.Event()

    def callback(arg_dict):
        entered.set()
        assert released.wait(PATIENCE)
        raise LookupError("of the user's")

    handler = documented(callback)
    session.listen(handler.event)
    loop = Background(handler)
    eventually(lambda: handler.listening)
    session.notify(handler.event, "1")
    assert entered.wait(PATIENCE)

    notifying = Background(handler.notify, payload="2")
    eventually(lambda: waits_for_answer(notifying))
    released.set()
    notifying.ended()

    with pytest.raises(LookupError):
        loop.ended()
    assert session.received() == [(handler.event, "1"), (handler.event, "2")]


@pytest.mark.handler_fronts("blocking", why=handler_fronts.THREADS)
def test_who_asks_in_the_moment_in_which_the_loop_ends_is_not_forgotten(documented, holding, session, monkeypatch):
    handler = documented(holding)
    session.listen(handler.event)
    loop = Background(handler)
    eventually(lambda: handler.listening)
    session.notify(handler.event, "1")
    assert holding.entered.wait(PATIENCE)

    class MadeTooLate(Answer):
        def __init__(self):
            super().__init__()
            handler.stop()
            holding.released.set()
            loop.ended()

    monkeypatch.setattr("pgnotify.handler.handler.Answer", MadeTooLate)
    notifying = Background(handler.notify, payload="2")
    notifying.ended()

    assert session.received() == [(handler.event, "1"), (handler.event, "2")]


def test_a_handler_may_move_from_thread_to_thread(documented, record, session):
    handler = documented()

    for payload in ("1", "2"):
        loop = Background(handler)
        eventually(lambda: handler.listening)
        session.notify(handler.event, payload)
        session.notify(handler.stop_event)
        loop.ended()
    handler.timeout = 0
    handler()

    assert record.payloads == ["1", "", "2", ""]


@pytest.mark.handler_fronts("blocking", why=handler_fronts.THREADS)
@pytest.mark.parametrize("wrapped", ["handler", "notify"])
def test_a_notify_through_the_same_connection_wrapped_anew_is_done_by_the_loop(
    documented, db, record, monkeypatch, wrapped
):
    handler = documented(on=pgnotify.wrap(db) if wrapped == "handler" else db)
    notify, threads = handler._backend.notify, []
    monkeypatch.setattr(
        handler._backend, "notify", lambda *args: (threads.append(threading.get_ident()), notify(*args))
    )
    loop = Background(handler)
    eventually(lambda: waits(loop))

    handler.notify(db if wrapped == "handler" else pgnotify.wrap(db), payload="sent")
    eventually(lambda: record.payloads == ["sent"])

    assert threads == [loop.ident]
    handler.stop()
    loop.ended()
