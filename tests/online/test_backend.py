"""What each backend promises (`pgnotify.protocol.Backend`), on each kind of connection.

Only the five verbs and close() are used here, so that any backend could stand this. What is special
to a driver has a module of its own.
"""

from __future__ import annotations

import os
import resource
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from types import SimpleNamespace
from typing import Any

import pytest

import pgnotify
from pgnotify.errors import ConnectionLost, PayloadError, TransactionError
from pgnotify.notification import Notification
from pgnotify.protocol import Backend
from pgnotify.waiting import Wakeup
from tests import proxy as proxies
from tests.listening import collect, payloads, send_numbers, state_of, until, until_lost
from tests.nasty import GOOD_CHANNELS, GOOD_PAYLOADS
from tests.user import User
from tests.wire import Session

LONGEST_BATCH = 1_000  # "a few hundred"


@pytest.fixture
def backend(db) -> Backend:
    return pgnotify.wrap(db).backend


@pytest.fixture
def receiver(connect) -> Backend:
    """Another connection, to see what the first one sends."""
    return pgnotify.wrap(connect()).backend


class Polls:
    """Counts calls of poll(), and says when the first one is made."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []
        self.begun = threading.Event()

    def make(self) -> Any:
        poller = select.poll()
        return SimpleNamespace(register=poller.register, poll=lambda timeout: self._poll(poller, timeout))

    def _poll(self, poller: Any, timeout: float | None) -> Any:
        self.timeouts.append(timeout)
        self.begun.set()
        return poller.poll(timeout)


@pytest.fixture
def polls(monkeypatch) -> Polls:
    counted = Polls()
    monkeypatch.setattr("pgnotify.waiting.select", SimpleNamespace(poll=counted.make, POLLIN=select.POLLIN))
    return counted


@pytest.fixture
def link(kind, address, proxy) -> Callable[[], User]:
    """Open a connection of the kind that runs through the proxy."""
    with ExitStack() as opened:

        def open_one() -> User:
            db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
            opened.callback(_close_quietly, db)
            return User(kind, db)

        yield open_one


def _close_quietly(db: Any) -> None:
    with suppress(Exception):  # its link was cut
        db.close()


# listen and unlisten


def test_a_listen_is_in_force_on_return(backend, session, channel):
    backend.listen(channel)

    session.notify(channel, "ä")

    assert collect(backend, 1) == [Notification(channel, "ä", session.pid)]


def test_an_unlisten_is_in_force_on_return(backend, session, channel):
    backend.listen(channel)
    backend.listen("other")
    backend.unlisten(channel)

    session.notify(channel)
    session.notify("other", "the first to arrive")

    assert payloads(backend, 1) == ["the first to arrive"]


def test_listening_twice_delivers_once_and_one_unlisten_ends_it(backend, session, channel):
    backend.listen("other")
    backend.listen(channel)
    backend.listen(channel)
    session.notify(channel, "once")
    session.notify("other", "then")
    assert payloads(backend, 2) == ["once", "then"]

    backend.unlisten(channel)
    session.notify(channel, "unheard")
    session.notify("other", "heard")

    assert payloads(backend, 1) == ["heard"]


def test_unlistening_twice_or_an_unknown_channel_does_nothing(backend, session, channel):
    backend.unlisten("unknown")
    backend.listen(channel)
    backend.unlisten(channel)
    backend.unlisten(channel)

    backend.listen(channel)
    session.notify(channel, "again")

    assert payloads(backend, 1) == ["again"]


def test_what_had_arrived_before_an_unlisten_stays(backend, channel):
    backend.listen(channel)
    backend.notify(channel, "to myself")

    backend.unlisten(channel)

    assert payloads(backend, 1) == ["to myself"]


def test_the_case_of_a_name_is_kept(backend, session):
    backend.listen("MixedCase")

    session.sql("NOTIFY MixedCase, 'folded'")
    session.sql("NOTIFY \"MixedCase\", 'quoted'")

    assert payloads(backend, 1) == ["quoted"]


def test_a_name_may_have_anything_in_it_that_a_name_can(backend, session):
    for name in GOOD_CHANNELS:
        backend.listen(name)
    for name in GOOD_CHANNELS:
        session.notify(name, name)

    arrived = collect(backend, len(GOOD_CHANNELS))
    assert [(each.channel, each.payload) for each in arrived] == [(name, name) for name in GOOD_CHANNELS]

    for name in GOOD_CHANNELS:
        backend.unlisten(name)
    backend.listen("other")
    for name in GOOD_CHANNELS:
        session.notify(name)
    session.notify("other", "the first to arrive")
    assert payloads(backend, 1) == ["the first to arrive"]


def test_a_connection_is_idle_after_each_verb(backend, user, session, channel):
    pid = user.pid

    for verb in (backend.listen, backend.notify, lambda _: backend.fetch(), backend.unlisten):
        verb(channel)
        until(lambda: state_of(session, pid) == "idle")  # the server says so a little after its answer

    assert user.run("SELECT 1") == [(1,)]


def test_the_autocommit_mode_is_left_as_it_was(backend, user, session, channel):
    pid = user.pid
    driver_connection = getattr(user.db, "driver_connection", user.db)
    before = getattr(driver_connection, "autocommit", None)

    backend.listen(channel)
    backend.notify(channel)
    collect(backend, 1)
    backend.unlisten(channel)

    assert getattr(driver_connection, "autocommit", None) == before
    user.sql("SELECT 1")
    until(lambda: state_of(session, pid) == ("idle in transaction" if user.kind.implicit_transactions else "idle"))


# wait


def test_a_wait_of_no_time_only_looks(backend, session, channel, polls):
    backend.listen(channel)

    assert backend.wait(0) is False

    assert polls.timeouts == [0]


def test_a_wait_lasts_as_long_as_was_said_and_polls_once(backend, channel, polls):
    backend.listen(channel)
    begun = time.monotonic()

    assert backend.wait(0.15) is False

    assert time.monotonic() - begun >= 0.15
    assert polls.timeouts == [150]


def test_a_notification_ends_a_wait_without_end(backend, session, channel, polls):
    backend.listen(channel)
    sender = threading.Thread(target=lambda: (polls.begun.wait(20), session.notify(channel, "now")))
    sender.start()

    assert backend.wait(None) is True
    sender.join()

    assert payloads(backend, 1) == ["now"]


def test_the_wakeup_descriptor_ends_a_wait_without_end(backend, channel, polls):
    backend.listen(channel)
    wakeup = Wakeup()
    waker = threading.Thread(target=lambda: (polls.begun.wait(20), wakeup.wake()))
    waker.start()

    backend.wait(None, wakeup.fileno())
    waker.join()
    wakeup.close()

    assert polls.timeouts == [None]
    assert backend.fetch() == []


def test_a_wakeup_that_came_before_the_wait_ends_it_too(backend, channel):
    backend.listen(channel)
    wakeup = Wakeup()
    wakeup.wake()

    backend.wait(None, wakeup.fileno())
    wakeup.clear()

    assert backend.wait(0, wakeup.fileno()) is False
    wakeup.close()


def test_a_wait_of_years_is_possible(backend, channel):
    backend.listen(channel)
    wakeup = Wakeup()
    wakeup.wake()

    backend.wait(1e12, wakeup.fileno())

    wakeup.close()


def test_without_a_listen_nothing_arrives(backend, session, channel):
    session.notify(channel)

    assert backend.wait(0) is False
    assert backend.fetch() == []


# Buffered, but not readable: the socket is empty, and the driver has it.


def test_a_notification_to_oneself_ends_the_wait_at_once(backend, user, channel):
    backend.listen(channel)
    pid = user.pid

    backend.notify(channel, "to myself")

    assert backend.wait(5) is True
    assert backend.fetch() == [Notification(channel, "to myself", pid)]


def test_what_came_along_with_a_query_ends_the_wait_at_once(backend, user, session, channel):
    backend.listen(channel)
    user.begin()
    session.notify(channel, "while you were busy")
    user.commit()

    assert backend.wait(5) is True
    assert payloads(backend, 1) == ["while you were busy"]


def test_what_came_along_with_a_listen_ends_the_wait_at_once(backend, user, session, channel):
    backend.listen(channel)
    session.notify(channel, "in the meantime")

    backend.listen("other")

    assert backend.wait(5) is True
    assert payloads(backend, 1) == ["in the meantime"]


def test_what_came_behind_an_answer_in_the_same_piece_ends_the_wait_at_once(link, proxy, channel):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)
    proxy.append(proxies.notification(channel, b"behind"))

    backend.unlisten("whatever")  # one statement, one answer

    assert backend.wait(5) is True
    assert collect(backend, 1) == [Notification(channel, "behind", 4711)]


def test_what_is_fetched_is_not_fetched_again(backend, channel):
    backend.listen(channel)
    backend.notify(channel, "once")
    assert payloads(backend, 1) == ["once"]

    assert backend.wait(0) is False
    assert backend.fetch() == []


# fetch


def test_a_fetch_never_waits(backend, channel, polls):
    backend.listen(channel)

    assert backend.fetch() == []

    assert set(polls.timeouts) <= {0}


def test_more_than_one_read_of_the_socket_arrives_whole_and_in_order(backend, session, channel):
    backend.listen(channel)

    sent = send_numbers(session, channel, 5_000)

    assert payloads(backend, 5_000) == sent
    assert backend.wait(0) is False
    assert backend.fetch() == []


def test_a_backlog_comes_in_batches(backend, user, session, channel):
    backend.listen(channel)
    user.begin()
    sent = send_numbers(session, channel, 5_000)
    user.commit()  # some drivers read all of it along with the answer

    arrived, batches = [], []
    while len(arrived) < len(sent):
        assert backend.wait(20)
        batches.append(backend.fetch())
        arrived += [each.payload for each in batches[-1]]

    assert arrived == sent
    assert max(map(len, batches)) <= LONGEST_BATCH


def test_what_comes_while_a_query_runs_is_all_there_afterwards(backend, user, session, channel):
    backend.listen(channel)
    session.sql("SELECT pg_advisory_lock(2)")
    sent: list[str] = []

    def send_while_the_query_waits() -> None:
        until(lambda: session.sql("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))
        sent.extend(send_numbers(session, channel, 3_000))
        session.sql("SELECT pg_advisory_unlock(2)")

    sending = threading.Thread(target=send_while_the_query_waits)
    sending.start()
    user.run("SELECT pg_advisory_xact_lock(2)")
    sending.join()

    assert payloads(backend, 3_000) == sent


def test_queries_between_notifications_get_their_answers_and_lose_none(backend, user, address, channel):
    backend.listen(channel)
    user.run("SELECT 1")

    def send() -> None:
        with Session(address.host, address.port) as sender:
            for number in range(300):
                sender.notify(channel, f"é{number}")

    sending = threading.Thread(target=send)
    sending.start()
    arrived, number = [], 0
    while sending.is_alive() or len(arrived) < 300:
        assert user.run(f"SELECT {number}") == [(number,)]
        arrived += [each.payload for each in backend.fetch()]
        number += 1
    sending.join()

    assert arrived == [f"é{number}" for number in range(300)]


def test_a_notification_in_the_midst_of_an_answer_does_no_harm(link, proxy, channel):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)

    for number in range(5):
        proxy.say(proxies.notification(channel, f"日{number}".encode()))
        assert user.run(f"SELECT {number}") == [(number,)]

    assert payloads(backend, 5) == ["日0", "日1", "日2", "日3", "日4"]


@pytest.mark.parametrize("size", [1, 7, 1_000])  # in the head, in the pid, in the payload
def test_a_notification_in_two_pieces_arrives_whole(link, proxy, session, channel, size):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)
    message = proxies.notification(channel, b"x" * 2_000)
    rest = message[size:] + proxies.notification(channel, b"next")
    proxy.say(message[:size])
    assert backend.wait(20) is True

    slow_network = threading.Timer(0.02, proxy.say, [rest])  # whether it is slower than we are or not
    slow_network.start()
    arrived = payloads(backend, 2)
    slow_network.join()

    assert arrived == ["x" * 2_000, "next"]


def test_other_news_of_the_server_are_a_false_alarm_at_most(link, proxy, channel):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)
    news = b"S" + (4 + 17 + 5).to_bytes(4, "big") + b"application_name\0news\0"

    proxy.say(news)
    assert backend.wait(20) is True
    assert backend.fetch() == []
    assert backend.wait(0) is False

    proxy.say(news + proxies.notification(channel, b"behind them"))
    assert payloads(backend, 1) == ["behind them"]
    assert user.run("SELECT 7") == [(7,)]


# notify


def test_a_notification_is_sent_on_return(backend, receiver, user, channel):
    receiver.listen(channel)

    backend.notify(channel, "sent")
    backend.notify(channel)

    assert collect(receiver, 2) == [Notification(channel, "sent", user.pid), Notification(channel, "", user.pid)]


def test_a_payload_may_have_anything_in_it_that_text_can(backend, receiver, channel):
    receiver.listen(channel)

    for payload in GOOD_PAYLOADS:
        backend.notify(channel, payload)

    assert payloads(receiver, len(GOOD_PAYLOADS)) == list(GOOD_PAYLOADS)


def test_a_name_may_have_anything_in_it_when_it_is_notified_too(backend):
    for name in GOOD_CHANNELS:
        backend.listen(name)

    for name in GOOD_CHANNELS:
        backend.notify(name)

    assert [each.channel for each in collect(backend, len(GOOD_CHANNELS))] == list(GOOD_CHANNELS)


def test_in_a_transaction_of_the_users_it_is_sent_when_they_commit(backend, receiver, user, session, channel):
    receiver.listen(channel)
    user.begin()
    backend.notify(channel, "in it")
    session.notify(channel, "meanwhile")
    assert payloads(receiver, 1) == ["meanwhile"]

    user.commit()

    assert payloads(receiver, 1) == ["in it"]


def test_in_a_transaction_that_is_rolled_back_it_is_not_sent(backend, receiver, user, session, channel):
    receiver.listen(channel)
    user.begin()
    backend.notify(channel, "in it")

    user.rollback()
    session.notify(channel, "afterwards")

    assert payloads(receiver, 1) == ["afterwards"]


def test_many_are_sent_in_order(backend, receiver, channel):
    receiver.listen(channel)
    receiver.listen("other")

    backend.notify_many([(channel, payload) for payload in GOOD_PAYLOADS] + [("other", "last")])

    assert payloads(receiver, len(GOOD_PAYLOADS) + 1) == [*GOOD_PAYLOADS, "last"]


# The user's transactions


@pytest.fixture(params=["begin", "fail"])
def transaction(request, user) -> str:
    """Whether the user's transaction is open or failed."""
    return request.param


@pytest.mark.parametrize("verb", ["listen", "unlisten", "wait"])
def test_inside_a_transaction_it_is_refused(backend, user, channel, transaction, verb):
    backend.listen(channel)
    getattr(user, transaction)()
    call = {"listen": lambda: backend.listen("x"), "unlisten": lambda: backend.unlisten(channel)}

    with pytest.raises(TransactionError, match="open transaction"):
        call.get(verb, lambda: backend.wait(0))()

    user.rollback()
    assert backend.wait(0) is False


def test_a_refusal_leaves_the_users_work_alone(backend, user, session, channel):
    backend.listen(channel)
    user.begin()
    user.sql("CREATE TEMPORARY TABLE work AS SELECT 42 AS answer")

    for refused in (lambda: backend.listen("x"), lambda: backend.unlisten(channel), lambda: backend.wait(0)):
        with pytest.raises(TransactionError):
            refused()
    user.commit()

    assert user.run("SELECT answer FROM work") == [(42,)]
    session.notify(channel, "listening still")
    assert payloads(backend, 1) == ["listening still"]


def test_a_fetch_inside_a_transaction_returns_what_came_before_it(backend, user, session, channel):
    backend.listen(channel)
    backend.notify(channel, "before")
    user.begin()

    session.notify(channel, "during")
    assert [each.payload for each in backend.fetch()] == ["before"]
    assert backend.fetch() == []
    user.rollback()

    assert payloads(backend, 1) == ["during"]


# The end of the connection


def _verbs(backend: Backend) -> dict[str, Callable[[], object]]:
    return {
        "fetch": backend.fetch,
        "wait": lambda: backend.wait(None),
        "listen": lambda: backend.listen("x"),
        "unlisten": lambda: backend.unlisten("x"),
        "notify": lambda: backend.notify("x", "y"),
    }


def _assert_lost_for_good(backend: Backend) -> None:
    for _ in range(2):
        for verb, call in _verbs(backend).items():
            with pytest.raises(ConnectionLost) as lost:
                call()
            cause = lost.value.__cause__
            assert cause is not None, verb
            assert not isinstance(cause, ConnectionLost), verb


def test_a_termination_ends_the_wait_and_the_connection_is_lost_for_good(backend, user, session, channel, polls):
    backend.listen(channel)
    pid = user.pid
    killer = threading.Thread(target=lambda: (polls.begun.wait(20), session.terminate(pid)))
    killer.start()

    arrived, lost = until_lost(backend)
    killer.join()

    assert arrived == []
    assert lost.__cause__ is not None
    _assert_lost_for_good(backend)


@pytest.mark.parametrize("verb", ["fetch", "wait", "listen", "unlisten", "notify"])
def test_a_termination_is_told_by_whatever_comes_first(backend, user, session, channel, verb):
    backend.listen(channel)
    session.terminate(user.pid)
    call = _verbs(backend)[verb]

    if verb == "wait":
        until_lost(backend)
    elif verb == "fetch":
        until(lambda: _raises_loss(call))  # the news may be on its way still
    else:
        with pytest.raises(ConnectionLost):
            call()

    _assert_lost_for_good(backend)


def _raises_loss(call: Callable[[], object]) -> bool:
    try:
        assert call() == []
    except ConnectionLost:
        return True
    return False


def test_a_termination_comes_after_the_last_notifications(backend, user, session, channel):
    backend.listen(channel)
    pid = user.pid
    session.notify(channel, "last words")
    assert backend.wait(20) is True

    session.terminate(pid)

    arrived, _ = until_lost(backend)
    assert [each.payload for each in arrived] == ["last words"]
    _assert_lost_for_good(backend)


def test_a_loss_that_a_query_met_comes_after_the_last_notifications(backend, user, session, channel):
    backend.listen(channel)
    pid = user.pid
    backend.notify(channel, "last words")
    session.terminate(pid)
    with pytest.raises(Exception):  # noqa: B017, PT011  # each driver has its own
        user.sql("SELECT 1")

    assert [each.payload for each in backend.fetch()] == ["last words"]

    _assert_lost_for_good(backend)


@pytest.mark.parametrize("answer_before", [1, 1_000_000])  # libpq's buffer grows, and then takes in the end along
def test_a_long_farewell_is_handed_over_before_the_loss(link, proxy, channel, answer_before):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)
    user.run(f"SELECT repeat('x', {answer_before})")
    words = [f"word {number}" for number in range(3_000)]

    proxy.say(b"".join(proxies.notification(channel, word.encode()) for word in words))
    proxy.fin()
    arrived, lost = until_lost(backend)

    assert [each.payload for each in arrived] == words
    assert lost.__cause__ is not None
    _assert_lost_for_good(backend)


def test_an_end_behind_other_news_is_told_by_the_first_fetch(link, proxy, channel):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)
    reason = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    proxy.say(b"E" + (4 + len(reason)).to_bytes(4, "big") + reason)
    proxy.fin()

    with pytest.raises(ConnectionLost):  # some drivers notice the end with the second look only
        backend.fetch()

    _assert_lost_for_good(backend)


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_the_end_of_a_tcp_connection_is_a_loss(link, proxy, channel, end):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)

    getattr(proxy, end)()
    arrived, _ = until_lost(backend)

    assert arrived == []
    _assert_lost_for_good(backend)


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_the_end_of_a_tcp_connection_is_a_loss_to_a_listen_too(link, proxy, channel, end):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    getattr(proxy, end)()

    with pytest.raises(ConnectionLost) as lost:
        backend.listen(channel)

    assert lost.value.__cause__ is not None
    _assert_lost_for_good(backend)


def test_an_end_in_the_midst_of_a_notification_is_a_loss(link, proxy, channel):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)
    proxy.say(proxies.notification(channel, b"whole") + proxies.notification(channel, b"never whole")[:-3])
    proxy.fin()

    arrived, _ = until_lost(backend)

    assert [each.payload for each in arrived] == ["whole"]
    _assert_lost_for_good(backend)


def test_silence_of_the_network_is_no_loss(link, proxy, session, channel):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)
    proxy.freeze()
    session.notify(channel, "held back")
    assert backend.wait(0) is False
    assert backend.fetch() == []

    proxy.thaw()

    assert payloads(backend, 1) == ["held back"]


def test_a_payload_that_the_client_encoding_lacks_ends_the_connection(backend, user, session):
    user.run("SET client_encoding TO LATIN1")
    backend.listen("plain")

    session.notify("plain", "€")  # the server cannot say it, so it goes

    arrived, lost = until_lost(backend)
    assert arrived == []
    assert lost.__cause__ is not None
    _assert_lost_for_good(backend)


def test_a_closed_connection_is_a_lost_one(backend, channel):
    backend.listen(channel)

    backend.close()

    _assert_lost_for_good(backend)


def test_a_connection_that_the_user_has_closed_is_a_lost_one(backend, db, channel):
    backend.listen(channel)

    db.close()

    _assert_lost_for_good(backend)


def test_closing_ends_the_session_on_the_server(backend, user, session, channel):
    backend.listen(channel)
    pid = user.pid

    backend.close()

    until(lambda: state_of(session, pid) is None)


def test_closing_twice_is_closing_once(backend, channel):
    backend.listen(channel)

    backend.close()
    backend.close()


def test_closing_after_the_user_did_is_possible(backend, db, channel):
    backend.listen(channel)
    db.close()

    backend.close()


def test_a_dead_connection_can_be_closed_whether_it_is_known_or_not(connect, kind, session, channel):
    for known in (False, True):
        db = connect()
        backend = pgnotify.wrap(db).backend
        backend.listen(channel)
        session.terminate(User(kind, db).pid)
        if known:
            until_lost(backend)

        backend.close()
        backend.close()


def test_closing_inside_a_transaction_is_possible(backend, user, session, channel):
    backend.listen(channel)
    pid = user.pid
    user.begin()

    backend.close()

    until(lambda: state_of(session, pid) is None)


# Descriptors


@pytest.fixture
def low_descriptors_taken() -> Iterator[None]:
    """Take all descriptors up to 1,023, where select() ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_048:
        pytest.skip(f"at most {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
    with ExitStack() as taken:
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 1_023:
            taken.callback(os.close, descriptor)
        os.close(descriptor)
        yield


def test_a_descriptor_over_1023_can_be_waited_for(low_descriptors_taken, kind, address, session, channel):
    db = kind.connect(address)
    wakeup = Wakeup()
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    assert wakeup.fileno() > 1_023

    assert backend.wait(0.01, wakeup.fileno()) is False
    session.notify(channel, "high")
    assert payloads(backend, 1) == ["high"]
    wakeup.wake()
    backend.wait(None, wakeup.fileno())

    wakeup.close()
    backend.close()


def _open_descriptors() -> set[int]:
    return {number for number in range(256) if _is_open(number)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("end", ["closed by us", "closed by the user", "terminated"])
def test_a_number_that_is_used_again_is_not_taken_for_the_connection(backend, db, user, session, channel, end):
    backend.listen(channel)
    pid = user.pid
    before = _open_descriptors()
    if end == "closed by us":
        backend.close()
    elif end == "closed by the user":
        db.close()
    else:
        session.terminate(pid)
        until_lost(backend)

    with ExitStack() as reused:
        for number in before - _open_descriptors():
            zeros = os.open("/dev/zero", os.O_RDONLY)  # always readable
            if zeros != number:
                os.dup2(zeros, number)
                os.close(zeros)
            reused.callback(os.close, number)

        _assert_lost_for_good(backend)
        backend.close()


# Encodings


@pytest.fixture(scope="module")
def other_encodings(address) -> Iterator[dict[str, Any]]:
    """Databases that are not in UTF-8."""
    databases = {
        encoding: address._replace(database=f"pgnotify_{encoding.lower()}") for encoding in ("LATIN1", "SQL_ASCII")
    }
    with Session(address.host, address.port) as session:
        for encoding, to in databases.items():
            session.sql(f"DROP DATABASE IF EXISTS {to.database}")
            session.sql(
                f"CREATE DATABASE {to.database} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
            # Not always the default: a server has it from its own environment, if that names one.
            session.sql(f"ALTER DATABASE {to.database} SET client_encoding TO '{encoding}'")
        yield databases
        for to in databases.values():
            session.sql(f"DROP DATABASE {to.database} (FORCE)")


@pytest.fixture
def latin1(other_encodings, connect) -> Iterator[tuple[Any, Session]]:
    """A connection to a database in LATIN1, with the client_encoding that it gets there, and a session in UTF-8."""
    to = other_encodings["LATIN1"]
    with Session(to.host, to.port, to.database) as session:
        session.sql("SET client_encoding TO UTF8")
        yield connect(to), session


def _decodes_utf_8_only(kind) -> bool:
    return kind.driver == "pygresql"


def test_in_a_latin1_database_names_and_payloads_are_right(latin1, kind):
    db, session = latin1
    backend = pgnotify.wrap(db).backend
    backend.listen("plain")
    if _decodes_utf_8_only(kind):
        backend.notify("plain", "é")
        session.notify("plain", "next")
        with pytest.raises(PayloadError, match=r"client_encoding is LATIN1"):
            collect(backend, 1)
        assert payloads(backend, 1) == ["next"]
        return
    backend.listen("Café")

    session.notify("Café", "é")
    backend.notify("Café", "ü")
    backend.notify_many([("Café", "ö")])
    assert [(each.channel, each.payload) for each in collect(backend, 3)] == [("Café", each) for each in "éüö"]

    backend.unlisten("Café")
    session.notify("Café", "é")
    session.notify("plain", "the first to arrive")
    assert payloads(backend, 1) == ["the first to arrive"]


@pytest.mark.parametrize("verb", ["listen", "notify"])
def test_what_the_client_encoding_cannot_express_is_refused_and_does_no_harm(latin1, kind, verb):
    db, _ = latin1
    backend = pgnotify.wrap(db).backend
    backend.listen("plain")

    with pytest.raises(Exception, match=r"encod|UTF8|codec"):  # the driver's own
        backend.listen("€") if verb == "listen" else backend.notify("plain", "€")

    _assert_usable(backend, User(kind, db), "plain")


def _decoded(kind) -> str:
    """What comes out for the bytes b"a\\xe9b": psycopg2 decodes by itself, before anybody else can."""
    return {True: "a\ufffdb", False: "a\udce9b"}["psycopg2" in kind.name]


def _assert_only_the_bad_one_is_bad(backend: Backend, kind) -> None:
    if _decodes_utf_8_only(kind):
        assert payloads(backend, 1) == ["before"]
        with pytest.raises(PayloadError, match=r"a\\xe9b"):
            collect(backend, 1)
        assert payloads(backend, 1) == ["after"]
    else:
        assert payloads(backend, 3) == ["before", _decoded(kind), "after"]


def _assert_usable(backend: Backend, user: User, channel: str) -> None:
    assert user.run("SELECT 2") == [(2,)]
    assert user.run("SELECT 3") == [(3,)]
    backend.notify(channel, "usable")
    assert payloads(backend, 1) == ["usable"]


@pytest.mark.parametrize("along_with_a_query", [False, True])
def test_bytes_that_cannot_be_decoded_do_no_harm(link, proxy, kind, channel, along_with_a_query):
    user = link()
    backend = pgnotify.wrap(user.db).backend
    backend.listen(channel)
    user.run("SELECT 1")

    proxy.say(b"".join(proxies.notification(channel, payload) for payload in (b"before", b"a\xe9b", b"after")))
    if along_with_a_query:
        assert user.run("SELECT 1") == [(1,)]

    _assert_only_the_bad_one_is_bad(backend, kind)
    _assert_usable(backend, user, channel)


@pytest.mark.drivers("psycopg", "psycopg2", "pg8000", "pygresql")  # SQLAlchemy and Django cannot use such a database
@pytest.mark.parametrize("along_with_a_query", [False, True])
def test_a_database_without_an_encoding_does_no_harm(other_encodings, connect, kind, along_with_a_query):
    to = other_encodings["SQL_ASCII"]
    with Session(to.host, to.port, to.database) as session:
        user = User(kind, connect(to))
        backend = pgnotify.wrap(user.db).backend
        backend.listen("plain")

        if along_with_a_query:
            user.begin()
        session.notify("plain", "before")
        session.sql(r"SELECT pg_notify('plain', E'a\xe9b')")
        session.notify("plain", "after")
        if along_with_a_query:
            user.commit()

        _assert_only_the_bad_one_is_bad(backend, kind)
        _assert_usable(backend, user, "plain")


# Whose connection it is


def test_two_backends_on_one_connection_see_one_queue(db, session, channel):
    first, second = pgnotify.wrap(db).backend, pgnotify.wrap(db).backend
    first.listen(channel)

    sent = send_numbers(session, channel, 20)
    assert first.wait(20) is True
    assert second.wait(20) is True

    assert payloads(second, 20) == sent
    assert first.wait(0) is False
    assert first.fetch() == []


def test_two_backends_on_one_connection_are_lost_together(db, user, session, channel):
    first, second = pgnotify.wrap(db).backend, pgnotify.wrap(db).backend
    first.listen(channel)
    session.terminate(user.pid)

    until_lost(first)

    _assert_lost_for_good(second)


def test_a_second_wrap_goes_on_where_the_first_one_ended(db, session, channel):
    pgnotify.wrap(db).backend.listen(channel)
    session.notify(channel, "between them")

    assert payloads(pgnotify.wrap(db).backend, 1) == ["between them"]


def test_the_proxy_of_a_tracing_library_is_as_good_as_the_connection(db, session, channel):
    wrapt = pytest.importorskip("wrapt")
    backend = pgnotify.wrap(wrapt.ObjectProxy(db)).backend
    backend.listen(channel)

    session.notify(channel, "traced")

    assert payloads(backend, 1) == ["traced"]
    backend.notify(channel, "and back")
    assert payloads(backend, 1) == ["and back"]


def test_wrapping_changes_nothing_and_sends_nothing(db, user, session):
    pid = user.pid
    before = session.sql(f"SELECT query, state_change FROM pg_stat_activity WHERE pid = {pid}")

    pgnotify.wrap(db)

    assert session.sql(f"SELECT query, state_change FROM pg_stat_activity WHERE pid = {pid}") == before
