"""The collector of notifications on each kind of connection, and the fixture that connects it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pgnotify import ConnectionLost
from pgnotify.testing._wire import Session
from pgnotify.testing.notifications import Notifications
from tests.helpers.threads import Background
from tests.helpers.waiting import PATIENCE


def test_what_is_sent_is_expected_and_nothing_else(connect: Callable[..., Any], session: Session, channel: str):
    with Notifications(connect()) as collector:
        collector.listen(channel)
        session.notify(channel, "41")
        session.notify(channel, "it's 42")

        assert collector.expect(channel, "it's 42", within=PATIENCE) == (channel, "it's 42", session.pid)
        assert collector.expect(channel).payload == "41"
        collector.expect_none(channel)

        session.notify(channel, "43")
        with pytest.raises(AssertionError, match="any channel arrived"):
            collector.expect_none()


def test_a_lost_connection_ends_an_expectation_at_once(connect: Callable[..., Any], session: Session, channel: str):
    with Notifications(connect()) as collector:
        collector.listen(channel)
        expecting = Background(collector.expect, channel, within=3600)

        session.terminate(_listener(session, channel))

        with pytest.raises(AssertionError, match=r"arrived before ConnectionLost: .*, from ") as caught:
            expecting.ended()
        assert isinstance(caught.value.__cause__, ConnectionLost)


def _listener(session: Session, channel: str) -> int:
    """Return the process of the session whose last statement was about the channel."""
    rows = session.sql("SELECT pid, query FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    (pid,) = (pid for pid, query in rows if query is not None and channel.replace('"', '""') in query)
    return int(pid or 0)
