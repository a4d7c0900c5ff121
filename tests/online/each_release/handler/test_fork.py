"""The end of a forked child, however it comes, leaves the session of the parent's handler or connection alone."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

from pgnotify import HandlerClosed
from tests.helpers import handler_fronts
from tests.helpers.environment import with_address
from tests.helpers.handlers import Recorder
from tests.helpers.waiting import eventually

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


def in_child(function):
    """Call a function in a forked child; return its answer, a text."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = function()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)  # without deleting the connection, which may say goodbye in the parent's name
    os.close(writing)
    with os.fdopen(reading) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    return answer


@pytest.mark.handler_fronts("blocking", why=handler_fronts.FORKS)
def test_a_forked_child_sends_nothing(db, user, record, documented, session):
    handler = documented(timeout=0)
    handler.listen()
    pid = user.pid

    def use():
        refused = []
        for verb in (handler, handler.listen, handler.notify, handler.unlisten):
            try:
                verb()
            except HandlerClosed:
                refused.append(verb)
        handler.stop()
        handler.close()
        handler()
        return f"{len(refused)} refused, {handler.db}, {handler.listening}"

    answer = in_child(use)

    assert answer == "4 refused, None, False"
    assert user.pid == pid
    assert user.listened_to == {handler.event, handler.stop_event}
    session.notify(handler.event, "for the parent")
    eventually(lambda: handler() or record.payloads)
    assert record.payloads == ["for the parent"]


@pytest.mark.handler_fronts("blocking", why=handler_fronts.FORKS)
def test_a_handler_deleted_in_a_forked_child_sends_nothing_and_warns(db, user, channel, handler_front):
    record = Recorder()
    handlers = [handler_front.make(db, channel, record, timeout=0)]
    handlers[0].listen()
    pid = user.pid

    def delete():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            handlers.clear()
            gc.collect()
        return ", ".join(f"{each.category.__name__}: {each.message}" for each in caught)

    answer = in_child(delete)

    assert answer.startswith("ResourceWarning: ")
    assert "parent process" in answer
    assert user.pid == pid
    assert user.listened_to == {channel, f"stop_{channel}"}
    handlers[0].notify(payload="for the parent")
    handlers[0]()
    assert record.payloads == ["for the parent"]
    handlers[0].close()
