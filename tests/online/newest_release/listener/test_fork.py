"""A forked child and the Listener of its parent: the child is refused, ends as it should, and disturbs nothing."""

from __future__ import annotations

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
        code = 10 + use()
        listener.status()
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
    assert run(SCRIPT, driver, address, way, after) == f"18 alive {received} [] True"


def run(script, driver, address, *arguments):
    """Return what a script prints that ends well."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, driver, *arguments],
        env={**with_address(address), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


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
    assert run(FORK_IN_CALLBACK, driver, address) == "['fork', 'for the parent'] [7]"
