"""An attempt to connect, finished or abandoned."""

from __future__ import annotations

import threading

import pytest

from pgnotify.connecting.attempt import ConnectAttempt
from pgnotify.connecting.source import Source
from tests.helpers.waiting import IN_MEMORY


def attempt_with(function):
    done = threading.Event()
    attempt = ConnectAttempt(Source(function, None, None, 5), done.set)
    attempt.start()
    return attempt, done


def test_an_attempt_runs_in_the_background_and_says_when_it_is_done(memory_server):
    attempt, done = attempt_with(memory_server.connect)

    assert done.wait(IN_MEMORY)
    assert attempt.finished
    assert attempt.result() is memory_server.connections[0]


def test_an_attempt_that_fails_is_finished_too():
    attempt, done = attempt_with(lambda: 1 / 0)

    assert done.wait(IN_MEMORY)
    with pytest.raises(ZeroDivisionError):
        attempt.result()


def test_an_attempt_that_is_abandoned_in_time_closes_its_connection(memory_server):
    go, made = threading.Event(), []

    def connect():
        assert go.wait(IN_MEMORY)
        made.append(memory_server.connect())
        return made[0]

    attempt, done = attempt_with(connect)
    attempt.abandon()
    go.set()

    assert done.wait(IN_MEMORY)
    assert made[0].closed


def test_an_attempt_that_is_abandoned_late_closes_its_connection(memory_server):
    attempt, done = attempt_with(memory_server.connect)
    assert done.wait(IN_MEMORY)

    attempt.abandon()

    assert memory_server.connections == []
