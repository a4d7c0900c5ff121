"""A forked child and the Listener of its parent: the child is refused, ends as it should, and disturbs nothing."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.helpers.environment import with_address

ROOT = Path(__file__).parents[4]

# The child is a whole Python, since what its interpreter deletes at its end is what matters.
SCRIPT = textwrap.dedent(
    """
    import gc, os, sys, threading
    from contextlib import suppress

    from pgnotify import Listener, ListenerClosed
    from pgnotify.testing._wire import Session
    from tests.helpers.environment import given_address

    driver, way, after = sys.argv[1:]
    address = given_address()
    events, received = [], []
    options = {"driver": driver, "on_listening": events.append, "workers": 1 if way == "workers" else 0}
    listener = Listener(address.dsn, "forked", **options)
    subscription = None
    if way == "iterated":
        listener.__enter__()
    else:
        subscription = listener.subscribe("forked", lambda each: received.append(each.payload))
        listener.start()
    pid = listener.status().server_pid

    def use():
        refused = 0
        for verb in (
            lambda: next(iter(listener)),
            listener.run,
            listener.start,
            listener.probe,
            listener.wait_or_poll,
            listener.__enter__,
            lambda: listener.subscribe("other", print),
            lambda: subscription.wait_listening(1) if subscription else listener.start(),
        ):
            try:
                verb()
            except ListenerClosed as error:
                refused += f"process {os.getppid()}" in str(error) and "make a new one" in str(error)
        return refused

    child = os.fork()
    if child == 0:
        status = listener.status()
        honest = (str(status.state), status.delivering, listener.delivering) == ("lost", False, False)
        code = (10 if honest else 30) + use()
        if subscription:
            subscription.cancel()
        if after == "stops":
            code += 0 if listener.stop() is True else 50
        if after == "forgets":
            del listener, subscription
            gc.collect()
        if after == "replaces":
            options["on_listening"] = None
            with Listener(address.dsn, "forked", **options) as another:
                with Session(*address) as session:
                    session.notify("forked", "from the child")
                code += 0 if next(iter(another)).payload == "from the child" else 50
        sys.exit(code)

    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with Session(*address) as session:
        alive = session.state_of(pid) is not None
        session.notify("forked", "for the parent")
    if way == "iterated":
        for each in listener.notifications(20):
            received.append(each.payload)
            if each.payload == "for the parent":
                break
    else:
        done = threading.Event()
        with listener.subscribe("done", lambda each: done.set()) as marker, Session(*address) as session:
            assert marker.wait_listening(20)
            session.notify("done")
            assert done.wait(20)
    gaps = [event.gap for event in events if event.gap]
    print(code, "alive" if alive else "gone", received, gaps, listener.stop())
    """
)


@pytest.mark.parametrize("way", ["started", "iterated", "workers"])
@pytest.mark.parametrize("after", ["ends", "stops", "forgets", "replaces"])
def test_a_child_is_refused_and_the_parents_listener_goes_on(driver, address, way, after):
    if after in ("stops", "replaces") and way != "started":
        pytest.skip("not applicable: the same as for a started one")

    received = ["from the child"] * (after == "replaces") + ["for the parent"]
    out, err = run(SCRIPT, driver, address, way, after)

    assert out == f"18 alive {received} [] True"
    assert re.fullmatch(WARNING, err)


WARNING = (
    r"pgnotify: no notification arrives in this process: this listener belongs to process \d+, "
    r"from which \d+ was forked; make a new one in the child\n"
)


def run(script, driver, address, *arguments):
    """Return what a script prints, and its log, if it ends well."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, driver, *arguments],
        env={**with_address(address), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


FORK_IN_CALLBACK = textwrap.dedent(
    """
    import os, sys
    from pgnotify import Listener, ListenerClosed
    from pgnotify.testing._wire import Session
    from tests.helpers.environment import given_address

    (driver,) = sys.argv[1:]
    address = given_address()
    listener = Listener(address.dsn, driver=driver)
    received, codes = [], []

    def callback(notification):
        received.append(notification.payload)
        if notification.payload == "fork":
            child = os.fork()
            if child == 0:
                try:
                    next(iter(listener))
                except ListenerClosed:
                    os._exit(7)
                os._exit(1)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        else:
            listener.stop()

    def send(event):
        with Session(*address) as session:
            session.notify("forked", "fork")
            session.notify("forked", "for the parent")

    listener = Listener(address.dsn, driver=driver, on_listening=send)
    listener.subscribe("forked", callback)
    listener.run()
    print(received, codes)
    """
)


def test_a_callback_may_fork(driver, address):
    out, _ = run(FORK_IN_CALLBACK, driver, address)
    assert out == "['fork', 'for the parent'] [7]"


RETURN_IN_CHILD = textwrap.dedent(
    """
    import multiprocessing, os, sys
    from pgnotify import Listener, ListenerClosed
    from pgnotify.testing._wire import Session
    from tests.helpers.environment import given_address

    driver, whose = sys.argv[1:]
    address = given_address()
    dsn = address.dsn
    parent, received, codes = os.getpid(), [], []

    def callback(notification):
        received.append(notification.payload)
        if notification.payload == "fork":
            child = os.fork()
            if child:
                codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        else:
            listener.stop()

    def send(event):
        with Session(*address) as session:
            session.notify("forked", "fork")
            session.notify("forked", "for the parent")

    if whose == "the user's":
        import pgnotify
        connection = pgnotify.connect(dsn, driver)
        source, options = connection.connection, {}
    else:
        source, options = dsn, {"driver": driver}
    listener = Listener(source, on_listening=send, **options)
    listener.subscribe("forked", callback)
    try:
        listener.run()
    except ListenerClosed as error:
        assert os.getpid() != parent and "make a new one in the child" in str(error) and received == ["fork"]
        sys.exit(7)
    print(received, codes, [listener.status().gaps, listener.stop()])
    if whose == "the user's":
        connection.close()
    """
)


@pytest.mark.parametrize("whose", ["its own", "the user's"])
def test_a_callback_that_returns_in_a_child_ends_the_listener_there_only(driver, address, whose):
    out, err = run(RETURN_IN_CHILD, driver, address, whose)

    assert out == "['fork', 'for the parent'] [7] [0, True]"
    assert re.fullmatch(WARNING, err)
