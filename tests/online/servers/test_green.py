"""Under gevent and eventlet: a server that is frozen while a driver waits in C, ends where nothing may wait, forks."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.environment import with_address
from tests.helpers.network import through
from tests.helpers.waiting import PATIENCE

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.parametrize("library", ["gevent", "eventlet"])

PATCHED = """
    import sys

    library, driver = sys.argv[1:]
    if library == "gevent":
        from gevent import get_hub, monkey
        monkey.patch_all()
        in_event_loop = get_hub().loop.run_callback
    else:
        import eventlet
        eventlet.monkey_patch()
        in_event_loop = lambda *call: eventlet.hubs.get_hub().schedule_call_global(0, *call)

    import signal
    import pgnotify
    from pgnotify.threads import original
    from tests.helpers.environment import given_address

    dsn = given_address().dsn
"""


def begin(script, library, driver, address):
    """Begin to run a script where everything is green."""
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PATCHED) + textwrap.dedent(script), library, driver],
        env={**with_address(address), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def printed_by(process):
    """Return the lines that a script prints. It must end well, and print no error."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


FROZEN = """
    import logging
    logging.disable()

    def on_listening(event):
        print(event.gap and event.gap.reason, flush=True)
        if event.gap:
            listener.stop()

    options = {"heartbeat": 0.1, "answer_timeout": 0.3, "on_listening": on_listening}
    listener = pgnotify.Listener(dsn, "green", driver=driver, **options)
    listener.run()
    print(listener.status().last_error)
"""


def test_a_frozen_server_is_left_though_the_driver_waits_in_c(library, driver, address, proxy):
    process = begin(FROZEN, library, driver, through(proxy, address))
    assert process.stdout.readline() == "None\n"
    proxy.blackhole()

    assert printed_by(process) == ["heartbeat missed", "Unanswered: no answer within 0.3 s"]


ENDS = """
    import weakref

    class Owner:
        pass

    def in_destructor(listener):
        weakref.finalize(Owner(), listener.stop)

    def in_signal_handler(handler):
        signal.signal(signal.SIGUSR1, handler)
        in_event_loop(signal.raise_signal, signal.SIGUSR1)

    ways = {
        "a callback of the event loop": lambda listener: in_event_loop(listener.stop),
        "a destructor": lambda listener: in_event_loop(in_destructor, listener),
        "a signal handler": lambda listener: in_signal_handler(lambda *_: listener.stop()),
        "a signal handler that exits": lambda listener: in_signal_handler(lambda *_: sys.exit()),
        "a thread of the system": lambda listener: original("_thread", "start_new_thread")(listener.stop, ()),
    }
    for way, end in ways.items():
        for start in (False, True):
            listener = pgnotify.Listener(dsn, "green", driver=driver, on_listening=lambda _: end(listener))
            exited = False
            try:
                if start:
                    listener.start()
                try:
                    received = list(listener)
                except pgnotify.ListenerClosed:
                    received = []
            except SystemExit:
                exited = True
            print(way, received, exited, listener.stop(), listener.status().state)

    handler = pgnotify.connect(dsn, driver=driver).notification_handler("green", print)
    handler.listen()
    in_event_loop(handler.close)
    handler()
    print(handler)
"""


@pytest.mark.parametrize("driver", [pytest.param("pg8000", marks=pytest.mark.drivers("pg8000"))])
def test_it_ends_wherever_it_is_stopped(library, driver, address):
    lines = printed_by(begin(ENDS, library, driver, address))

    for way in ("a callback of the event loop", "a destructor", "a signal handler", "a thread of the system"):
        assert lines.count(f"{way} [] False True closed") == 2
    assert lines.count("a signal handler that exits [] True True closed") == 2
    assert lines[-1] == "<NotificationHandler event='green' closed>"


FORK = """
    import logging
    import subprocess
    logging.disable()

    def on_listening(event):
        in_event_loop(lambda: print("once", flush=True))
        subprocess.run([sys.executable, "-S", "-c", ""], check=True)  # gevent forks for that
        listener.stop()

    listener = pgnotify.Listener(dsn, "green", driver=driver, on_listening=on_listening)
    listener.run()
"""


@pytest.mark.parametrize("driver", [pytest.param("pg8000", marks=pytest.mark.drivers("pg8000"))])
def test_a_forked_child_runs_no_green_thread_of_its_parent(library, driver, address):
    assert printed_by(begin(FORK, library, driver, address)) == ["once"]
