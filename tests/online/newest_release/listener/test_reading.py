"""The Listener never stops reading because somebody is slow, and does nothing at all while nothing happens.

A session that listens and is not read from blocks in its server, in the midst of a transaction: vacuum and the
notification queue wait for it. `run` with callbacks in the reading thread gets there, if one of them blocks for long.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from pgnotify.listener.gap import Reason
from pgnotify.listener.runner import ReconnectingRunner
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import Holding, Told, listening, reader_of
from tests.helpers.sending import flood
from tests.helpers.threads import waits
from tests.helpers.waiting import PATIENCE, eventually

pytestmark = both_fronts

COUNT, SIZE = 20_000, 7_000


def assert_is_read_from(session, listener):
    """Fail unless the server has got rid of everything, and its session waits for nothing but the client's words."""
    pid = listener.status().server_pid
    eventually(lambda: listener.status().notifications == COUNT, "all has come in")
    # A session that has sent the last of it is at work for a moment before it waits; one that is held back stays so.
    question = (
        f"SELECT state, wait_event, backend_xmin, pg_notification_queue_usage() FROM pg_stat_activity WHERE pid = {pid}"
    )
    eventually(lambda: session.sql(question) == [("idle", "ClientRead", None, "0")], "the server waits for the client")


def test_an_iteration_that_does_not_consume_holds_nothing_back(driver, address, session, channel):
    seen = []
    told = Told(lambda event: seen.append(event.gap and event.gap.dropped))
    with listening(address.dsn, channel, driver=driver, on_listening=told, queue_size=100) as listener:
        flood(session, channel, COUNT, SIZE)
        assert_is_read_from(session, listener)

        first = [payload_number(each) for each in listener.notifications(PATIENCE, 100)]
        assert first == list(range(100))
        assert seen == [None]
        assert list(listener.notifications(timeout=0)) == []
        session.notify(channel, "behind the gap")
        seen += [each.payload for each in listener.notifications(PATIENCE, 1)]

    assert seen == [None, COUNT - 100, "behind the gap"]
    assert [(gap.reason, gap.channels) for gap in told.gaps] == [(Reason.QUEUE_OVERFLOW, (channel,))]


def payload_number(notification):
    return int(notification.payload.partition(" ")[0])


@blocking_only("who reads")
def test_what_nobody_reads_is_not_said_to_be_delivered(driver, address, session, channel):
    with Listener(address.dsn, channel, driver=driver, heartbeat=0.05) as listener:
        eventually(lambda: not listener.status().delivering)
        status = listener.status()

        assert (status.state, status.unread > 0.05) == ("listening", True)
        session.notify(channel, "1")
        assert [notification.payload for notification in listener.notifications(PATIENCE, 1)] == ["1"]


def test_a_callback_that_blocks_a_worker_holds_nothing_back(driver, address, session, channel):
    told, holding = Told(), Holding()
    options = {"on_listening": told, "workers": 1, "queue_size": 100}
    with listening(address.dsn, driver=driver, **options) as listener:
        assert listener.subscribe(channel, holding).wait_listening(PATIENCE)
        told.next()
        session.notify(channel, "holds")
        assert holding.entered.wait(PATIENCE)
        flood(session, channel, COUNT - 1, SIZE)
        assert_is_read_from(session, listener)

        assert holding.payloads == ["holds"]
        holding.released.set()
        gap = told.next().gap
        assert len(holding.payloads) == 101
        assert (gap.reason, gap.dropped, gap.channels) == (Reason.QUEUE_OVERFLOW, COUNT - 101, (channel,))
        session.notify(channel, "behind the gap")
        eventually(lambda: holding.payloads[101:] == ["behind the gap"])
        assert (listener.status().dropped, listener.status().gaps) == (COUNT - 101, 1)


def test_others_are_called_while_a_callback_blocks_its_worker(driver, address, session, channel):
    holding, received = Holding(), []
    with listening(address.dsn, driver=driver, workers=2) as listener:
        blocked = listener.subscribe(f"{channel}1", holding)
        other = listener.subscribe(f"{channel}2", lambda each: received.append(each.payload))
        assert blocked.wait_listening(PATIENCE)
        assert other.wait_listening(PATIENCE)
        session.notify(f"{channel}1")
        assert holding.entered.wait(PATIENCE)
        for number in range(250):
            session.notify(f"{channel}2", str(number))

        eventually(lambda: len(received) == 250)
        holding.released.set()
    assert received == [str(number) for number in range(250)]


# Idle.


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="not applicable: no /proc here")
def test_nothing_happens_while_nothing_happens(driver, address, session, channel):
    with listening(address.dsn, channel, driver=driver, heartbeat=None) as listener:
        thread = reader_of(listener)
        eventually(lambda: waits(thread))
        before = switches(thread)
        session.sql("SELECT pg_sleep(1.5)")

        assert switches(thread) - before <= 1


def switches(thread):
    """Return how many times a thread has waited for something."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("voluntary_ctxt_switches"))
    return int(line.partition(":")[2])


def test_an_idle_listener_wakes_up_for_its_heartbeat_only(driver, address, session, channel, monkeypatch):
    waited = []
    wait = ReconnectingRunner._wait
    monkeypatch.setattr(
        ReconnectingRunner, "_wait", lambda self, seconds: (waited.append(seconds), wait(self, seconds))
    )
    checks = []

    class Observing:
        def checked(self, name, round_trip, queue_usage):
            checks.append(len(waited))

        def __getattr__(self, name):
            return lambda *_: None

    with listening(address.dsn, channel, driver=driver, heartbeat=0.05, observer=Observing()):
        eventually(lambda: len(checks) >= 6)

    # From the second one on: before the first there is what belongs to the beginning.
    between = [later - earlier for earlier, later in pairwise(checks[1:])]
    assert max(between) <= 2, between  # poll() may end its wait a little early
