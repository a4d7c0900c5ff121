"""What the tests of the outbox share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

import pgnotify
from pgnotify.testing._wire import Session
from tests.helpers.outbox import Sending, installed
from tests.kinds import Address


@pytest.fixture(scope="session")
def outbox(address: Address) -> Iterator[pgnotify.Outbox]:
    """An outbox."""
    with installed(address) as outbox:
        yield outbox


@pytest.fixture
def sender(session: Session, outbox: pgnotify.Outbox) -> Sending:
    """Another session, which stores messages."""
    return Sending(session, outbox)


@pytest.fixture
def name() -> str:
    """The name of a durable subscription that no other test uses, with all that needs quoting."""
    return f"N'\"\\ {uuid.uuid4().hex[:12]} %s $1 ?"
