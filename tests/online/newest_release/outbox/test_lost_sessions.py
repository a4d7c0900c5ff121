"""The server does not know yet that a session is lost, and keeps its locks: a network that has failed says nothing."""

from __future__ import annotations

import uuid

import pytest

import pgnotify
from pgnotify.protocol import query
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


SETTINGS = "SELECT pg_catalog.current_setting('tcp_keepalives_idle'), pg_catalog.current_setting('tcp_user_timeout')"


@pytest.mark.parametrize("is_ours", [True, False], ids=["ours", "theirs"])
def test_a_session_of_ours_with_a_lock_ends_soon_after_its_machine_was_cut_off(address, session, outbox, is_ours):
    events = []
    ((idle, timeout),) = session.sql(SETTINGS)
    with pgnotify.connect(address.dsn) as connection:
        source = address.dsn if is_ours else connection.connection
        with pgnotify.Listener(source, "orders", outbox=outbox, durable="billing", on_listening=events.append):
            settings = query(pgnotify.wrap(events[-1].connection).backend, SETTINGS)

    assert settings == [("10", "25000") if is_ours else (idle, timeout)]
