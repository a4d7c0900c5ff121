"""What is special to psycopg2: ``with connection``, its notifies, its factories, its sessions."""

from __future__ import annotations

from collections import deque
from contextlib import closing, suppress

import pytest

import pgnotify
from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.testing import _proxy as proxies
from pgnotify.testing._wire import literal
from tests.helpers.backends import collect, collect_payloads, until_lost
from tests.helpers.sending import SEND, send_numbers
from tests.helpers.waiting import eventually

psycopg2 = pytest.importorskip("psycopg2")
extensions = pytest.importorskip("psycopg2.extensions")
extras = pytest.importorskip("psycopg2.extras")

pytestmark = pytest.mark.drivers("psycopg2")


@pytest.fixture
def backend(db):
    return pgnotify.wrap(db).backend


# ``with connection:`` opens a transaction with the next statement, even in autocommit mode.


@pytest.mark.parametrize("verb", ["listen", "unlisten", "listen_many", "unlisten_many", "check"])
def test_in_a_with_block_it_is_refused_before_anything_is_sent(backend, db, session, channel, verb):
    arguments = {"listen_many": [[channel]], "unlisten_many": [[channel]], "check": []}.get(verb, [channel])
    pid, autocommit = db.info.backend_pid, db.autocommit
    query = f"SELECT query FROM pg_stat_activity WHERE pid = {pid}"
    before = session.sql(query)

    with db, pytest.raises(TransactionError, match="open transaction"):
        getattr(backend, verb)(*arguments)

    assert session.sql(query) == before
    assert db.autocommit is autocommit


def test_a_with_block_goes_on_after_a_refusal(backend, db, user, session, channel):
    with db:
        with pytest.raises(TransactionError):
            backend.listen(channel)
        user.sql("CREATE TEMPORARY TABLE work AS SELECT 42 AS answer")
        with pytest.raises(TransactionError):
            backend.listen(channel)

    assert user.run("SELECT answer FROM work") == [(42,)]
    backend.listen(channel)
    session.notify(channel, "behind it")
    assert collect_payloads(backend, 1) == ["behind it"]


def test_a_with_block_that_fails_takes_its_notifications_back(backend, db, connect, channel):
    receiver = pgnotify.wrap(connect()).backend
    receiver.listen(channel)
    autocommit = db.autocommit

    def fail():
        with db:
            backend.notify(channel, "never")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    backend.notify(channel, "afterwards")

    assert collect_payloads(receiver, 1) == ["afterwards"]
    assert db.autocommit is autocommit


def test_a_with_block_sends_at_its_end(backend, db, connect, channel):
    receiver = pgnotify.wrap(connect()).backend
    receiver.listen(channel)

    with db:
        backend.notify(channel, "in it")
        receiver.notify(channel, "meanwhile")
        assert collect_payloads(receiver, 1) == ["meanwhile"]

    assert collect_payloads(receiver, 1) == ["in it"]


@pytest.mark.parametrize("joins", [False, True])
def test_a_query_in_a_with_block_has_its_effect_at_its_end(backend, db, connect, channel, joins):
    receiver = pgnotify.wrap(connect()).backend
    receiver.listen(channel)
    with suppress(ZeroDivisionError), db:
        backend.query(SEND, (channel, "never"), joins=joins)
        raise ZeroDivisionError
    with db:
        backend.query(SEND, (channel, "in it"), joins=joins)
        receiver.notify(channel, "meanwhile")
        assert collect_payloads(receiver, 1) == ["meanwhile"]

    assert collect_payloads(receiver, 1) == ["in it"]


def test_a_with_block_without_a_statement_yet_can_be_waited_in(backend, db, session, channel):
    backend.listen(channel)

    with db:
        session.notify(channel, "nothing is open")
        assert collect_payloads(backend, 1) == ["nothing is open"]


def test_asking_for_a_with_block_never_ends_the_users_transaction(backend, db, user, session, channel):
    pid = db.info.backend_pid
    user.begin()

    with pytest.raises(TransactionError):
        backend.listen(channel)
    backend.notify(channel)

    eventually(lambda: session.state_of(pid) == "idle in transaction")
    user.rollback()


# conn.notifies


def test_what_psycopg2_had_before_is_fetched(db, user, channel):
    user.run(f'LISTEN "{channel.replace(chr(34), chr(34) * 2)}"')
    user.run(f"SELECT pg_notify({literal(channel)}, 'before the wrap')")
    db.poll()
    backend = pgnotify.wrap(db).backend

    assert backend.wait(5) is True
    assert collect_payloads(backend, 1) == ["before the wrap"]
    assert len(db.notifies) == 0


@pytest.mark.parametrize("container", [list, deque])
def test_the_users_own_container_is_kept(backend, db, user, session, channel, container):
    db.notifies = theirs = container()
    backend.listen(channel)
    user.begin()
    sent = send_numbers(session, channel, 1_200)
    user.commit()

    assert collect_payloads(backend, 1_200) == sent
    assert db.notifies is theirs
    assert len(theirs) == 0


def test_the_usual_recipe_works_again_after_the_last_unlisten(backend, db, user, channel):
    backend.listen(channel)
    backend.unlisten(channel)
    user.run(f'LISTEN "{channel.replace(chr(34), chr(34) * 2)}"')
    user.run(f"SELECT pg_notify({literal(channel)}, 'theirs')")

    db.poll()

    assert [notify.payload for notify in db.notifies] == ["theirs"]


# Modes


def test_the_modes_of_the_session_are_left_as_they_were(db, user, channel):
    db.set_session(isolation_level="SERIALIZABLE", readonly=True, deferrable=True)
    autocommit = db.autocommit
    backend = pgnotify.wrap(db).backend

    backend.listen(channel)
    backend.notify(channel)
    collect(backend, 1)
    backend.unlisten(channel)

    assert (db.isolation_level, db.readonly, db.deferrable, db.autocommit) == (
        extensions.ISOLATION_LEVEL_SERIALIZABLE,
        True,
        True,
        autocommit,
    )
    assert user.sql("SHOW transaction_isolation") == [("serializable",)]
    assert user.sql("SHOW transaction_read_only") == [("on",)]
    assert user.sql("SHOW transaction_deferrable") == [("on",)]


def test_defaults_that_the_user_has_set_by_hand_are_kept(backend, user, channel):
    user.run("SET default_transaction_isolation TO 'repeatable read'")

    backend.listen(channel)
    backend.notify(channel)

    assert user.run("SHOW default_transaction_isolation") == [("repeatable read",)]


def test_a_client_encoding_that_was_set_is_followed(backend, db, session):
    db.set_client_encoding("LATIN1")
    backend.listen("Café")

    session.notify("Café", "é")
    backend.notify("Café", "ü")

    assert [(each.channel, each.payload) for each in collect(backend, 2)] == [("Café", "é"), ("Café", "ü")]


def test_an_error_of_the_statement_passes_through_and_leaves_the_mode(backend, db, channel):
    autocommit = db.autocommit

    with pytest.raises(psycopg2.errors.InvalidParameterValue):
        backend.notify(channel, "x" * 8_000)  # limits are checked upstairs

    assert db.autocommit is autocommit
    backend.listen(channel)
    backend.notify(channel, "usable")
    assert collect_payloads(backend, 1) == ["usable"]


# Classes


class Mine(extensions.connection):
    """A subclass whose cursors are for its owner's statements only."""

    def cursor(self, *args, **options):
        options.setdefault("cursor_factory", NoCursor)
        return super().cursor(*args, **options)


class NoCursor(extensions.cursor):
    def execute(self, *_args, **_options):
        raise AssertionError("the user's cursor is for the user's statements")


@pytest.mark.parametrize("factory", [extras.LoggingConnection, extras.RealDictConnection, extras.DictConnection, Mine])
def test_a_subclass_is_as_good(address, session, channel, factory, tmp_path):
    with closing(psycopg2.connect(address.dsn, connection_factory=factory)) as db, (tmp_path / "log").open("w") as log:
        if hasattr(db, "initialize"):
            db.initialize(log)
        backend = pgnotify.wrap(db).backend
        backend.listen(channel)

        session.notify(channel, "through it")
        backend.notify(channel, "it's %s")
        backend.notify_many([(channel, "many")])

        assert collect_payloads(backend, 3) == ["through it", "it's %s", "many"]


def test_a_cursor_factory_of_the_users_is_not_used(backend, db, channel):
    db.cursor_factory = NoCursor
    backend.listen(channel)

    backend.notify(channel, "past it")

    assert collect_payloads(backend, 1) == ["past it"]


def test_a_pooled_connection_is_as_good_and_the_pool_is_refused_by_name(address, session, channel):
    pools = pytest.importorskip("psycopg2.pool")
    with closing(_pool(pools, address)) as pool:
        with pytest.raises(TypeError, match=r"not a SimpleConnectionPool.* open one of its own"):
            pgnotify.wrap(pool)
        db = pool.getconn()
        backend = pgnotify.wrap(db).backend
        backend.listen(channel)
        session.notify(channel, "pooled")
        assert collect_payloads(backend, 1) == ["pooled"]
        pool.putconn(db)


def _pool(pools, address):
    pool = pools.SimpleConnectionPool(1, 1, address.dsn)
    pool.close = pool.closeall
    return pool


def test_what_is_no_connection_is_refused_by_name(db):
    with db.cursor() as cursor, pytest.raises(TypeError, match=r"not a cursor: cursor\.connection"):
        pgnotify.wrap(cursor)
    with pytest.raises(TypeError, match="psycopg2 connection"):
        pgnotify.wrap(db.info)


def test_an_asynchronous_connection_is_refused_by_name(address):
    with closing(psycopg2.connect(address.dsn, async_=1)) as db:
        extras.wait_select(db)
        with pytest.raises(TypeError, match="without async_=True"):
            pgnotify.wrap(db)


# The end


def test_the_first_look_at_a_dead_connection_shows_nothing_and_the_second_the_loss(backend, db, session, channel):
    backend.listen(channel)
    session.terminate(db.info.backend_pid)

    arrived, lost = until_lost(backend)

    assert arrived == []
    assert isinstance(lost.__cause__, psycopg2.OperationalError)
    assert db.closed == 2
    with pytest.raises(ConnectionLost) as again:
        backend.fetch()
    assert isinstance(again.value.__cause__, psycopg2.Error)


def test_bytes_that_cannot_be_decoded_are_replaced_before_we_get_them(kind, address, proxy, channel):
    with_proxy = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    backend = pgnotify.wrap(with_proxy).backend
    backend.listen(channel)

    proxy.say(proxies.notification(channel, b"a\xe9b"))

    assert collect_payloads(backend, 1) == ["a\ufffdb"]
    with_proxy.close()
