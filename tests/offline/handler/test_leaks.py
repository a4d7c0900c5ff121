"""A handler whose connection is lost keeps no descriptors, even if it is kept."""

from __future__ import annotations

import gc

import pytest

from pgnotify import ConnectionLost, NotificationHandler
from tests.helpers.resources import open_descriptors
from tests.helpers.threads import Running, waits
from tests.helpers.waiting import IN_MEMORY, eventually


def test_the_loss_of_the_connection_leaves_nothing(server):
    gc.collect()
    before = open_descriptors()
    connection = server.connect()
    handler = NotificationHandler(connection, "jobs", print)
    loop = Running(handler)
    eventually(lambda: waits(loop), patience=IN_MEMORY)
    server.drop_connection(connection)

    with pytest.raises(ConnectionLost):
        loop.ended()

    connection.close()
    assert open_descriptors() <= before
    with pytest.raises(ConnectionLost):
        handler()
    assert open_descriptors() <= before
