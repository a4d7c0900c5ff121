"""The ledger with an outbox, kept for a few seconds on each driver that blocks: nothing is missing or in a gap."""

from __future__ import annotations

import pytest

from tests.helpers.ledger import check_stored

IN_TURN = {
    "psycopg": ("outbox batches", "async outbox durable coroutine"),
    "psycopg2": ("outbox durable workers", "async outbox iterate"),
    "pg8000": ("outbox durable", "async outbox run"),
    "pygresql": ("outbox durable run", "async outbox durable"),
}
"""Ways to use a listener, some for each driver. `nox -s soak` has them all."""


def test_each_message_is_delivered_once_whatever_strikes(driver):
    if driver not in IN_TURN:
        pytest.skip("the drivers themselves are tested")

    check_stored(driver, ("outbox iterate", *IN_TURN[driver], "outbox process"))
