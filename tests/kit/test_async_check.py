"""pgnotify.check on asynchronous connections, and the asynchronous conformance class as such."""

from __future__ import annotations

from operator import attrgetter

import psycopg
import pytest

import pgnotify
from pgnotify import UnknownBackend, async_protocol
from pgnotify.testing import AsyncBackendConformance, BackendConformance, MemoryServer
from pgnotify.testing.conformance import running

SHARED = running.tests_of(BackendConformance)
OWN = [name for name in running.tests_of(AsyncBackendConformance) if name not in SHARED]
FEW = ("test_a_listen_is_in_force_on_return", "test_a_wait_that_is_cancelled_ends_and_the_next_one_sees_what_arrives")


@pytest.fixture
def table():
    """The lines of the table."""
    return []


@pytest.fixture
def few(monkeypatch):
    """Have check() run two tests: one that is shared, and one of what only an asynchronous backend promises."""
    monkeypatch.setattr(running, "tests_of", lambda _: FEW)


class OnPsycopg(AsyncBackendConformance):
    """Nothing but how to connect is told."""

    async def connect(self, address):
        return await psycopg.AsyncConnection.connect(address.dsn)


def test_all_of_it_is_checked_of_a_coroutine_function_that_takes_an_address(address, table, monkeypatch):
    checked = []
    monkeypatch.setattr(running, "tests_of", lambda conformance: checked.append(conformance) or OWN)

    async def connect(to):
        return await psycopg.AsyncConnection.connect(to.dsn)

    assert pgnotify.check(connect, tell=table.append) is True

    assert issubclass(checked[0], AsyncBackendConformance)
    assert table[0].startswith("psycopg.AsyncConnection, by pgnotify.backends.")
    assert "  ok       test_a_wait_that_is_cancelled_ends_and_the_next_one_sees_what_arrives" in table
    assert table[-1].startswith(f"{len(OWN)} ok, 0 FAILED, 0 skipped, in ")


def test_a_coroutine_function_that_takes_nothing_decides_where_it_connects(address, table, few):
    async def connect():
        return await psycopg.AsyncConnection.connect(address.dsn)

    assert pgnotify.check(connect, tell=table.append) is True

    assert table[-1].startswith("2 ok, 0 FAILED, 0 skipped, in ")


def test_a_function_that_returns_what_is_to_be_awaited_is_one_too(address, table, few):
    assert pgnotify.check(lambda: psycopg.AsyncConnection.connect(address.dsn), tell=table.append) is True

    assert table[-1].startswith("2 ok, 0 FAILED, 0 skipped, in ")


def test_a_class_may_tell_more_of_the_connections(address, table, few):
    assert pgnotify.check(OnPsycopg, cannot={"encodings": "a reason"}, tell=table.append) is True

    assert table[-1].startswith("2 ok, 0 FAILED, 0 skipped, in ")


def test_what_fails_is_told_with_the_module_of_the_promise(address, table, few):
    class Swallows(OnPsycopg):
        def make_backend(self, connection):
            backend = super().make_backend(connection)

            async def wait(timeout, wakeup):
                return False

            backend.wait = wait
            return backend

    assert pgnotify.check(Swallows, tell=table.append) is False

    assert table[1].endswith(" (see pgnotify.protocol: Backend.listen, Backend.unlisten)")
    assert table[2].startswith("  FAILED   test_a_wait_that_is_cancelled_ends")
    assert table[2].endswith(" (see pgnotify.async_protocol: AsyncBackend)")


def test_a_connection_that_blocks_is_told_before_anything_else(address, table):
    async def connect():
        return psycopg.connect(address.dsn)

    with pytest.raises(
        UnknownBackend, match=r"no asynchronous backend fits a psycopg\.Connection: .*BackendConformance"
    ):
        pgnotify.check(connect, tell=table.append)

    assert table == []


def test_a_connection_that_runs_no_statements_is_told_before_anything_else(table):
    with MemoryServer() as server, pytest.raises(TypeError, match=r"AsyncMemoryConnection has no .*define execute"):
        pgnotify.check(server.connect_async, tell=table.append)

    assert table == []


def test_an_execute_that_returns_nothing_is_told_before_anything_else(address, table):
    class Forgets(OnPsycopg):
        async def execute(self, connection, statement):
            await super().execute(connection, statement)

    with pytest.raises(
        TypeError, match=r"Forgets\.execute\(\) returned None, and not the rows of 'SELECT 1': define it"
    ):
        pgnotify.check(Forgets, tell=table.append)

    assert table == []


class Driver(psycopg.AsyncConnection):
    """A driver with the methods of another one, which do something else."""

    def exec_driver_sql(self, statement):
        """Run a statement, and return nothing."""

    fetchrow = fetch = cursor = exec_driver_sql


@pytest.mark.parametrize("kept", ["exec_driver_sql", "fetchrow", "cursor"])
def test_methods_that_return_nothing_are_told_with_the_remedy(address, monkeypatch, kept):
    for name in ("exec_driver_sql", "fetchrow"):
        if name != kept:
            monkeypatch.delattr(Driver, name)

    with pytest.raises(TypeError, match=r"rows .*: derive a class from AsyncBackendConformance and define execute\(\)"):
        pgnotify.check(lambda to: Driver.connect(to.dsn), tell=str)


def test_each_test_says_where_its_promise_stands():
    for name in OWN:
        home = next(cls for cls in AsyncBackendConformance.__mro__ if name in vars(cls))
        assert home.protocol == async_protocol.__name__
        for place in home.promised_in.split(", "):
            assert attrgetter(place)(async_protocol).__doc__


def test_the_tests_run_on_the_loop_that_the_class_names(address):
    import asyncio

    loops = []

    class OnItsLoop(OnPsycopg):
        def new_event_loop(self):
            loops.append(asyncio.new_event_loop())
            return loops[-1]

        async def connect(self, address):
            assert asyncio.get_running_loop() is loops[-1]
            return await super().connect(address)

    result = running.result_of(OnItsLoop(), FEW[0])

    assert (result.outcome, result.detail) == (running.OK, "")
    assert [loop.is_closed() for loop in loops] == [True]
