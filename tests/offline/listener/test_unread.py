"""`delivering` is not claimed when nobody has read for longer than a heartbeat, in any role, and `unread` says so.

No test waits for a heartbeat: the clocks that status() reads are moved.
"""

from __future__ import annotations

import threading
import time
from itertools import count
from types import SimpleNamespace

import pytest

from pgnotify import Observer
from pgnotify.connecting.backoff import Backoff
from pgnotify.listener import clocks
from pgnotify.listener.gap import Moment
from pgnotify.listener.mailbox import Mailbox
from tests.helpers.listener_fronts import blocking_only, both_fronts
from tests.helpers.listeners import Happened, Holding, Told, Watching, its_connection, refusing, send
from tests.helpers.notifications import payloads
from tests.helpers.signals import on_signal, send_signal
from tests.helpers.threads import Running, waits
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts

HEARTBEAT = 30.0


@pytest.fixture
def passes(monkeypatch):
    """Move the clocks of status() to this many seconds from now."""
    offset, elapsed = [0.0], clocks.elapsed
    monkeypatch.setattr(
        "pgnotify.listener.delivery.time", SimpleNamespace(monotonic=lambda: time.monotonic() + offset[0])
    )
    monkeypatch.setattr(clocks, "elapsed", lambda: elapsed() + offset[0])
    return lambda seconds: offset.__setitem__(0, seconds)


def says(listener):
    """Return whether it claims to deliver, and its state; check that they say the same everywhere."""
    status = listener.status()
    assert status.delivering == listener.delivering
    return status.delivering, str(status.state)


@pytest.fixture
def claims(passes):
    """A function: what a listener says now, when a heartbeat has not passed yet, and when it has."""

    def claims(listener):
        said = []
        for seconds in (0, HEARTBEAT - 1, HEARTBEAT + 1):
            passes(seconds)
            said.append(says(listener)[0])
        unread = listener.status().unread
        passes(0)
        return said, unread

    return claims


READ, UNREAD = [True, True, True], [True, True, False]


def until_idle(listener):
    """Wait until the thread that reads has checked what arrived, and waits for the next heartbeat: that is in order."""
    eventually(lambda: listener._watch.link.check_at > time.monotonic() + HEARTBEAT / 2, patience=IN_MEMORY)


# The thread that reads.


@blocking_only("who reads")
def test_a_listener_that_nobody_iterates(make, sender, claims):
    with make("jobs", heartbeat=HEARTBEAT) as listener:
        said, unread = claims(listener)

        assert said == UNREAD
        assert unread >= HEARTBEAT + 1
        assert says(listener) == (True, "listening")
        send(sender, 1)
        assert payloads(listener.notifications(IN_MEMORY, 1)) == ["1"]
        assert claims(listener)[0] == UNREAD, "one step of an iteration is no promise of a further one"


@blocking_only("who reads")
def test_without_a_heartbeat_half_a_minute_is_the_limit(make, claims):
    with make("jobs", heartbeat=None) as listener:
        assert claims(listener)[0] == UNREAD


def test_a_thread_that_waits_reads(make, claims):
    listener = make("jobs", heartbeat=1000.0)
    listener.start()
    eventually(lambda: listener._watch.looked_at > time.monotonic(), patience=IN_MEMORY)

    assert claims(listener) == (READ, 0.0)


def test_a_thread_that_waits_past_the_next_heartbeat_does_not(make, passes):
    """As if the process, or this thread of it, had been stopped."""
    listener = make("jobs", heartbeat=HEARTBEAT)
    listener.start()
    eventually(lambda: listener._watch.looked_at > time.monotonic(), patience=IN_MEMORY)

    passes(1.9 * HEARTBEAT)
    assert says(listener)[0]
    passes(2.1 * HEARTBEAT)
    assert not says(listener)[0]


@blocking_only("who reads")
def test_after_an_interrupted_wait_nobody_reads(make, server, claims):
    with make("jobs", heartbeat=HEARTBEAT) as listener:

        def interrupt(timeout, wakeup=None):
            raise KeyboardInterrupt

        its_connection(server).wait = interrupt
        with pytest.raises(KeyboardInterrupt):
            list(listener.notifications(IN_MEMORY))

        assert claims(listener)[0] == UNREAD


@blocking_only("who reads")
def test_after_a_wait_that_another_thread_has_ended_nobody_reads(make, claims):
    with make("jobs", heartbeat=HEARTBEAT) as listener:
        listener.subscribe("other", print).wait_listening(IN_MEMORY)

        assert claims(listener)[0] == UNREAD


@pytest.mark.parametrize("role", ["callback", "on_listening", "on_error", "observer"])
def test_the_users_code_that_holds_the_thread_that_reads(make, server, sender, claims, role):
    held = Holding()

    def hold(*_):
        held(SimpleNamespace(payload=role))

    class Held(Observer):
        def received(self, name, notifications, size):
            hold()

    def fail(notification):
        raise ZeroDivisionError

    options = {"observer": Held()} if role == "observer" else {role: hold} if role.startswith("on_") else {}
    listener = make("jobs", heartbeat=HEARTBEAT, **options)
    listener.subscribe("jobs", {"callback": hold, "on_error": fail}.get(role, print))
    starting = threading.Thread(target=listener.start)
    starting.start()
    if role != "on_listening":
        starting.join(IN_MEMORY)
        send(sender, 1)
    assert held.entered.wait(IN_MEMORY)

    assert claims(listener)[0] == UNREAD
    held.released.set()
    starting.join(IN_MEMORY)
    eventually(lambda: claims(listener)[0] == READ, patience=IN_MEMORY)


@blocking_only("who reads")
def test_a_wait_for_a_hint_reads_itself(make, sender, passes):
    with make("jobs", heartbeat=None) as listener:
        passes(1000)
        assert not listener.status().delivering
        waiting = Running(lambda: listener.wait_or_poll(healthy=IN_MEMORY, deaf=0))
        eventually(lambda: waits(waiting) or not waiting.is_alive(), patience=IN_MEMORY)
        send(sender, 1)

        assert waiting.ended().payload == "1"


# The queues.


def test_an_iteration_that_leaves_its_queue(make, sender, claims):
    watching = Watching()
    listener = make("jobs", heartbeat=HEARTBEAT, observer=watching)
    listener.start()
    send(sender, 1, 2)
    watching.wait_for_notifications(2)
    until_idle(listener)

    assert claims(listener)[0] == UNREAD
    assert payloads(listener.notifications(stop_after=1)) == ["1"]
    assert claims(listener)[0] == UNREAD
    assert payloads(listener.notifications(stop_after=1)) == ["2"]
    eventually(lambda: claims(listener)[0] == READ, patience=IN_MEMORY)


def test_an_iteration_that_stops_before_a_gap(make, sender, claims):
    watching = Watching()
    listener = make("jobs", heartbeat=HEARTBEAT, observer=watching, queue_size=1)
    listener.start()
    send(sender, 1)
    watching.wait_for_notifications(1)
    send(sender, 2)
    watching.wait_for_notifications(2)
    until_idle(listener)

    assert payloads(listener.notifications(stop_after=1)) == ["1"]
    assert claims(listener)[0] == UNREAD
    eventually(lambda: not list(listener.notifications(timeout=0)) and claims(listener)[0] == READ, patience=IN_MEMORY)


def test_a_worker_whose_callback_hangs(make, sender, claims):
    held = Holding()
    listener = make(workers=2, heartbeat=HEARTBEAT)
    listener.subscribe("jobs", held).wait_listening(0)
    listener.start()
    send(sender, 1)
    assert held.entered.wait(IN_MEMORY)
    assert listener.status().queued == 0
    until_idle(listener)

    assert claims(listener)[0] == UNREAD
    held.released.set()
    eventually(lambda: claims(listener)[0] == READ, patience=IN_MEMORY)


@blocking_only("workers")
def test_all_workers_busy_with_other_subscriptions(make, sender, claims):
    held, received = Holding(), Happened()
    listener = make(workers=1, heartbeat=HEARTBEAT)
    busy = listener.subscribe("busy", held)
    listener.subscribe("jobs", received.append)
    listener.start()
    send(sender, 1, channel="busy")
    assert held.entered.wait(IN_MEMORY)
    send(sender, 2)
    eventually(lambda: listener.status().queued == 1, patience=IN_MEMORY)
    until_idle(listener)
    del listener._delivery.workers._turns[busy]  # that worker alone would be enough

    assert claims(listener)[0] == UNREAD
    held.released.set()
    received.wait_for(1)
    eventually(lambda: claims(listener)[0] == READ, patience=IN_MEMORY)


def moment(seconds):
    return Moment(seconds, seconds)


@blocking_only("no listener")
def test_a_queue_tells_when_its_first_one_had_come_as_long_as_none_is_taken():
    mailbox = Mailbox(10)
    assert mailbox.waiting_since() is None

    mailbox.put([("jobs", "1", 7)], moment(0), moment(10))
    assert mailbox.waiting_since() == 10
    for seconds in (11, 12, 13):
        mailbox.put([("jobs", str(seconds), 7)], moment(0), moment(seconds))
    assert mailbox.waiting_since() == 11, "later than it was by the time between two arrivals at most"

    mailbox.items.popleft()
    assert mailbox.waiting_since() == 13, "no later than the latest one"
    mailbox.put([("jobs", "14", 7)], moment(0), moment(14))
    assert mailbox.waiting_since() == 14
    mailbox.put([("jobs", "15", 7)], moment(0), moment(15))
    assert mailbox.waiting_since() == 14

    mailbox.clear()
    assert mailbox.waiting_since() is None


@blocking_only("no listener")
def test_a_queue_from_which_one_is_taken_for_each_that_comes_is_read():
    mailbox = Mailbox(10)
    for seconds in range(100):
        mailbox.put([("jobs", str(seconds), 7)], moment(0), moment(seconds))
        if seconds > 5:
            mailbox.items.popleft()

    assert mailbox.waiting_since() == 99


# Where there is nothing to read.


def test_before_the_start_and_after_the_end(make, passes):
    listener = make("jobs", heartbeat=HEARTBEAT)
    passes(1000)
    assert (says(listener), listener.status().unread) == ((False, "idle"), 0.0)
    passes(0)
    with listener:
        pass

    passes(1000)
    assert (says(listener), listener.status().unread) == ((False, "closed"), 0.0)


def test_between_two_attempts(make, server, passes):
    watching = Watching()
    listener = make("jobs", source=refusing(server, 9), backoff=Backoff(1000, 1000), observer=watching)
    listener.start()
    watching.states.wait_for(lambda states: "backing off" in states)

    passes(1000)
    assert (says(listener), listener.status().unread) == ((False, "backing off"), 0.0)


# Where status() may be called.


def test_in_a_callback_and_in_a_signal_handler(make, sender):
    statuses = []
    with make() as listener, on_signal(lambda: statuses.append(listener.status())):
        listener.subscribe("jobs", lambda _: (statuses.append(listener.status()), send_signal()))
        assert listener.subscribe("other", print).wait_listening(IN_MEMORY)
        send(sender, 1)
        list(listener.notifications(timeout=0))

    assert [(status.state, status.delivering) for status in statuses] == [("listening", True)] * 2


def test_the_state_can_be_compared_with_a_string(make):
    assert make("jobs").status().state == "idle"
    assert f"{make('jobs').status().state}" == "idle"


# The other moments.


@pytest.fixture
def ticking(monkeypatch):
    """Two clocks that show a second more each time, and never differ."""
    seconds = count(1)
    monkeypatch.setattr(clocks, "now", lambda: moment(next(seconds)))


@pytest.mark.usefixtures("ticking")
def test_the_known_good_moment_is_that_from_which_a_gap_counts(make, server):
    told = Told()
    listener = make("jobs", on_listening=told)
    assert listener.status().known_good_at is None
    with listener:
        before = listener.status().known_good_at
        server.drop_connection(its_connection(server))
        listener.wait_or_poll(IN_MEMORY, IN_MEMORY)
        [gap] = told.gaps

        assert gap.lost_at == before
        assert listener.status().known_good_at == gap.restored_at


@pytest.mark.usefixtures("ticking")
def test_while_a_gap_is_open_nothing_newer_is_known_to_be_good(make, server):
    statuses = []
    listener = make("jobs", on_listening=lambda event: statuses.append(listener.status().known_good_at))
    with listener:
        server.drop_connection(its_connection(server))
        listener.wait_or_poll(IN_MEMORY, IN_MEMORY)

    assert statuses[1] == statuses[0]


def test_a_heartbeat_moves_the_known_good_moment_on(make):
    listener = make("jobs", heartbeat=0.01)
    listener.start()
    before = listener.status().known_good_at

    eventually(lambda: listener.status().known_good_at > before, patience=IN_MEMORY)


def test_the_latest_error_has_its_moment(make, server):
    with make("jobs") as listener:
        assert listener.status().last_error_at is None
        server.drop_connection(its_connection(server))
        before = listener.status().since
        listener.wait_or_poll(IN_MEMORY, IN_MEMORY)
        status = listener.status()

    assert before <= status.last_error_at <= status.since
    assert "ConnectionLost" in status.last_error


@pytest.mark.parametrize("workers", [0, 3])
def test_each_error_of_a_callback_is_counted(make, sender, workers):
    errors = Happened()
    listener = make(workers=workers, on_error=lambda error, notification: errors.append(error))
    for number in range(3):
        listener.subscribe(f"jobs {number}", lambda notification: 1 / 0)
    listener.start()
    for number in range(3):
        send(sender, 1, 2, channel=f"jobs {number}")
    errors.wait_for(6)

    assert listener.status().callback_errors == 6
