"""NotificationHandler and the user's transactions: their work is neither committed nor rolled back."""

import pytest

from pgnotify import TransactionError
from tests.helpers.waiting import eventually


def begun_work(user):
    """Begin a transaction that has changed something; return its number."""
    user.begin()
    return user.sql("SELECT txid_current()")[0][0]


def fate(session, work):
    """Return what another session sees of a transaction: "in progress", "committed" or "aborted"."""
    return session.sql(f"SELECT txid_status({work})")[0][0]


def state(session, pid):
    """Return what another session sees of a connection: "idle", "idle in transaction" and so on."""
    return session.sql(f"SELECT state FROM pg_stat_activity WHERE pid = {pid}")[0][0]


def test_listen_inside_a_transaction_is_refused_and_the_users_work_goes_on(documented, session, user):
    handler = documented()
    work = begun_work(user)

    with pytest.raises(TransactionError, match=r"inside an open transaction.*[Cc]ommit or roll back"):
        handler.listen()
    with pytest.raises(TransactionError):
        handler()

    assert handler.listening is False
    assert fate(session, work) == "in progress"
    user.commit()
    assert fate(session, work) == "committed"
    assert user.listened_to == set()


def test_after_the_transaction_the_handler_listens(documented, record, session, user):
    handler = documented()
    begun_work(user)
    with pytest.raises(TransactionError):
        handler()
    user.rollback()

    handler.listen()
    session.notify(handler.stop_event, "now")
    handler()

    assert record.payloads == ["now"]


def test_listen_inside_a_failed_transaction_is_refused_and_leaves_it_failed(documented, user):
    handler = documented()
    user.fail()

    with pytest.raises(TransactionError):
        handler.listen()

    assert handler.listening is False
    with pytest.raises(Exception, match="current transaction is aborted"):
        user.sql("SELECT 1")
    user.rollback()
    handler.listen()
    assert user.listened_to == {handler.event, handler.stop_event}


def test_waiting_inside_a_transaction_is_refused_where_nothing_could_ever_arrive(documented, record, session, user):
    handler = documented()
    handler.listen()
    work = begun_work(user)
    session.notify(handler.event, "held back")

    with pytest.raises(TransactionError):
        handler()

    assert handler.listening is True
    assert fate(session, work) == "in progress"
    user.commit()
    handler.timeout = 0
    handler()
    assert record.payloads == ["held back"]


def test_waiting_inside_a_failed_transaction_is_refused(documented, user):
    handler = documented()
    handler.listen()
    user.fail()

    with pytest.raises(TransactionError):
        handler()

    assert handler.listening is True
    user.rollback()


def test_unlisten_inside_a_transaction_is_refused_and_the_handler_goes_on_listening(documented, session, user):
    handler = documented()
    handler.listen()
    work = begun_work(user)

    with pytest.raises(TransactionError):
        handler.unlisten()

    assert handler.listening is True
    assert fate(session, work) == "in progress"
    user.rollback()
    assert user.listened_to == {handler.event, handler.stop_event}


def test_a_stop_that_comes_up_inside_a_transaction_stays_queued(documented, record, session, user):
    handler = documented()
    handler.listen()
    handler.notify(stop=True, payload="stop")
    work = begun_work(user)

    with pytest.raises(TransactionError):
        handler()

    assert (record, handler.listening) == ([], True)
    assert fate(session, work) == "in progress"
    user.commit()
    handler()
    assert record.payloads == ["stop"]


def test_a_stop_that_waits_for_the_users_commit_is_warned_of(documented, user, caplog):
    handler = documented()
    handler.notify(stop=True)
    assert caplog.text == ""

    begun_work(user)
    handler.notify(stop=True)

    (warning,) = caplog.messages
    assert f"the stop on {handler.stop_event!r} waits for the commit" in warning
    user.rollback()


def test_a_transaction_that_a_callback_leaves_open_is_not_ended(documented, record, session, user):
    works = []

    def callback(arg_dict):
        record(arg_dict)
        works.append(begun_work(user))

    handler = documented(callback)
    handler.listen()
    handler.notify(payload="1")

    with pytest.raises(TransactionError):
        handler()

    assert record.payloads == ["1"]
    assert fate(session, works[0]) == "in progress"
    user.commit()


def test_closing_inside_a_transaction_never_commits_it(documented, session, user):
    handler = documented()
    handler.listen()
    work = begun_work(user)

    handler.close()

    assert handler.db is None
    eventually(lambda: fate(session, work) != "in progress")  # the server comes to it by itself
    assert fate(session, work) == "aborted"


def test_notify_inside_the_users_transaction_is_sent_when_it_commits(documented, session, user):
    handler = documented()
    session.listen(handler.event)
    work = begun_work(user)

    handler.notify(payload="mine")

    assert session.received() == []
    assert fate(session, work) == "in progress"
    user.commit()
    assert session.received() == [(handler.event, "mine")]


def test_notify_inside_the_users_transaction_is_never_sent_after_a_rollback(documented, session, user):
    handler = documented()
    session.listen(handler.event)
    work = begun_work(user)

    handler.notify(payload="mine")
    user.rollback()

    assert fate(session, work) == "aborted"
    assert session.received() == []


def test_notify_through_another_connection_heeds_that_ones_transaction(connect, documented, session, user):
    handler = documented(on=connect())
    session.listen(handler.event)
    work = begun_work(user)

    handler.notify(user.db, payload="mine")

    assert session.received() == []
    assert fate(session, work) == "in progress"
    user.commit()
    assert session.received() == [(handler.event, "mine")]


def test_notify_inside_a_failed_transaction_is_the_drivers_error(documented, user, session):
    handler = documented()
    session.listen(handler.event)
    user.fail()

    with pytest.raises(user.driver.Error, match="current transaction is aborted"):
        handler.notify(payload="mine")

    user.rollback()
    assert session.received() == []


def test_on_an_idle_connection_each_verb_has_a_transaction_of_its_own(documented, session, user):
    handler = documented()
    pid = user.pid
    session.listen(handler.event)

    handler.listen()
    states = [state(session, pid)]
    handler.notify(payload="at once")
    states.append(state(session, pid))
    received = session.received()
    handler.unlisten()
    states.append(state(session, pid))

    assert states == ["idle"] * 3
    assert received == [(handler.event, "at once")]


def test_the_connections_mode_is_left_as_it_was(db, kind, documented, session, user):
    user.run("SELECT 1")  # Django connects late
    before = getattr(db, "autocommit", None)
    handler = documented(timeout=0)

    handler.listen()
    handler.notify(payload="1")
    handler()
    handler.notify(stop=True)
    handler()
    after = getattr(db, "autocommit", None)
    work = user.sql("SELECT txid_current()")[0][0]

    assert after == before
    assert fate(session, work) == ("in progress" if kind.implicit_transactions else "committed")


def test_the_mode_is_left_as_it_was_while_listening(db, kind, documented, session, user):
    user.run("SELECT 1")  # Django connects late
    before = getattr(db, "autocommit", None)
    handler = documented()

    handler.listen()
    after = getattr(db, "autocommit", None)
    work = user.sql("SELECT txid_current()")[0][0]

    assert after == before
    assert fate(session, work) == ("in progress" if kind.implicit_transactions else "committed")
    if kind.implicit_transactions:
        user.rollback()
        assert fate(session, work) == "aborted"


def test_notify_and_listen_work_in_a_read_only_session(documented, record, user):
    user.run("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    handler = documented(timeout=0)

    handler.listen()
    handler.notify(payload="1")
    handler()

    assert record.payloads == ["1"]


def test_making_a_handler_inside_a_transaction_is_no_error(db, user, channel, record, handler_front):
    user.begin()

    handler = handler_front.make(db, channel, record)
    handler_front.wrap(db)

    assert handler.listening is False
    user.commit()
