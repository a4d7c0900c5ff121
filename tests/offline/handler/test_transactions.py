"""What a handler sends inside an open transaction waits for its commit, which looks like a hang: the log says so."""

from __future__ import annotations

import logging

import pytest

import pgnotify

WAITS = "waits for the commit of the transaction that it was sent in"
STOP_WAITS = f"event='jobs' idle>: the stop on 'stop_jobs' {WAITS}; the loop goes on until then"
NOTIFICATION_WAITS = f"event='jobs' idle>: the notification on 'jobs' {WAITS}"


@pytest.fixture
def db(server):
    return server.connect()


@pytest.fixture
def handler(handler_on, db):
    made = handler_on(db)
    yield made
    made.close()


@pytest.fixture
def said(caplog, handler):
    """A function that returns the warnings, with the class of the handler left out."""
    caplog.set_level(logging.DEBUG)

    def warnings():
        assert {(record.name, record.levelno) for record in caplog.records} <= {("pgnotify.handler", logging.WARNING)}
        return [message.partition(" ")[2] for message in caplog.messages]

    return warnings


def test_outside_a_transaction_nothing_is_said(handler, said):
    handler.notify()
    handler.notify(stop=True)

    assert said() == []


def test_a_stop_inside_a_transaction_is_warned_of_once(handler, db, said):
    db.begin()

    handler.notify(stop=True)
    handler.notify(stop=True)

    assert said() == [STOP_WAITS]


def test_a_notification_on_the_handlers_own_connection_is_warned_of_once_beside_the_stop(handler, db, said):
    db.begin()

    for _ in range(2):
        handler.notify()
        handler.notify(stop=True)

    assert said() == [NOTIFICATION_WAITS, STOP_WAITS]


def test_a_stop_in_a_transaction_on_another_connection_is_warned_of(handler, server, said):
    other = server.connect()
    other.begin()

    handler.notify(other, stop=True)

    assert said() == [STOP_WAITS]


def test_a_notification_in_a_transaction_on_another_connection_is_meant_to_wait(handler, server, said):
    other = server.connect()
    other.begin()

    handler.notify(other)

    assert said() == []


def test_the_functions_that_only_send_say_nothing(handler, db, said):
    db.begin()

    pgnotify.notify(db, handler.stop_event)
    pgnotify.notify_many(db, [(handler.stop_event, "")])

    assert said() == []


def test_the_warning_has_the_fields_of_the_log(handler, db, caplog):
    db.begin()
    handler.notify(stop=True)

    (record,) = caplog.records
    assert (record.listener, record.channel, record.attempt, record.gap) == (None, "stop_jobs", None, None)
