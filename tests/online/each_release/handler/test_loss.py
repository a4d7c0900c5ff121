"""NotificationHandler when the server goes away."""

import threading

import pytest

from pgnotify import ConnectionLost
from pgnotify.testing._proxy import notification
from pgnotify.waiting import wait_readable
from tests.helpers import handler_fronts
from tests.helpers.network import through
from tests.helpers.threads import Background, waits, waits_for_answer
from tests.helpers.waiting import PATIENCE, eventually


@pytest.fixture
def looks(monkeypatch):
    """How many times a backend has looked at its socket: few, unless it burns CPU time."""
    counted = []

    def counting(descriptor, timeout, wakeup=None):
        counted.append(timeout)
        return wait_readable(descriptor, timeout, wakeup)

    monkeypatch.setattr("pgnotify.backends._driver.wait_readable", counting)
    return counted


def assert_lost(error, user):
    assert isinstance(error, ConnectionLost)
    assert isinstance(error.__cause__, (user.driver.Error, OSError))


def test_a_server_that_goes_away_while_the_loop_waits_is_reported(documented, record, session, user, looks):
    handler, pid = documented(), user.pid
    loop = Background(handler)
    eventually(lambda: waits(loop))

    session.terminate(pid)
    with pytest.raises(ConnectionLost) as caught:
        loop.ended()

    assert_lost(caught.value, user)
    assert handler.listening is False
    assert record == []
    assert len(looks) < 20


def test_a_server_that_went_away_before_is_reported_by_each_call(documented, session, user, looks):
    handler = documented(timeout=20)
    handler.listen()
    session.terminate(user.pid)

    errors = []
    for _ in range(3):
        with pytest.raises(ConnectionLost) as caught:
            handler()
        errors.append(caught.value)

    for error in errors:
        assert_lost(error, user)
    assert handler.listening is False
    assert len(looks) < 20


def test_a_poll_reports_the_loss_too(documented, session, user):
    handler = documented(timeout=0)
    handler()
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost) as caught:
        eventually(handler)  # until the end has arrived

    assert_lost(caught.value, user)
    assert handler.listening is False


@pytest.mark.parametrize("end", ["fin", "reset"])
def test_a_network_that_goes_away_while_the_loop_waits_is_reported(
    kind, connect, address, proxy, documented, user, looks, end
):
    handler = documented(on=connect(address._replace(host=proxy.host, port=proxy.port)))
    loop = Background(handler)
    eventually(lambda: waits(loop))

    getattr(proxy, end)()
    with pytest.raises(ConnectionLost) as caught:
        loop.ended()

    assert_lost(caught.value, user)
    assert handler.listening is False
    assert len(looks) < 20


def test_what_had_arrived_before_the_loss_is_delivered_before_it_is_reported(documented, record, session, user):
    handler = documented()
    handler.listen()
    handler.notify(payload="1")
    handler.notify(payload="2")
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost):
        handler()

    assert record.payloads == ["1", "2"]
    assert handler.listening is False


@pytest.mark.handler_fronts("blocking", "coroutine", why=handler_fronts.ONE_TASK)
@pytest.mark.parametrize("last", ["event", "stop_event"])
def test_what_had_arrived_before_a_request_met_the_loss_is_delivered_before_it_is_reported(
    documented, record, connect, address, proxy, last
):
    entered, asked = threading.Event(), threading.Event()

    def callback(arg_dict):
        record(arg_dict)
        entered.set()
        assert asked.wait(PATIENCE)

    handler = documented(callback, on=connect(through(proxy, address)))
    handler.listen()
    handler.notify(payload="1")
    loop = Background(handler)
    assert entered.wait(PATIENCE)
    proxy.say(notification(handler.event, b"2") + notification(getattr(handler, last), b"3"))
    proxy.fin()
    asking = Background(handler.notify)
    eventually(lambda: waits_for_answer(asking))
    asked.set()

    for each in (loop, asking):
        with pytest.raises(ConnectionLost):
            each.ended()
    assert record.payloads == ["1", "2", "3"]
    assert handler.listening is False


def test_a_stop_that_had_arrived_before_the_loss_is_delivered(documented, record, session, user):
    handler = documented()
    handler.listen()
    handler.notify(payload="1")
    handler.notify(stop=True, payload="stop")
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost):
        handler()

    assert record.payloads == ["1", "stop"]
    assert handler.listening is False


def test_a_callback_that_raises_after_a_loss_loses_nothing(documented, record, session, user):
    def callback(arg_dict):
        record(arg_dict)
        if arg_dict["extra"] == "2":
            raise LookupError("of the user's")

    handler = documented(callback)
    handler.listen()
    for payload in ("1", "2", "3", "4"):
        handler.notify(payload=payload)
    session.terminate(user.pid)

    with pytest.raises(LookupError):
        handler()
    with pytest.raises(ConnectionLost):
        handler()

    assert record.payloads == ["1", "2", "3", "4"]
    assert handler.listening is False


@pytest.mark.parametrize("verb", ["listen", "notify"])
def test_each_verb_reports_a_loss(documented, session, user, verb):
    handler = documented()
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost) as caught:
        getattr(handler, verb)()

    assert_lost(caught.value, user)
    assert handler.listening is False


@pytest.mark.parametrize("verb", ["unlisten", "notify"])
def test_each_verb_reports_a_loss_while_listening(documented, session, user, verb):
    handler = documented()
    handler.listen()
    session.terminate(user.pid)

    with pytest.raises(ConnectionLost) as caught:
        getattr(handler, verb)()

    assert_lost(caught.value, user)
    assert handler.listening is False


def test_a_loss_inside_the_callback_does_not_hide_the_callbacks_error(documented, session, user):
    pid = user.pid

    def callback(arg_dict):
        session.terminate(pid)
        raise LookupError("of the user's")

    handler = documented(callback)
    handler.listen()
    handler.notify()

    with pytest.raises(LookupError):
        handler()
    with pytest.raises(ConnectionLost):
        handler()


def test_a_handler_whose_server_is_gone_can_be_closed(documented, session, user):
    handler = documented()
    handler.listen()
    session.terminate(user.pid)

    handler.close()

    assert handler.db is None
    assert handler.listening is False
    handler()


def test_a_connection_that_the_user_has_closed_is_lost(db, documented):
    handler = documented()
    handler.listen()
    db.close()

    with pytest.raises(ConnectionLost):
        handler()

    assert handler.listening is False
    handler.close()
    assert handler.db is None
