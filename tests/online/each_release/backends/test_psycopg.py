"""What is special to psycopg 3: its lock, its backlog, its handlers, its modes."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager, suppress

import pytest

import pgnotify
from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.notification import Notification
from pgnotify.testing import _proxy as proxies
from pgnotify.testing._wire import Session, literal
from pgnotify.waiting import Wakeup
from tests.helpers.backends import collect, collect_payloads, until_lost
from tests.helpers.sending import SEND, burst
from tests.helpers.waiting import eventually

psycopg = pytest.importorskip("psycopg")

pytestmark = pytest.mark.drivers("psycopg")


@pytest.fixture
def backend(db):
    return pgnotify.wrap(db).backend


def listen_by_hand(user, channel):
    user.run(psycopg.sql.SQL("LISTEN {}").format(psycopg.sql.Identifier(channel)))


def unlisten_by_hand(user, channel):
    user.run(psycopg.sql.SQL("UNLISTEN {}").format(psycopg.sql.Identifier(channel)))


# The lock and the backlog


def test_waiting_leaves_the_lock_to_others(backend, user, channel):
    backend.listen(channel)
    wakeup = Wakeup()
    waiting = threading.Thread(target=lambda: backend.wait(None, wakeup.fileno()))
    waiting.start()

    assert user.run("SELECT 1") == [(1,)]  # notifies() would hold it off

    wakeup.wake()
    waiting.join()
    wakeup.close()


def test_a_fetch_waits_for_who_holds_the_lock(backend, db, channel):
    backend.listen(channel)
    backend.notify(channel, "patience")
    arrived = []
    fetching = threading.Thread(target=lambda: arrived.extend(backend.fetch()))

    with db.lock:
        assert backend.busy is True
        fetching.start()
        assert arrived == []
    fetching.join(20)

    assert [each.payload for each in arrived] == ["patience"]
    assert backend.busy is False


def test_what_psycopg_had_in_its_backlog_is_fetched_first(db, user, channel):
    if not hasattr(db, "_notifies_backlog"):
        pytest.skip("not applicable: this psycopg keeps no backlog: what came along with a query is gone")
    listen_by_hand(user, channel)
    user.run(f"SELECT pg_notify({literal(channel)}, 'before the wrap')")

    backend = pgnotify.wrap(db).backend
    backend.notify(channel, "after it")

    assert backend.wait(5) is True
    assert collect_payloads(backend, 2) == ["before the wrap", "after it"]
    assert list(db._notifies_backlog) == []


def test_a_backlog_alone_ends_the_wait_at_once(db, user, channel):
    if not hasattr(db, "_notifies_backlog"):
        pytest.skip("not applicable: this psycopg keeps no backlog")
    listen_by_hand(user, channel)
    user.run(f"SELECT pg_notify({literal(channel)}, 'before the wrap')")

    assert pgnotify.wrap(db).backend.wait(5) is True


def test_what_came_along_below_psycopg_ends_the_wait_at_once(backend, db, channel):
    backend.listen(channel)
    db.pgconn.exec_(f"SELECT pg_notify({literal(channel)}, 'below')".encode())

    assert backend.wait(5) is True
    assert collect_payloads(backend, 1) == ["below"]


def test_nothing_piles_up_in_psycopg_while_we_listen(backend, db, user, channel):
    backend.listen(channel)

    user.run(f"SELECT pg_notify({literal(channel)}, n::text) FROM generate_series(1, 100) n")

    assert len(getattr(db, "_notifies_backlog", ())) == 0
    assert len(collect(backend, 100)) == 100


# Its own ways to receive


def test_a_handler_of_the_users_that_raises_does_no_harm_while_we_listen(backend, db, user, channel):
    def fail(_):
        raise RuntimeError("a handler of the user's")

    db.add_notify_handler(fail)
    backend.listen(channel)

    user.run(f"SELECT pg_notify({literal(channel)}, 'unharmed')")

    assert user.run("SELECT 2") == [(2,)]
    assert collect_payloads(backend, 1) == ["unharmed"]


def test_handlers_of_the_users_work_again_after_the_last_unlisten(backend, db, user, channel):
    seen = []
    db.add_notify_handler(seen.append)
    backend.listen(channel)
    backend.listen("other")
    backend.unlisten("other")
    user.run(f"SELECT pg_notify({literal(channel)}, 'ours')")
    assert seen == []

    backend.unlisten(channel)
    listen_by_hand(user, channel)
    user.run(f"SELECT pg_notify({literal(channel)}, 'theirs')")

    assert [notify.payload for notify in seen] == ["theirs"]
    assert collect_payloads(backend, 1) == ["ours"]


def test_the_generator_works_again_after_the_last_unlisten(backend, db, user, session, channel):
    backend.listen(channel)
    backend.unlisten(channel)
    listen_by_hand(user, channel)

    session.notify(channel, "theirs")
    generator = db.notifies()
    notify = next(generator)
    generator.close()

    assert (notify.channel, notify.payload) == (channel, "theirs")


def test_a_handler_below_psycopg_is_put_back(backend, db, user, channel):
    seen = []
    db.pgconn.notify_handler = seen.append
    backend.listen(channel)
    backend.unlisten(channel)

    listen_by_hand(user, channel)
    user.run(f"SELECT pg_notify({literal(channel)}, 'below')")

    assert [notify.extra for notify in seen] == [b"below"]


# Modes


@pytest.mark.parametrize("verb", ["listen", "unlisten", "notify", "query"])
def test_in_pipeline_mode_it_is_refused(backend, db, channel, verb):
    backend.listen(channel)
    with db.pipeline(), pytest.raises(TransactionError):
        getattr(backend, verb)(channel)

    backend.notify(channel, "out of the pipeline")
    assert collect_payloads(backend, 1) == ["out of the pipeline"]


def test_with_a_statement_in_the_pipeline_it_is_refused(backend, db, user, channel):
    with db.pipeline():
        db.execute("SELECT 1")
        for refused in (lambda: backend.listen(channel), lambda: backend.wait(0)):
            with pytest.raises(TransactionError):
                refused()
    db.rollback()

    assert user.run("SELECT 2") == [(2,)]


def test_inside_a_transaction_block_it_is_refused_and_the_block_goes_on(backend, db, user, session, channel):
    with db.transaction():
        db.execute("CREATE TEMPORARY TABLE work AS SELECT 42 AS answer")
        with db.transaction():  # a savepoint
            for refused in (lambda: backend.listen(channel), lambda: backend.wait(0)):
                with pytest.raises(TransactionError, match="open transaction"):
                    refused()
    assert user.run("SELECT answer FROM work") == [(42,)]

    backend.listen(channel)
    session.notify(channel, "behind it")
    assert collect_payloads(backend, 1) == ["behind it"]


@pytest.mark.parametrize("joins", [False, True])
def test_a_query_in_a_transaction_block_has_its_effect_at_its_end(backend, db, connect, channel, joins):
    receiver = pgnotify.wrap(connect()).backend
    receiver.listen(channel)
    with db.transaction() as outer:
        backend.query(SEND, (channel, "never"), joins=joins)
        raise psycopg.Rollback(outer)
    with db.transaction():
        backend.query(SEND, (channel, "in it"), joins=joins)
        receiver.notify(channel, "meanwhile")
        assert collect_payloads(receiver, 1) == ["meanwhile"]

    assert collect_payloads(receiver, 1) == ["in it"]


def test_a_transaction_block_sends_at_its_end(backend, db, connect, channel):
    receiver = pgnotify.wrap(connect()).backend
    receiver.listen(channel)
    with db.transaction():
        backend.notify(channel, "in it")
        receiver.notify(channel, "meanwhile")
        assert collect_payloads(receiver, 1) == ["meanwhile"]

    assert collect_payloads(receiver, 1) == ["in it"]


def test_the_modes_of_transactions_are_left_as_they_were(db, user, channel):
    db.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    db.read_only = True
    db.deferrable = True
    autocommit = db.autocommit
    backend = pgnotify.wrap(db).backend

    backend.listen(channel)
    backend.notify(channel)
    collect(backend, 1)
    backend.unlisten(channel)

    assert (db.isolation_level, db.read_only, db.deferrable, db.autocommit) == (
        psycopg.IsolationLevel.SERIALIZABLE,
        True,
        True,
        autocommit,
    )
    if not autocommit:
        assert user.sql("SHOW transaction_isolation") == [("serializable",)]
        assert user.sql("SHOW transaction_read_only") == [("on",)]
        assert user.sql("SHOW transaction_deferrable") == [("on",)]


class CountingCursor(psycopg.Cursor):
    def execute(self, *_args, **_options):
        raise AssertionError("the user's cursor is for the user's statements")


@pytest.mark.parametrize("factory", ["ClientCursor", "RawCursor", "own"])
def test_factories_of_the_users_are_not_used(backend, db, channel, factory):
    db.row_factory = psycopg.rows.dict_row
    cursor_factory = CountingCursor if factory == "own" else getattr(psycopg, factory, None)
    if cursor_factory is None:
        pytest.skip(f"not applicable: this psycopg has no {factory}")
    db.cursor_factory = cursor_factory

    backend.listen(channel)
    backend.notify(channel, "it's %s")
    backend.notify_many([(channel, "many")])

    assert collect_payloads(backend, 2) == ["it's %s", "many"]


def test_nothing_is_prepared_on_the_server(backend, db, user, channel):
    db.prepare_threshold = 0  # at once

    for _ in range(3):
        backend.listen(channel)
        backend.notify(channel)

    prepared = user.run("SELECT statement FROM pg_prepared_statements")
    assert all("pg_prepared_statements" in statement for (statement,) in prepared)


@pytest.mark.parametrize("encoding", ["LATIN1", "EUC_JP"])
def test_a_client_encoding_that_changes_is_followed(backend, user, session, encoding):
    text = {"LATIN1": "é", "EUC_JP": "日本"}[encoding]
    backend.listen(text)
    user.run(f"SET client_encoding TO {encoding}")

    session.notify(text, text)
    assert [(each.channel, each.payload) for each in collect(backend, 1)] == [(text, text)]

    backend.listen(text * 2)
    session.notify(text * 2, text)
    backend.notify(text, "from here")
    assert [(each.channel, each.payload) for each in collect(backend, 2)] == [(text * 2, text), (text, "from here")]


# Classes


def test_a_subclass_is_as_good(address, session, channel):
    class Mine(psycopg.Connection):
        pass

    with Mine.connect(address.dsn, autocommit=True) as db:
        backend = pgnotify.wrap(db).backend
        backend.listen(channel)
        session.notify(channel, "mine")
        assert collect_payloads(backend, 1) == ["mine"]


def test_a_pooled_connection_is_as_good(address, session, channel):
    psycopg_pool = pytest.importorskip("psycopg_pool")
    with psycopg_pool.ConnectionPool(address.dsn, min_size=1, max_size=1) as pool:
        with pytest.raises(TypeError, match=r"pool\.connection\(\)"):
            pgnotify.wrap(pool)
        with pool.connection() as db:
            backend = pgnotify.wrap(db).backend
            backend.listen(channel)
            session.notify(channel, "pooled")
            assert collect_payloads(backend, 1) == ["pooled"]
            backend.unlisten(channel)


def test_what_is_no_connection_is_refused_by_name(db):
    with db.cursor() as cursor, pytest.raises(TypeError, match=r"not a cursor: cursor\.connection"):
        pgnotify.wrap(cursor)
    with db.cursor("named") as cursor, pytest.raises(TypeError, match=r"not a cursor: cursor\.connection"):
        pgnotify.wrap(cursor)
    with pytest.raises(TypeError, match=r"psycopg\.Connection"):
        pgnotify.wrap(db.info)


def test_an_asynchronous_connection_is_refused_by_name(address):
    import asyncio

    async def wrap_one():
        db = await psycopg.AsyncConnection.connect(address.dsn)
        try:
            with pytest.raises(TypeError, match=r"AsyncConnection is asynchronous.*AsyncNotificationHandler"):
                pgnotify.wrap(db)
        finally:
            await db.close()

    asyncio.run(wrap_one())


# The end


def test_the_cause_of_a_loss_is_psycopgs_own_error(backend, user, session, channel):
    backend.listen(channel)
    session.terminate(user.pid)

    _, lost = until_lost(backend)
    assert isinstance(lost.__cause__, psycopg.OperationalError)


def test_a_statement_that_meets_the_loss_knows_the_reason(backend, user, session, channel):
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost) as lost:
        backend.listen(channel)

    assert isinstance(lost.value.__cause__, psycopg.OperationalError)  # since 3.2 AdminShutdown
    assert "terminating connection" in str(lost.value.__cause__)


def test_an_error_of_the_statement_passes_through_and_leaves_the_connection_usable(backend, user, channel):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        backend.notify(channel, "x" * 8_000)  # limits are checked upstairs

    if user.kind.implicit_transactions:
        assert user.db.autocommit is False
    backend.listen(channel)
    backend.notify(channel, "usable")
    assert collect_payloads(backend, 1) == ["usable"]


def test_a_batch_that_is_read_together_with_the_end_is_whole(kind, address, proxy, channel):
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    sent = [f"{n}".encode() for n in range(50)]

    proxy.say(b"".join(proxies.notification(channel, payload) for payload in sent))
    proxy.fin()
    arrived, _ = until_lost(backend)

    assert arrived == [Notification(channel, payload.decode(), 4711) for payload in sent]
    db.close()


def test_many_sessions_send_at_once(backend, address, channel):
    backend.listen(channel)

    def send(name):
        with Session(*address) as session:
            for number in range(100):
                session.notify(channel, f"{name}{number:03}")

    senders = [threading.Thread(target=send, args=(name,)) for name in "abc"]
    for sender in senders:
        sender.start()
    arrived = collect_payloads(backend, 300)
    for sender in senders:
        sender.join()

    for name in "abc":
        assert [each for each in arrived if each[0] == name] == [f"{name}{number:03}" for number in range(100)]


def test_what_a_statement_brought_along_is_handed_over_though_the_connection_was_closed_since(
    db, backend, session, channel
):
    db.autocommit = True
    backend.listen(channel)
    session.notify(channel, "é")
    db.execute("SELECT 1")
    db.close()

    arrived = backend.fetch()

    assert [notification.payload for notification in arrived] == ["é"]
    with pytest.raises(ConnectionLost):
        backend.fetch()


class InTheMaking:
    """Interrupts the making of the nth notification, which is Python code, wherever the driver does it."""

    def __init__(self, nth, error=KeyboardInterrupt):
        self.left = nth
        self.error = error

    def __call__(self, frame, event, arg):
        from psycopg.pq.misc import PGnotify

        if event == "call" and frame.f_code is PGnotify.__new__.__code__:
            self.left -= 1
            if not self.left:
                raise self.error

    @contextmanager
    def here(self):
        before = sys.gettrace()
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(before)


def test_a_notification_whose_making_is_interrupted_is_kept(db, session, channel):
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    burst(session, channel, 5)
    eventually(lambda: backend.wait(0))

    with pytest.raises(KeyboardInterrupt), InTheMaking(3).here():
        backend.fetch()

    assert collect_payloads(backend, 5) == list(map(str, range(5)))


def test_a_notification_whose_making_is_interrupted_during_a_statement_is_kept(db, session, channel):
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    burst(session, channel, 5)
    session.sql("SELECT 1")

    with pytest.raises(LookupError), InTheMaking(3, LookupError).here():
        backend.notify("other")

    arrived = []
    with suppress(ConnectionLost, TransactionError):  # the statement may have been left half done
        while batch := backend.fetch():
            arrived += [notification.payload for notification in batch]
    assert arrived[:3] == ["0", "1", "2"]
