"""What is special to PyGreSQL: it dies silently, decodes UTF-8 only, and has three kinds of connection."""

from __future__ import annotations

import traceback
from contextlib import suppress

import pytest

import pgnotify
from pgnotify.errors import ConnectionLost, TransactionError, UndecodablePayload
from pgnotify.testing import _proxy as proxies
from pgnotify.testing._wire import literal
from tests.helpers.backends import collect, collect_payloads, until_lost
from tests.helpers.sending import SEND, send_numbers
from tests.helpers.waiting import eventually

pg = pytest.importorskip("pg")

pytestmark = pytest.mark.drivers("pygresql")


@pytest.fixture
def backend(db):
    return pgnotify.wrap(db).backend


@pytest.fixture
def link(kind, address, proxy):
    """A connection that runs through the proxy."""
    db = kind.connect(address._replace(host=proxy.host, port=proxy.port))
    yield db
    with suppress(TypeError, pg.Error):  # closed by the test
        db.close()


def core_of(db):
    if isinstance(db, pg.DB):
        return db.db
    return getattr(db, "_cnx", db)


# The silent end


def test_the_driver_itself_says_nothing_of_the_end_but_we_do(backend, db, user, session, channel):
    backend.listen(channel)
    core = core_of(db)
    session.terminate(user.pid)
    eventually(lambda: core.getnotify() is None and core.status != 1)

    with pytest.raises(ConnectionLost) as lost:
        backend.fetch()

    assert isinstance(lost.value.__cause__, pg.DatabaseError)
    assert "closed the connection" in str(lost.value.__cause__)
    assert core.getnotify() is None  # as for ever


def test_a_statement_on_a_dead_link_is_a_loss_whatever_pygresql_raises(backend, user, session, channel):
    session.terminate(user.pid)

    for _ in range(3):  # ProgrammingError first, LookupError later
        with pytest.raises(ConnectionLost) as lost:
            backend.notify(channel)
        assert lost.value.__cause__ is not None


def test_what_libpq_had_read_before_the_end_is_fetched(link, proxy, channel):
    backend = pgnotify.wrap(link).backend
    backend.listen(channel)
    proxy.say(b"".join(proxies.notification(channel, b"%d" % number) for number in range(2_000)))
    proxy.fin()
    core = core_of(link)
    eventually(
        lambda: (core.getnotify() and core.status != 1) or core.status != 1
    )  # one is ours, and it has seen the end

    arrived, _ = until_lost(backend)

    numbers = [int(each.payload) for each in arrived]
    assert numbers == list(range(numbers[0], 2_000))
    assert len(numbers) > 500


# Decoding


def test_a_payload_that_is_no_utf8_is_reported_once_and_the_next_ones_come(link, proxy, channel):
    backend = pgnotify.wrap(link).backend
    backend.listen(channel)
    sent = (b"1", b"\xe9", b"2", b"caf\xe9", b"\xff", b"3")
    proxy.say(b"".join(proxies.notification(channel, payload) for payload in sent))

    assert collect_payloads(backend, 1) == ["1"]
    assert backend.wait(5) is True  # the report is what fetch() has
    for expected in ([], ["2"], [], [], ["3"]):
        assert backend.wait(5) is True
        if expected:
            assert [each.payload for each in backend.fetch()] == expected
            continue
        with pytest.raises(UndecodablePayload, match="UTF-8 only") as error:
            backend.fetch()
        assert isinstance(error.value.__cause__, UnicodeDecodeError)
        assert error.value.undecodable in sent
        assert repr(error.value.undecodable)[2:-1] not in str(error.value)

    assert backend.fetch() == []
    assert backend.wait(0) is False


def test_a_wait_does_not_raise_what_fetch_is_to_report(link, proxy, channel):
    backend = pgnotify.wrap(link).backend
    backend.listen(channel)
    proxy.say(proxies.notification(channel, b"\xe9"))

    for _ in range(3):
        assert backend.wait(5) is True

    with pytest.raises(UndecodablePayload) as error:
        collect(backend, 1)
    assert error.value.undecodable == b"\xe9"


def test_the_report_does_not_show_the_payload_which_may_be_a_secret(link, proxy, channel):
    backend = pgnotify.wrap(link).backend
    backend.listen(channel)
    proxy.say(proxies.notification(channel, b"hunter" * 1_000 + b"\xe9"))

    with pytest.raises(UndecodablePayload) as caught:
        collect(backend, 1)

    assert "hunter" not in "".join(traceback.format_exception(caught.value))
    assert "6001 bytes" in str(caught.value)
    assert caught.value.undecodable.startswith(b"hunter")


def test_the_report_of_a_latin1_payload_says_what_would_help(backend, user, session):
    user.run("SET client_encoding TO LATIN1")
    backend.listen("plain")
    session.notify("plain", "é")

    with pytest.raises(UndecodablePayload, match="client_encoding is LATIN1, set it to UTF8"):
        collect(backend, 1)

    user.run("SET client_encoding TO UTF8")
    session.notify("plain", "é")
    assert collect_payloads(backend, 1) == ["é"]


def test_a_handler_raises_for_one_that_it_cannot_decode_and_goes_on_with_the_next_call(link, proxy, channel):
    seen = []
    handler = pgnotify.NotificationHandler(link, channel, lambda arguments: seen.append(arguments["extra"]))
    handler.listen()
    proxy.say(b"".join(proxies.notification(channel, each) for each in (b"1", b"\xe9", b"2")))
    proxy.say(proxies.notification(f"stop_{channel}", b"stop"))

    with pytest.raises(UndecodablePayload):
        handler()

    assert (seen, handler.listening) == (["1"], True)
    handler()
    assert seen == ["1", "2", "stop"]


def test_one_that_was_not_utf8_is_reported_after_the_connection_was_closed_too(link, proxy, channel):
    backend = pgnotify.wrap(core_of(link)).backend
    backend.listen("x")
    proxy.say(proxies.notification(channel, b"1") + proxies.notification(channel, b"\xe9"))
    assert collect_payloads(backend, 1) == ["1"]
    assert backend.wait(5) is True
    core_of(link).close()

    with pytest.raises(UndecodablePayload, match="client_encoding is None"):
        backend.fetch()
    with pytest.raises(ConnectionLost):
        backend.fetch()


# What wait() had to take


def test_waiting_again_and_again_loses_nothing(backend, session, channel):
    backend.listen(channel)
    sent = send_numbers(session, channel, 50)

    for _ in range(5):
        assert backend.wait(5) is True

    assert collect_payloads(backend, 50) == sent


def test_its_own_way_works_again_after_the_last_unlisten(backend, db, user):
    backend.listen("plain")
    backend.unlisten("plain")
    user.run("LISTEN plain")
    user.run("SELECT pg_notify('plain', 'theirs')")

    channel, _, payload = core_of(db).getnotify()

    assert (channel, payload) == ("plain", "theirs")


# pg.DB and pgdb


@pytest.mark.drivers("pg.DB")
def test_a_reopened_db_is_a_loss_once_and_can_listen_again(kind, backend, db, session, channel):
    backend.listen(channel)
    db.reopen()

    with pytest.raises(ConnectionLost, match="replaced by a new one") as lost:
        backend.wait(0)
    assert isinstance(lost.value.__cause__, pg.DatabaseError)

    backend.listen(channel)
    session.notify(channel, "again")
    assert collect_payloads(backend, 1) == ["again"]


@pytest.mark.drivers("pg.DB")
@pytest.mark.parametrize("verb", ["fetch", "listen", "notify"])
def test_a_reopened_db_is_a_loss_whatever_comes_first(kind, backend, db, channel, verb):
    backend.listen(channel)
    db.reopen()

    with pytest.raises(ConnectionLost, match="replaced by a new one"):
        backend.fetch() if verb == "fetch" else getattr(backend, verb)(channel)

    assert backend.fetch() == []


@pytest.mark.drivers("pg.DB")
def test_a_reopened_db_that_listened_to_nothing_is_no_loss(kind, backend, db, session, channel):
    db.reopen()

    backend.listen(channel)

    session.notify(channel, "on the new one")
    assert collect_payloads(backend, 1) == ["on the new one"]


@pytest.mark.drivers("pg.DB")
def test_a_closed_db_that_is_reopened_can_listen_again(kind, backend, db, session, channel):
    backend.listen(channel)
    db.close()
    with pytest.raises(ConnectionLost, match="closed"):
        backend.fetch()

    db.reopen()
    with pytest.raises(ConnectionLost, match="replaced by a new one"):
        backend.listen(channel)
    backend.listen(channel)

    session.notify(channel, "again")
    assert collect_payloads(backend, 1) == ["again"]


@pytest.mark.drivers("pgdb")
@pytest.mark.parametrize("autocommit", [False, True])
def test_the_autocommit_mode_of_pgdb_is_left_as_it_was(kind, backend, db, user, channel, autocommit):
    db.autocommit = autocommit

    backend.listen(channel)
    backend.notify(channel)
    collect(backend, 1)

    assert db.autocommit is autocommit
    user.sql("SELECT 1")
    assert core_of(db).transaction() == (0 if autocommit else 2)
    db.rollback()


@pytest.mark.drivers("pgdb")
def test_a_begin_of_the_users_own_is_seen_below_pgdb(kind, backend, db, user, channel):
    db.autocommit = True
    user.sql("BEGIN")

    with pytest.raises(TransactionError):
        backend.listen(channel)

    user.sql("ROLLBACK")
    backend.listen(channel)


@pytest.mark.drivers("pgdb")
def test_a_with_block_of_pgdb_commits_what_it_did(kind, backend, db, user, channel):
    backend.listen(channel)
    with db:
        user.sql("SELECT 1")
        backend.notify(channel, "at its end")
        backend.query(SEND, (channel, "too"), joins=True)
        assert backend.fetch() == []

    assert collect_payloads(backend, 2) == ["at its end", "too"]


@pytest.mark.drivers("pg.DB")
def test_a_transaction_method_of_db_is_seen(kind, backend, db, channel):
    with db, pytest.raises(TransactionError):
        backend.listen(channel)

    db.begin()
    backend.notify(channel)
    with pytest.raises(TransactionError):
        backend.wait(0)
    db.commit()
    assert backend.wait(0) is False


# Classes


@pytest.mark.drivers("pg.DB")
def test_a_subclass_of_db_is_as_good(address, session, channel, kind):
    class Mine(pg.DB):
        pass

    mine = Mine(address.database, address.host, address.port, user=address.user, passwd=address.password)
    backend = pgnotify.wrap(mine).backend
    backend.listen(channel)
    session.notify(channel, "mine")

    assert collect_payloads(backend, 1) == ["mine"]
    backend.close()


@pytest.mark.drivers("pgdb")
def test_a_subclass_of_pgdb_is_as_good(db, session, channel):
    db.__class__ = type("Mine", (type(db),), {})  # pgdb.connect() knows its own class only
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    session.notify(channel, "mine")

    assert collect_payloads(backend, 1) == ["mine"]


def test_what_is_no_connection_is_refused_by_name(kind, db):
    other = db.cursor() if kind.name == "pgdb" else db.query("SELECT 1")

    with pytest.raises(TypeError, match=r"pass a pg\.Connection, a pg\.DB or a pgdb\.Connection"):
        pgnotify.wrap(other)


@pytest.mark.drivers("pg.DB", "pgdb")
def test_a_closed_connection_is_lost_from_the_start(db):
    db.close()

    with pytest.raises(ConnectionLost, match="closed") as lost:
        pgnotify.wrap(db)

    assert lost.value.__cause__ is not None


def test_an_error_of_the_statement_passes_through(backend, channel):
    backend.listen(channel)
    with pytest.raises(pg.DataError):
        backend.notify(channel, "x" * 8_000)  # limits are checked upstairs

    backend.notify(channel, "usable")
    assert collect_payloads(backend, 1) == ["usable"]


@pytest.mark.drivers("pg.DB")
def test_a_backend_that_is_gone_keeps_no_connection(kind, address, channel):
    import gc
    import weakref

    db = kind.connect(address)
    backend = pgnotify.wrap(db).backend
    backend.listen(channel)
    backend.notify(channel)
    assert backend.wait(5) is True
    gone = weakref.ref(db)

    db.close()
    del db, backend
    gc.collect()

    assert gone() is None


def test_its_literal_names_reach_the_server_below_pgdb(backend, user, session):
    for name in ('a%%b"c', "100%", "%(x)s"):
        backend.listen(name)
        user.run(f"SELECT pg_notify({literal(name)}, 'x')") if "%" not in name else session.notify(name, "x")
        assert [each.channel for each in collect(backend, 1)] == [name]
