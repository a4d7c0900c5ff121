"""What is special to pg8000: its deque, its decoding, its buffers, its one protocol stream."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import weakref
from collections import deque

import pytest

import pgnotify
from pgnotify.aio.loop import Loop
from pgnotify.errors import ConnectionLost, Unanswered
from pgnotify.notification import Notification
from pgnotify.testing import _proxy as proxies
from pgnotify.testing._wire import literal
from pgnotify.testing.conformance.waiting import message
from tests import kinds
from tests.helpers.backends import collect, collect_payloads, until_lost
from tests.helpers.scripted import AUTHENTICATED, ScriptedServer
from tests.helpers.sending import send_numbers
from tests.helpers.threads import Background, is_in
from tests.helpers.user import User
from tests.helpers.waiting import eventually

pytest.importorskip("pg8000")
exceptions = pytest.importorskip("pg8000.exceptions")

pytestmark = pytest.mark.drivers("pg8000")


@pytest.fixture
def backend(db):
    return pgnotify.wrap(db).backend


def listen_by_hand(user, channel):
    user.run(f'LISTEN "{channel}"')


# Its deque, and its handler of the message


def test_more_than_its_deque_holds_arrives_along_with_a_query(backend, db, user, session, channel):
    backend.listen(channel)
    user.begin()
    sent = send_numbers(session, channel, 3_000)
    user.commit()

    assert collect_payloads(backend, 3_000) == sent
    assert len(db.notifications) == 0


def test_what_its_deque_had_before_is_fetched_first(db, user):
    listen_by_hand(user, "plain")
    user.run("SELECT pg_notify('plain', 'before the wrap')")
    pid = user.pid
    assert len(db.notifications) == 1
    backend = pgnotify.wrap(db).backend

    assert backend.wait(5) is True
    backend.notify("plain", "after it")

    assert collect(backend, 2) == [
        Notification("plain", "before the wrap", pid),
        Notification("plain", "after it", pid),
    ]
    assert len(db.notifications) == 0


def test_its_deque_works_again_after_the_last_unlisten(backend, db, user):
    backend.listen("plain")
    backend.listen("other")
    backend.unlisten("other")
    user.run("SELECT pg_notify('plain', 'ours')")
    assert len(db.notifications) == 0
    backend.unlisten("plain")

    listen_by_hand(user, "plain")
    user.run("SELECT pg_notify('plain', 'theirs')")

    assert [payload for _, _, payload in db.notifications] == ["theirs"]


def test_a_second_listen_takes_the_place_of_its_handler_again(backend, user):
    backend.listen("plain")
    backend.unlisten("plain")
    backend.listen("plain")

    user.run("SELECT pg_notify('plain', 'é')")

    assert collect_payloads(backend, 1) == ["é"]


# One stream of answers


def test_no_notification_shifts_the_answers(backend, user, channel):
    backend.listen(channel)

    assert user.run(f"SELECT 1 FROM (SELECT pg_notify({literal(channel)}, '日本')) x") == [(1,)]
    assert user.run("SELECT 2") == [(2,)]
    assert user.run("SELECT 3") == [(3,)]

    assert collect_payloads(backend, 1) == ["日本"]


@pytest.mark.parametrize("paramstyle", ["qmark", "numeric", "named", "format", "pyformat"])
def test_a_global_paramstyle_is_of_no_concern(backend, channel, paramstyle, monkeypatch):
    monkeypatch.setattr("pg8000.dbapi.paramstyle", paramstyle)
    monkeypatch.setattr("pg8000.legacy.paramstyle", paramstyle)
    monkeypatch.setattr("pg8000.paramstyle", paramstyle)
    backend.listen(channel)

    backend.notify(channel, "%s :x ? $1 it's")
    backend.notify_many([(channel, "%s :x ? $1 it's many")])

    assert collect_payloads(backend, 2) == ["%s :x ? $1 it's", "%s :x ? $1 it's many"]


def test_an_error_of_the_statement_passes_through_and_shifts_no_answer(backend, user, channel):
    backend.listen(channel)
    with pytest.raises(exceptions.DatabaseError) as error:
        backend.notify(channel, "x" * 8_000)  # limits are checked upstairs
    assert error.value.args[0]["C"] == "22023"

    assert user.run("SELECT 2") == [(2,)]
    backend.notify(channel, "usable")
    assert collect_payloads(backend, 1) == ["usable"]


def test_an_interrupted_statement_ends_the_connection_rather_than_shift_its_answers(backend, db, user, session):
    pid, main = user.pid, threading.get_ident()

    def interrupt():
        eventually(lambda: session.state_of(pid) == "active")
        signal.pthread_kill(main, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        backend.query("SELECT pg_sleep(30)")
    interrupting.join()

    with pytest.raises(ConnectionLost, match="lost") as lost:
        backend.listen("plain")
    assert "interrupted" in str(lost.value.__cause__)
    session.terminate(pid)


# Its socket


def connect_with_timeout(kind, address, seconds):
    arguments = kinds.pg8000_arguments(address)
    if kind.name == "pg8000.native":
        import pg8000.native

        return pg8000.native.Connection(*arguments, timeout=seconds)
    if kind.name == "pg8000.dbapi":
        import pg8000.dbapi

        return pg8000.dbapi.connect(*arguments, timeout=seconds)
    import pg8000

    return pg8000.connect(*arguments, timeout=seconds)


@pytest.mark.parametrize("seconds", [None, 7])
def test_the_timeout_of_its_socket_is_left_as_it_was(kind, address, session, channel, seconds):
    db = connect_with_timeout(kind, address, seconds)
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    session.notify(channel, "once")

    assert collect_payloads(backend, 1) == ["once"]
    assert backend.wait(0) is False
    assert backend.fetch() == []

    assert db._usock.gettimeout() == seconds
    assert User(kind, db).run("SELECT 7") == [(7,)]
    db.close()


@pytest.mark.parametrize("seconds", [None, 7])
def test_the_timeout_of_its_socket_is_left_as_it_was_after_half_a_message(kind, address, proxy, channel, seconds):
    db = connect_with_timeout(kind, address._replace(host=proxy.host, port=proxy.port), seconds)
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    whole = proxies.notification(channel, b"in two parts")
    proxy.say(whole[:9])
    collecting = Background(collect_payloads, backend, 1)
    eventually(lambda: is_in(collecting, "read_rest"))

    proxy.say(whole[9:])

    assert collecting.ended() == ["in two parts"]
    assert db._usock.gettimeout() == seconds
    db.close()


def test_a_wait_is_longer_than_the_timeout_of_its_socket(kind, address, session, channel):
    db = connect_with_timeout(kind, address, 0.05)
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)

    assert backend.wait(0.2) is False
    session.notify(channel, "unharmed")

    assert collect_payloads(backend, 1) == ["unharmed"]
    db.close()


def test_looking_takes_nothing_out_of_the_stream(kind, address, proxy, channel):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    proxy.append(proxies.notification(channel, b"first") + proxies.notification(channel, b"second"))
    assert User(kind, db).run("SELECT 1") == [(1,)]

    for _ in range(3):
        assert backend.wait(5) is True

    assert collect_payloads(backend, 2) == ["first", "second"]
    db.close()


def test_where_a_pooler_names_no_process_the_pid_is_0(kind, address):
    with ScriptedServer(AUTHENTICATED + message(b"Z", b"I"), stay=True) as pooler:
        db = kind.connect(address._replace(host="127.0.0.1", port=pooler.port))

        assert pgnotify.wrap(db).backend.server_pid == 0
        db.close()


# Classes


def test_a_subclass_is_as_good(kind, db, address, session, channel):
    class Mine(type(db)):
        pass

    mine = Mine(*kinds.pg8000_arguments(address))
    backend = pgnotify.wrap(mine).backend
    backend.listen(channel)
    session.notify(channel, "mine")

    assert collect_payloads(backend, 1) == ["mine"]
    mine.close()


def test_what_is_no_connection_is_refused_by_name(db):
    if hasattr(db, "cursor"):
        with pytest.raises(TypeError, match=r"not a cursor: cursor\.connection"):
            pgnotify.wrap(db.cursor())
    with pytest.raises(TypeError, match="pass a pg8000 connection"):
        pgnotify.wrap(exceptions.InterfaceError())


# The end


def test_a_termination_is_explained_by_the_server(backend, user, session, channel):
    backend.listen(channel)
    session.terminate(user.pid)

    _, lost = until_lost(backend)

    assert isinstance(lost.__cause__, exceptions.DatabaseError)
    assert lost.__cause__.args[0]["C"] == "57P01"


def test_a_statement_that_meets_the_loss_reports_it(backend, user, session, channel):
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost) as lost:
        backend.notify(channel)

    assert isinstance(lost.value.__cause__, (exceptions.Error, OSError))


def test_a_reset_is_a_loss(kind, address, proxy, channel):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)

    proxy.reset()
    _, lost = until_lost(backend)

    assert isinstance(lost.__cause__, (ConnectionResetError, exceptions.InterfaceError))
    backend.close()


def test_a_second_backend_knows_of_the_end_that_the_first_has_read(kind, address, proxy):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    first, second = pgnotify.wrap(db).backend, pgnotify.wrap(db).backend
    first.listen("x")

    proxy.say(message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection\0\0"))  # and no end of the stream
    until_lost(first)

    with pytest.raises(ConnectionLost):
        second.fetch()
    with pytest.raises(ConnectionLost):
        second.wait(0)
    db.close()


def test_the_rest_of_a_message_is_waited_for_no_longer_than_wanted(kind, address, proxy, session, channel):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    backend.limit_rest(0.1)
    proxy.pass_only(9)

    session.notify(channel, "x" * 3000)
    _, lost = until_lost(backend)

    assert isinstance(lost, Unanswered)
    assert isinstance(lost.__cause__, (TimeoutError, exceptions.InterfaceError))  # some releases wrap it
    backend.close()


@pytest.mark.drivers("pg8000.native")
@pytest.mark.parametrize("code", [b"A", b"S"])
def test_fetching_whole_messages_leaves_half_a_one_for_later_wherever_it_ends(kind, address, proxy, channel, code):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    backend.limit_rest(0.1)  # if it waited for the rest, the connection would be lost
    before, half = proxies.notification(channel, b"before"), proxies.notification(channel, b"half")
    if code == b"S":
        half = message(b"S", b"application_name\0half\0")
    for end in range(1, len(half)):
        queue = deque()
        proxy.say(before + half[:end])
        while not queue:
            assert backend.wait(20)
            has_left_rest = backend.fetch_whole(queue)
        while not has_left_rest:  # the end has not arrived by then
            assert backend.wait(20)
            has_left_rest = backend.fetch_whole(queue)
        assert backend.fetch_whole(queue) is True
        assert [payload for _, payload, _ in queue] == ["before"]

        proxy.say(half[end:])
        eventually(lambda queue=queue: not backend.fetch_whole(queue), "the rest has arrived")
        assert [payload for _, payload, _ in queue] == ["before", *["half"] * (code == b"A")]
    db.close()


@pytest.mark.drivers("pg8000.native")
def test_an_event_loop_drains_a_flood_with_few_threads(db, session, channel, monkeypatch):
    calls = []
    in_thread = Loop.in_thread
    monkeypatch.setattr(Loop, "in_thread", lambda self, *call: calls.append(call) or in_thread(self, *call))

    async def main():
        connection = pgnotify.wrap_async(db)
        await connection.listen(channel)
        calls.clear()
        sent = send_numbers(session, channel, 20_000)
        arrived = []
        while len(arrived) < 20_000:
            assert await connection.wait(20)
            arrived += [each.payload for each in connection.fetch()]
        assert arrived == sent

    asyncio.run(main())
    # Where it has caught up with the server, the last message may be half a one; there are 400 buffers.
    assert len(calls) <= 40


def test_what_cannot_be_a_notification_beside_an_answer_is_a_loss_after_those_before_it(kind, address, proxy, channel):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    proxy.say(proxies.notification(channel, b"before") + message(b"A", b"\0\0\0\1no zero"))
    assert User(kind, db).run("SELECT 1") == [(1,)]

    arrived, lost = until_lost(backend)

    assert [each.payload for each in arrived] == ["before"]
    assert isinstance(lost.__cause__, ValueError)
    backend.close()


@pytest.mark.parametrize("garbage", [b"\xff" * 16, b"A\0\0\0\x05x", b"?\0\0\0\x04", b"A\0\0\0\x01"])
def test_bytes_that_are_no_message_are_a_loss(kind, address, proxy, channel, garbage):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    backend.limit_rest(0.1)

    proxy.say(garbage)
    until_lost(backend)

    backend.close()


@pytest.mark.parametrize(("keyword", "mode"), [("sslrootcert", "verify-ca"), ("sslcert", "prefer")])
def test_a_certificate_that_is_not_there_is_named(address, keyword, mode, tmp_path):
    absent = str(tmp_path / "absent.crt")

    with pytest.raises(ValueError, match=f"{keyword}: there is no file .*absent.crt"):
        pgnotify.connect(address.dsn, driver="pg8000", sslmode=mode, **{keyword: absent})


@pytest.mark.parametrize("end", ["close", "loss"])
def test_a_connection_that_has_ended_is_deleted(kind, address, session, channel, end):
    db = kind.connect(address)
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    backend.fetch()
    if end == "loss":
        session.terminate(backend.server_pid)
        until_lost(backend)
    backend.close()
    gone = weakref.ref(db)

    del db, backend
    gc.collect()

    assert gone() is None
