"""Threads of our own. gevent and eventlet are not installed here: stand-ins answer in their place."""

from __future__ import annotations

import _thread
import select
import socket
import sys
import threading
from types import SimpleNamespace

import pytest

from pgnotify import threads
from pgnotify.connecting import socket_handle
from pgnotify.connecting.socket_handle import SocketHandle
from pgnotify.connecting.watchdog import Watchdog
from pgnotify.errors import Unanswered


@pytest.fixture
def gevent(monkeypatch):
    """A gevent that has replaced everything that we start threads with."""
    copies = _copies()
    monkey = SimpleNamespace(
        is_module_patched=copies.__contains__, get_original=lambda module, name: getattr(copies[module], name)
    )
    monkeypatch.setitem(sys.modules, "gevent.monkey", monkey)
    _have_no_threads(monkeypatch)


@pytest.fixture
def eventlet(monkeypatch):
    """An eventlet that has done the same, and calls `_thread` ``thread``."""
    patcher = SimpleNamespace(is_monkey_patched={"thread", "select"}.__contains__, original=_copies().__getitem__)
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    _have_no_threads(monkeypatch)


def _copies():
    return {name: SimpleNamespace(**vars(module)) for name, module in {"_thread": _thread, "select": select}.items()}


def _have_no_threads(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("this would be a green thread")

    for name in ("_thread.start_new_thread", "threading._start_new_thread", "threading._start_joinable_thread"):
        monkeypatch.setattr(name, refuse, raising=False)


@pytest.mark.parametrize("name", ["start_new_thread", "allocate_lock", "get_ident", "RLock"])
def test_without_them_it_is_what_python_has(name):
    assert threads.original("_thread", name) is getattr(_thread, name)
    assert not threads.is_green("_thread")


def test_what_is_not_replaced_is_what_python_has(monkeypatch):
    monkeypatch.setitem(sys.modules, "gevent.monkey", SimpleNamespace(is_module_patched=lambda module: False))
    monkeypatch.setitem(sys.modules, "eventlet.patcher", SimpleNamespace(is_monkey_patched=lambda module: False))

    assert threads.original("_thread", "get_ident") is _thread.get_ident
    assert not threads.is_green("select")


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_a_silent_server_is_left_by_a_thread_of_the_system(monkeypatch, request, library):
    request.getfixturevalue(library)
    watchdog = Watchdog()
    monkeypatch.setattr(socket_handle, "watchdog", watchdog)
    here, there = socket.socketpair()
    with here, there, SocketHandle(here.fileno()) as handle:
        with pytest.raises(Unanswered), handle.deadline(0.05):
            assert here.recv(1) == b""
        assert isinstance(watchdog._thread, threads.NativeThread)


@pytest.mark.parametrize("may_be_daemon", [True, False])
def test_a_thread_in_the_background_is_a_daemon_where_that_is_possible(monkeypatch, may_be_daemon):
    class Thread(threading.Thread):
        def __init__(self, daemon=None, **settings):
            if daemon and not may_be_daemon:
                raise RuntimeError("daemon threads are disabled in this (sub)interpreter")
            super().__init__(daemon=daemon, **settings)

    monkeypatch.setattr(threading, "Thread", Thread)
    called = []

    thread = threads.background(called.append, "its name", "its argument")
    thread.start()
    thread.join()

    assert (thread.daemon, thread.name, called) == (may_be_daemon, "its name", ["its argument"])


def test_a_native_thread_is_waited_for():
    done = []
    thread = threads.NativeThread(lambda: done.append(threads.original("_thread", "get_ident")()))

    thread.join(10)

    assert len(done) == 1
    assert done != [_thread.get_ident()]


def test_a_native_thread_does_not_wait_for_itself():
    errors, made = [], []
    begin = _thread.allocate_lock()
    begin.acquire()

    def join():
        begin.acquire()
        with pytest.raises(RuntimeError, match="itself"):
            made[0].join(10)
        errors.append("refused")

    made.append(threads.NativeThread(join))
    begin.release()
    made[0].join(10)

    assert errors == ["refused"]


class Hub:
    """The class of gevent's event loop."""


def test_no_event_loop_runs_here_without_them():
    assert not threads.is_event_loop()
    assert not threads.has_no_event_loop()


@pytest.mark.parametrize(("current", "is_loop"), [(Hub(), True), (object(), False)], ids=["loop", "green thread"])
def test_the_event_loop_of_gevent(monkeypatch, current, is_loop):
    monkeypatch.setitem(sys.modules, "gevent.hub", SimpleNamespace(Hub=Hub, getcurrent=lambda: current))

    assert threads.is_event_loop() is is_loop


@pytest.mark.parametrize("is_loop", [True, False], ids=["loop", "green thread"])
def test_the_event_loop_of_eventlet(monkeypatch, eventlet, is_loop):
    current, other = object(), object()
    local = SimpleNamespace(hub=SimpleNamespace(greenlet=current if is_loop else other))
    monkeypatch.setitem(sys.modules, "eventlet.hubs", SimpleNamespace(_threadlocal=local))
    monkeypatch.setitem(sys.modules, "greenlet", SimpleNamespace(getcurrent=lambda: current))

    assert threads.is_event_loop() is is_loop
    assert not threads.has_no_event_loop()


def test_a_thread_of_the_system_beside_eventlets(monkeypatch, eventlet):
    monkeypatch.setitem(sys.modules, "eventlet.hubs", SimpleNamespace(_threadlocal=SimpleNamespace()))

    assert threads.has_no_event_loop()
    assert not threads.is_event_loop()
