"""Python embedded in a server: with a main thread that `threading` does not know, and with subinterpreters."""

from __future__ import annotations

import sys
import textwrap

import pytest

from tests.helpers.embedding import ISOLATED, MAIN_THREAD, PLACES, run_in

USE = """
    from pgnotify import Listener, NotificationHandler
    from pgnotify.testing import MemoryServer
    from pgnotify.waiting import runs_signal_handlers

    server, received = MemoryServer(), []
    sender = server.connect()
    handler = NotificationHandler(server.connect(), "jobs", lambda message: received.append(message["extra"]))
    handler.listen()
    handler.notify(payload="to the handler")
    handler.notify(stop=True)
    handler()
    handler.close()
    listener = Listener(server.connect, "jobs", on_listening=lambda event: sender.notify("jobs", "to the listener"))
    for notification in listener:
        received.append(notification.payload)
        listener.stop()
    print(received, listener.status().state, runs_signal_handlers())
"""


@pytest.mark.parametrize("place", PLACES)
def test_a_handler_and_a_listener_run(place):
    printed = run_in(place, USE)

    here = place == MAIN_THREAD
    assert printed == f"['to the handler', '', 'to the listener'] closed {here}\n"


START = """
    def receive(notification):
        got.append(notification.payload)
        arrived.set()

    got, arrived = [], threading.Event()
    listener = Listener(server.connect, workers=1, on_listening=lambda event: sender.notify("jobs", "to a callback"))
    listener.subscribe("jobs", receive)
    listener.start()
    arrived.wait()
    print(got, listener.probe().delivering)
    connected = Listener(server.connect, "jobs", workers=1)
    connected.__enter__()
    # Nobody stops them.
"""


@pytest.mark.skipif(sys.version_info < (3, 13), reason="not applicable: ctypes cannot be imported there")
def test_a_listener_that_nobody_stops_ends_with_an_interpreter_that_has_no_daemon_threads():
    printed = run_in(ISOLATED, f"import threading\n{textwrap.dedent(USE)}{textwrap.dedent(START)}")

    assert printed.splitlines()[1:] == ["['to a callback'] yes"]


HOLD_BACK = """
    import signal
    from pgnotify import NotificationHandler
    from pgnotify.testing import MemoryServer

    received = []
    record = lambda message: received.append(message and message["extra"])
    handler = NotificationHandler(MemoryServer().connect(), "jobs", record, timeout=1)
    fetch = handler._backend.fetch

    def fetch_and_press():
        fetched = fetch()
        if fetched:
            signal.raise_signal(signal.SIGINT)
        return fetched

    handler._runner._fetch_into, handler._runner._fetch = None, fetch_and_press
    handler.listen()
    handler.notify(payload="kept")
    handler.notify(stop=True)
    try:
        handler()
    except KeyboardInterrupt:
        handler()
    print(received)
"""


def test_a_ctrl_c_is_held_back_in_the_main_thread_though_threading_takes_another_one_for_it():
    assert run_in(MAIN_THREAD, HOLD_BACK) == "['kept', '']\n"


SIGNAL = """
    import signal
    from pgnotify.waiting import Wakeup

    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    wakeup = Wakeup()
    wakeup.wait(lambda timeout, descriptor: signal.raise_signal(signal.SIGUSR1), None)
    print(wakeup.clear(), signal.set_wakeup_fd(-1))
"""


def test_a_signal_ends_a_wait_of_the_main_thread_though_threading_takes_another_one_for_it():
    assert run_in(MAIN_THREAD, SIGNAL) == "True -1\n"


FORK = """
    import os, threading, warnings
    from pgnotify.waiting import runs_signal_handlers

    def fork():
        warnings.simplefilter("ignore")  # of a fork beside threads
        answers.append(runs_signal_handlers())
        child = os.fork()
        if child == 0:
            os._exit(runs_signal_handlers())
        answers.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    answers = [runs_signal_handlers()]
    forking = threading.Thread(target=fork)
    forking.start()
    forking.join()
    print(answers)
"""


def test_in_a_forked_child_signal_handlers_run_in_the_thread_that_has_forked():
    assert run_in(MAIN_THREAD, FORK) == "[True, False, 1]\n"
