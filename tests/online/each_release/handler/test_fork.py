"""The end of a forked child, however it comes, leaves the session of the parent's handler or connection alone."""

from __future__ import annotations

import os
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
    import multiprocessing, os, sys
    import pgnotify
    from pgnotify.testing._wire import Session
    from tests import kinds
    from tests.helpers.environment import given_address
    from tests.helpers.user import User

    name, what = sys.argv[1:]
    address = given_address()
    (kind,) = (kind for kind in kinds.KINDS if kind.name == name)
    connection = kind.connect(address)
    user = User(kind, connection)
    pid, parent, received, outcomes = user.pid, os.getpid(), [], []

    def end(way):
        if way == "closes":
            used.close()
        if way == "_exit":
            os._exit(0)
        if way == "raises":
            sys.stderr = open(os.devnull, "w")
            raise ZeroDivisionError
        sys.exit(0)

    def forked(way):
        child = os.fork()
        if child == 0:
            end(way)
        os.waitpid(child, 0)

    def in_a_callback(arg_dict):
        received.append(arg_dict["extra"])
        if arg_dict["extra"] == "fork":
            child = os.fork()
            if child:
                os.waitpid(child, 0)

    if what == "handler":
        used = pgnotify.NotificationHandler(connection, "forked", in_a_callback, timeout=0)
        used.listen()
        deliver = used
    elif what == "connection":
        used = pgnotify.wrap(connection)
        used.listen("forked")
        deliver = lambda: received.extend(each.payload for each in used.fetch())
    else:
        used = pgnotify.Listener(connection, "forked")
        deliver = lambda: received.extend(each.payload for each in used.notifications(20, 1))
        used.__enter__()

    def check(way):
        before = len(received)
        with Session(*address) as session:
            session.notify("forked", "fork" if way == "in a callback" else way)
            alive = session.state_of(pid) is not None
        if what == "connection":
            used.wait(20)
        while len(received) == before:
            deliver()
        outcomes.append((way, alive, received[-1]))

    for way in ("exits", "raises", "_exit", "closes") if what != "listener" else ("exits", "raises", "_exit"):
        forked(way)
        check(way)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=end, args=("exits",))
    process.start()
    process.join()
    check("multiprocessing")
    if what == "handler":
        try:
            check("in a callback")
        except pgnotify.HandlerClosed:
            sys.exit(0 if os.getpid() != parent else 1)
        check("after that")
    print([each for each in outcomes if each != (each[0], True, each[0].replace("in a callback", "fork"))])
    if what == "listener":
        used.stop()
    print("same session" if user.pid == pid else "another session")
    connection.close()
    """
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not applicable: no fork here")
@pytest.mark.parametrize("what", ["handler", "connection", "listener"])
def test_the_end_of_a_child_does_not_end_the_parents_session(kind, address, what):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, kind.name, what],
        env={**with_address(address), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (done.returncode, done.stdout.splitlines()) == (0, ["[]", "same session"]), done.stderr
