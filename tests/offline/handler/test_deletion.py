"""The documented handler is deleted."""

from __future__ import annotations

import gc
import os

import pytest

from pgnotify import TransactionError, UnexpectedNotification
from tests.helpers import handler_fronts
from tests.helpers.handlers import Recorder, warned_on_deletion
from tests.helpers.notifications import note
from tests.helpers.threads import Running

pytestmark = pytest.mark.handler_fronts("blocking", why=handler_fronts.DELETION)

UNLISTENING = [("unlisten", "jobs"), ("unlisten", "stop_jobs")]
LISTENING = [("listen", "jobs"), ("listen", "stop_jobs")]


def test_deleting_a_listening_handler_unlistens_at_once(backend, no_gc, handler_on):
    handler = handler_on(backend, Recorder(), timeout=0)
    handler()

    del handler

    assert backend.calls[-2:] == UNLISTENING
    assert not backend.closed


def test_deleting_a_handler_after_its_module_does_no_harm(backend, no_gc, monkeypatch, handler_on):
    handler = handler_on(backend)
    monkeypatch.setattr("pgnotify.handler.handler.sys", None)  # as at the end of a frozen application

    del handler  # an error in __del__ is a warning, and an error here


def test_deleting_a_handler_after_an_error_of_the_callback_unlistens_at_once(backend, no_gc, handler_on):
    handler = handler_on(backend, Recorder(lambda: 1 / 0), timeout=0)
    backend.arrive(note("1"))
    with pytest.raises(ZeroDivisionError):
        handler()

    del handler

    assert backend.calls[-2:] == UNLISTENING


def test_deleting_a_handler_after_a_third_channel_leaves_nothing(backend, no_gc, handler_on):
    handler = handler_on(backend, Recorder(), timeout=0)
    backend.arrive(note("", "other"))
    with pytest.raises(UnexpectedNotification):
        handler()
    handler.listen()

    del handler

    assert backend.calls[-2:] == UNLISTENING


def test_deleting_a_handler_that_is_not_listening_sends_nothing(backend, no_gc, handler_on):
    handler = handler_on(backend)

    del handler

    assert backend.calls == []


def test_deleting_a_handler_releases_its_descriptors(backend, no_gc, handler_on):
    before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else pytest.skip("not applicable: no /proc")
    handler = handler_on(backend, Recorder(), timeout=0.01)
    handler()
    assert len(os.listdir("/proc/self/fd")) > len(before)

    del handler

    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_handler_last_used_in_another_thread_is_not_unlistened_by_deletion(backend, no_gc, handler_on):
    handler = handler_on(backend)
    Running(handler.listen).ended()
    gc.collect()

    with warned_on_deletion("its connection was last used in another thread"):
        del handler

    assert backend.calls == LISTENING


def test_a_handler_on_a_busy_connection_is_not_unlistened_by_deletion(backend, no_gc, handler_on):
    handler = handler_on(backend)
    handler.listen()
    backend.busy = True

    with warned_on_deletion("its connection is busy with a call"):
        del handler

    assert backend.calls == LISTENING


def test_a_deletion_that_cannot_unlisten_says_why(backend, no_gc, handler_on):
    handler = handler_on(backend)
    handler.listen()
    backend.during("unlisten", TransactionError("in the way"))

    with warned_on_deletion("TransactionError: in the way"):
        del handler
