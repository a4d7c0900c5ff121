"""Shared by the tests of the Listener on a server in memory."""

from __future__ import annotations

import pytest

from tests.helpers.listener_fronts import Listener
from tests.helpers.listeners import AT_ONCE
from tests.helpers.waiting import IN_MEMORY


@pytest.fixture
def make(server):
    """A function that makes listeners on the server, which are stopped at the end; no heartbeat, no pauses."""
    made = []

    def listener(*channels, source=None, **settings):
        settings = {"heartbeat": None, "backoff": AT_ONCE, **settings}
        made.append(Listener(source or (lambda: server.connect()), *channels, **settings))
        return made[-1]

    yield listener
    for each in made:
        assert each.stop(IN_MEMORY)
