"""The ledger with an outbox, kept for a few seconds on each driver that does not block."""

from __future__ import annotations

import pytest

from tests.helpers.ledger import check_stored
from tests.ledger.trial import INSTALLED_ASYNC


@pytest.mark.parametrize("driver", INSTALLED_ASYNC)
def test_each_message_is_delivered_once_whatever_strikes(driver):
    check_stored(driver, ("async outbox durable", "async outbox iterate", "async outbox process"))
