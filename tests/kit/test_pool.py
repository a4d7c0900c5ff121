"""The kit's tests of release(), end() and pool, on connections that a pool has lent."""

from __future__ import annotations

import psycopg_pool
import pytest

from pgnotify.testing import BackendConformance
from pgnotify.testing.conformance import running
from pgnotify.testing.conformance.releasing import Releasing

TESTS = [name for name in vars(Releasing) if name.startswith("test_")]


class Lent(BackendConformance):
    """Each connection is the only one of a pool of its own."""

    def connect(self, address):
        pool = psycopg_pool.ConnectionPool(address.dsn, min_size=1, max_size=1, open=True)
        self._at_end.callback(pool.close)
        return pool.getconn()

    def close(self, connection):
        connection._pool.putconn(connection)


@pytest.mark.parametrize("test", TESTS)
def test_a_lent_connection_is_released_and_ended(test, address):
    result = running.result_of(Lent(), test)

    assert (result.outcome, result.detail) == (running.OK, "")


def test_the_pool_that_is_named_is_the_one_that_has_lent_the_connection(address):
    kit = Lent()
    kit.setup_method()
    try:
        assert isinstance(kit.backend.pool, psycopg_pool.ConnectionPool)
    finally:
        kit.teardown_method()
