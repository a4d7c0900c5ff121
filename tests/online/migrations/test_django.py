"""Django's migrations make the outbox, and its transactions send to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pgnotify
from pgnotify.testing._wire import Session
from tests.helpers.waiting import PATIENCE
from tests.kinds import Address

pytest.importorskip("django")

PROGRAM = Path(__file__).parents[2] / "helpers" / "django_outbox.py"
TEST_CASES = PROGRAM.with_name("django_testing.py")
MAY_SEND = "SELECT pg_catalog.has_column_privilege('box_sender', 'box.\"my box\"', 'payload', 'INSERT')"


def run(address: Address, *steps: str) -> str:
    """Run a Django project that does some steps; return its output."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *steps], input=address.dsn, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_migrate_makes_it_a_transaction_sends_and_migrate_zero_removes_it(address: Address, session: Session):
    session.sql("CREATE ROLE box_sender; CREATE SCHEMA box")
    outbox = pgnotify.Outbox("my box", "box")
    try:
        said = run(address, "show", "migrate", "check", "send")

        assert outbox.install_sql(senders=["box_sender"]) in said
        assert "No changes detected" in said
        assert session.sql(MAY_SEND) == [("t",)]
        with pgnotify.Listener(address.dsn, "orders", outbox=outbox, start="all") as listener:
            payloads = [message.payload for message in listener.notifications(PATIENCE, stop_after=2)]
        assert payloads == ["committed", "at once"]

        run(address, "migrate back")

        session.sql("DROP SCHEMA box")  # it is empty
    finally:
        session.sql("DROP SCHEMA IF EXISTS box CASCADE; DROP TABLE public.django_migrations; DROP ROLE box_sender")


def test_a_test_case_records_what_is_sent_and_never_delivered(address: Address, session: Session):
    session.listen("orders")

    done = subprocess.run(
        [sys.executable, str(TEST_CASES)], input=address.dsn, capture_output=True, text=True, timeout=PATIENCE
    )

    assert "Ran 5 tests" in done.stderr
    assert done.returncode == 0, done.stderr
    session.notify("orders", "afterwards")
    assert session.received() == [("orders", "afterwards")]
