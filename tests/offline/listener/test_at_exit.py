"""The end of a process whose listeners nobody stops: it comes, and leaves no connection open."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from pgnotify.listener import at_exit
from tests.helpers.waiting import PATIENCE

BEGIN = """
import atexit, faulthandler, logging, sys, threading
from contextlib import closing
from pgnotify.errors import ConnectionLost, ListenerClosed
from pgnotify.listener import Listener
from pgnotify.testing import MemoryServer
from tests.helpers.listeners import Happened, Watching

faulthandler.dump_traceback_later(15, exit=True)
logging.disable()
server = MemoryServer()
atexit.register(lambda: print("connections left:", len(server.connections)))
main_thread = threading.main_thread()

listening = Happened()

def make(*channels, **options):
    return Listener(server.connect, *channels, heartbeat=None, on_listening=listening.append, **options)

def in_thread(function, daemon=False):
    thread = threading.Thread(target=function, daemon=daemon)
    thread.start()
    return thread

def iterate(listener):
    for notification in listener:
        pass
"""


def output_of(script):
    """Run a script after the above, and return its output as soon as it has ended."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", BEGIN + textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.stdout.splitlines()


WAYS_TO_WAIT = """
def in_pieces(listener):
    while True:
        for notification in listener.notifications(timeout=1000):
            pass

def in_a_body(listener):
    listener.__enter__()
    with closing(server.connect()) as sender:
        sender.notify("jobs")
    for notification in listener:
        main_thread.join()

def started(listener):
    listener.start()
    return listener

def hint(listener):
    while True:
        listener.wait_or_poll(1000, 1000)

def refuse():
    listening.append("refused")
    raise ConnectionLost("nobody is there")

def hang():
    listening.append("connecting")
    threading.Event().wait()

ways = {
    "run": lambda: make("jobs").run(),
    "run with workers": lambda: make("jobs", workers=2).run(),
    "iterate": lambda: iterate(make("jobs")),
    "iterate what was started": lambda: iterate(started(make("jobs"))),
    "iterate in pieces": lambda: in_pieces(make("jobs")),
    "be in the body": lambda: in_a_body(make("jobs")),
    "hint": lambda: hint(make("jobs")),
    "hint of what was started": lambda: hint(started(make("jobs"))),
    "enter": lambda: Listener(refuse, "jobs").__enter__(),
    "start": lambda: Listener(hang, "jobs").start(),
    "subscription": lambda: started(Listener(refuse)).subscribe("jobs", print).wait_listening(),
    "begin late": lambda: main_thread.join() or iterate(make("jobs")),
}
ended = Happened()

def until_end(name):
    try:
        ways[name]()
    except ListenerClosed:
        pass
    ended.append(name)

for name in ways:
    in_thread(lambda name=name: until_end(name))
listening.wait_for(len(ways) - 1)
atexit.register(lambda: print(len(ended), "of", len(ways)))
"""


def test_no_thread_waits_for_a_listener_when_the_main_thread_has_ended():
    """All ways to wait are in one process, since each process takes a while."""
    assert output_of(WAYS_TO_WAIT) == ["12 of 12", "connections left: 0"]


POOL = """
from concurrent.futures import ThreadPoolExecutor

listeners = [make("jobs") for _ in range(3)]
pool = ThreadPoolExecutor(3)
for listener in listeners:
    listener.subscribe("jobs", print)
listeners[2].start()
for function in (listeners[0].run, lambda: iterate(listeners[1]), lambda: iterate(listeners[2])):
    pool.submit(function)
listening.wait_for(len(listeners))
"""


@pytest.mark.parametrize("before", ["", "make('jobs').start()\n"], ids=["pool first", "listener first"])
def test_no_thread_of_a_pool_waits_for_a_listener_when_the_main_thread_has_ended(before):
    """Python waits for these threads earlier than for others."""
    assert output_of(before + POOL) == ["connections left: 0"]


def test_what_nobody_waits_for_goes_on_until_all_threads_have_ended():
    lines = output_of(
        """
        watching = Watching()
        started = Listener(server.connect, "jobs", heartbeat=0.01, observer=watching)
        seen = Happened()
        started.subscribe("jobs", lambda notification: seen.append(notification.payload))
        started.start()

        def work():
            main_thread.join()
            watching.checks.clear()
            watching.checks.wait_for(3)
            with closing(server.connect()) as sender:
                sender.notify("jobs", "after the main thread")
            seen.wait_for(1)
            print(*seen, started.status().gaps, started.status().last_error)

        in_thread(work)
        """
    )

    assert lines == ["after the main thread 0 None", "connections left: 0"]


def test_a_thread_that_the_process_does_not_wait_for_is_ended_after_the_others():
    lines = output_of(
        """
        watching = Watching()
        in_thread(lambda: iterate(make("jobs", observer=watching)), daemon=True)
        listening.wait_for(1)
        started = make("jobs")
        started.start()
        never_started = make("jobs")
        never_started.__enter__()

        def work():
            main_thread.join()
            print("states:", *watching.states[-1:], started.status().state)

        in_thread(work)
        """
    )

    assert lines == ["states: listening listening", "connections left: 0"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_child_of_multiprocessing_leaves_no_connection_either(tmp_path, method):
    script = tmp_path / "script.py"
    script.write_text(
        BEGIN
        + textwrap.dedent(
            f"""
            import multiprocessing

            def child():
                listener = make("jobs")
                listener.start()
                reader = listener._lifecycle._thread
                in_thread(lambda: iterate(make("jobs")))
                listening.wait_for(2)
                in_thread(lambda: (reader.join(), print("left:", len(server.connections), flush=True)))

            if __name__ == "__main__":
                process = multiprocessing.get_context({method!r}).Process(target=child)
                process.start()
                process.join()
                print("exit code", process.exitcode)
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE, check=False)

    assert "exit code 0" in done.stdout, done.stderr
    assert "left: 0" in done.stdout, done.stderr


def test_listeners_share_the_patience_of_the_end(monkeypatch):
    monkeypatch.setattr(at_exit, "PATIENCE_SECONDS", 0.0)
    ended = []

    class Stuck:
        def request_stop(self, deadline):
            ended.append("asked")

        def stop(self, timeout):
            ended.append(timeout)
            raise LookupError

    with pytest.raises(LookupError):
        at_exit._stop([Stuck(), Stuck()])

    assert ended == ["asked", "asked", 0.0, 0.0]
