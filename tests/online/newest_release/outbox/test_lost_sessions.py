"""The server does not know yet that a session is lost, and keeps its locks: a network that has failed says nothing."""

from __future__ import annotations

import uuid

import pytest

import pgnotify
from tests.helpers.network import through


@pytest.fixture
def outbox(session):
    """An outbox of this test's own."""
    outbox = pgnotify.Outbox(f"outbox_{uuid.uuid4().hex[:8]}")
    session.sql(outbox.install_sql())
    yield outbox
    session.sql(outbox.uninstall_sql())


def test_a_durable_listener_goes_on_although_its_lost_session_still_holds_the_lock(proxy, address, session, outbox):
    options = {"outbox": outbox, "durable": "billing", "heartbeat": 0.2, "answer_timeout": 0.2}
    with pgnotify.Listener(through(proxy, address).dsn, "orders", **options) as listener:
        proxy.blackhole()
        session.sql(f"INSERT INTO public.{outbox.name} (channel, payload) VALUES ('orders', 'meanwhile')")

        messages = [message.payload for message in listener.notifications(timeout=20, stop_after=1)]

    assert messages == ["meanwhile"]
