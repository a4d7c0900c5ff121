"""pgnotify.check: the conformance class without pytest, for a quick look."""

from __future__ import annotations

import re
from operator import attrgetter

import psycopg
import pytest

import pgnotify
from pgnotify import UnknownBackend
from pgnotify.testing import MemoryServer
from pgnotify.testing.conformance import FEATURES, running
from tests.helpers.waiting import eventually
from tests.kit import mutants


@pytest.fixture
def table():
    """The lines of the table."""
    return []


@pytest.fixture
def few(monkeypatch):
    """A function that makes check() run only the tests named."""

    def choose(*names):
        monkeypatch.setattr(running, "tests_of", lambda _: list(names))

    return choose


def test_a_function_that_takes_an_address_has_everything_checked(address, table):
    assert pgnotify.check(lambda to: psycopg.connect(to.dsn), tell=table.append) is True

    assert table[0] == "psycopg.Connection, by pgnotify.backends.psycopg.PsycopgBackend"
    assert "  ok       test_a_listen_is_in_force_on_return" in table
    assert [line for line in table if line.startswith("  skipped")] == [
        "  skipped  test_a_fetch_of_whole_messages_leaves_one_that_has_not_arrived_in_full: "
        "the backend does not offer fetch_whole()"
    ]
    assert table[-1].startswith(f"{len(table) - 3} ok, 0 FAILED, 1 skipped, in ")
    assert len(table) > 90


def test_a_function_that_takes_nothing_decides_where_it_connects(address, table):
    assert pgnotify.check(lambda: psycopg.connect(address.dsn), tell=table.append) is True

    skipped = [line for line in table if line.startswith("  skipped")]
    assert (
        "  skipped  test_the_end_of_a_tcp_connection_is_a_loss: network: the function itself chooses where to connect"
        in (skipped)
    )
    # Only tests that need to know where the server is.
    assert all(line.endswith(": the function itself chooses where to connect") for line in skipped)
    assert len(table) - 2 - len(skipped) > 110
    assert f"0 FAILED, {len(skipped)} skipped" in table[-1]


class AutocommitOnly(pgnotify.testing.BackendConformance):
    """Defines more than how to connect."""

    patience = 1.0

    def connect(self, address):
        return psycopg.connect(address.dsn, autocommit=True)


def test_a_class_may_tell_more_of_the_connections(address, table, few):
    few("test_a_listen_is_in_force_on_return")

    assert pgnotify.check(AutocommitOnly, tell=table.append) is True

    assert table[0].startswith("psycopg.Connection, by ")
    assert table[1] == "  ok       test_a_listen_is_in_force_on_return"


def test_a_connection_that_runs_no_statements_is_told_before_anything_else(table):
    with (
        MemoryServer() as server,
        pytest.raises(TypeError, match=r"MemoryConnection has no cursor\(\).*define execute"),
    ):
        pgnotify.check(server.connect, tell=table.append)

    assert table == []


@pytest.mark.parametrize("forgets_the_rows", [lambda rows: None, lambda rows: []])
def test_an_execute_that_returns_nothing_is_told_before_anything_else(address, table, forgets_the_rows):
    class Forgets(AutocommitOnly):
        def execute(self, connection, statement):
            return forgets_the_rows(super().execute(connection, statement))

    with pytest.raises(TypeError, match=r"Forgets\.execute\(\) returned .*, and not the rows of 'SELECT 1': define it"):
        pgnotify.check(Forgets, tell=table.append)

    assert table == []


def test_an_execute_that_returns_nothing_is_told_by_each_test(address):
    class Forgets(AutocommitOnly):
        implicit_transactions = False

        def execute(self, connection, statement):
            super().execute(connection, statement)

    result = running.result_of(Forgets(), "test_a_termination_ends_the_wait_and_is_a_loss_for_good")

    assert result.detail.startswith(
        "TypeError: Forgets.execute() returned None, and not the rows of 'SELECT pg_catalog"
    )


class Driver(psycopg.Connection):
    """A driver whose methods are named as those of others, and do something else."""

    def exec_driver_sql(self, statement):
        """Run a statement, and return nothing."""

    run = query = cursor = exec_driver_sql


@pytest.mark.parametrize("kept", ["exec_driver_sql", "run", "query", "cursor"])
def test_methods_that_return_nothing_are_told_with_the_remedy(address, monkeypatch, kept):
    for name in ("exec_driver_sql", "run", "query"):
        if name != kept:
            monkeypatch.delattr(Driver, name)

    with pytest.raises(TypeError, match=r"rows.*: (derive .* and define execute\(\)|define it)"):
        pgnotify.check(lambda to: Driver.connect(to.dsn), tell=str)


def test_what_the_driver_lacks_is_skipped_with_the_reason(address, table, few):
    few("test_a_database_without_an_encoding_does_no_harm")

    assert pgnotify.check(lambda to: psycopg.connect(to.dsn), cannot={"sql_ascii": "a reason"}, tell=table.append)

    assert table[1] == "  skipped  test_a_database_without_an_encoding_does_no_harm: sql_ascii: a reason"


def test_a_feature_that_there_is_not_is_refused_before_anything_else():
    with pytest.raises(ValueError, match="unknown in `cannot`: netwrok"):
        pgnotify.check(list, cannot={"netwrok": "a typo"})


def test_only_some_are_checked(address, table):
    assert pgnotify.check(lambda to: psycopg.connect(to.dsn), only="^test_a_listen_(is|may)", tell=table.append)

    names = [line.split()[1] for line in table[1:-1]]
    assert "test_a_listen_is_in_force_on_return" in names
    assert 1 < len(names) < 10
    assert all(name.startswith(("test_a_listen_is", "test_a_listen_may")) for name in names)


@pytest.mark.parametrize(
    ("only", "says"),
    [
        ("(", re.escape("only must be a regular expression, not '(': missing ), unterminated subpattern")),
        ("typo", "only must match the name of a check, and 'typo' matches none"),
    ],
)
def test_a_pattern_that_chooses_no_check_is_refused_before_anything_else(address, table, only, says):
    with pytest.raises(ValueError, match=says):
        pgnotify.check(lambda: psycopg.connect(address.dsn), only=only, tell=table.append)

    assert table == []


def test_nothing_stays_on_the_server(address, session, few):
    few("test_in_a_latin1_database_names_and_payloads_are_right")

    assert pgnotify.check(lambda to: psycopg.connect(to.dsn), tell=str) is True

    assert session.sql("SELECT FROM pg_database WHERE datname LIKE 'pgnotify%'") == []
    others = f"SELECT FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> {session.pid}"
    eventually(lambda: not session.sql(others))


@pytest.fixture
def registered(monkeypatch):
    """A function that replaces psycopg's backend by a mutant."""

    def register(mutant):
        sound = pgnotify.registry.backend_for

        def wrong(connection):
            monkeypatch.setattr(pgnotify.registry, "_registered", {})
            try:
                return mutant(connection)
            finally:
                monkeypatch.setattr(pgnotify.registry, "_registered", {"psycopg": wrong})

        monkeypatch.setattr(pgnotify.registry, "_registered", {"psycopg": wrong})
        return sound

    return register


def test_what_fails_is_told_with_the_reason(address, table, few, registered):
    registered(mutants.naming.FoldsTheCase)
    few("test_the_case_of_a_name_is_kept", "test_a_wait_of_no_time_only_looks")

    assert pgnotify.check(lambda to: psycopg.connect(to.dsn), tell=table.append) is False

    assert table[0] == "psycopg.Connection, by tests.kit.mutants.naming.FoldsTheCase"
    assert table[1].startswith("  FAILED   test_the_case_of_a_name_is_kept: got 1, expected 1; at index 0 got ")
    assert table[1].endswith(" (see pgnotify.protocol: Backend.listen, Backend.unlisten)")
    assert table[2] == "  ok       test_a_wait_of_no_time_only_looks"
    assert table[3] == "FAILED: test_the_case_of_a_name_is_kept"
    assert table[4].startswith("1 ok, 1 FAILED, 0 skipped, in ")


def test_what_hangs_is_told_and_the_others_go_on(address, table, few, registered, monkeypatch):
    class Hangs(mutants.Mutant):
        def listen(self, channel):
            self.connection.execute("SELECT pg_sleep(3600)")

    registered(Hangs)
    monkeypatch.setattr(running, "MOST_SECONDS", 0.2)
    few("test_a_listen_is_in_force_on_return", "test_a_wait_may_be_a_connections_first_use")

    assert pgnotify.check(lambda to: psycopg.connect(to.dsn), tell=table.append) is False

    assert table[1].startswith(
        "  FAILED   test_a_listen_is_in_force_on_return: it hangs: it still runs after 0.2 seconds, here:"
    )
    assert table[2] == "  ok       test_a_wait_may_be_a_connections_first_use"
    with psycopg.connect(address.dsn) as another:
        another.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)'")


def test_the_factorys_own_error_passes_through():
    def fails():
        raise LookupError("of the user's")

    with pytest.raises(LookupError, match="of the user's"):
        pgnotify.check(fails, tell=str)


def test_what_no_backend_fits_is_told_before_anything_else():
    with pytest.raises(UnknownBackend, match=r"no backend fits a builtins\.dict"):
        pgnotify.check(dict, tell=str)


def test_a_factory_that_takes_two_things_is_refused():
    with pytest.raises(TypeError, match=r"must take no argument, or one address, not \(host, port\)"):
        pgnotify.check(lambda host, port: None, tell=str)


def test_a_feature_that_there_is_not_cannot_be_declared_as_missing():
    class Typo(pgnotify.testing.BackendConformance):
        cannot = {"netwrok": "a typo"}  # noqa: RUF012

    with pytest.raises(
        ValueError, match=re.escape(f"unknown in `cannot`: netwrok; the features are {', '.join(FEATURES)}")
    ):
        Typo().setup_method()


def test_the_one_method_that_must_be_defined_is_named(few):
    few("test_a_listen_is_in_force_on_return")

    (result,) = running.results_of(pgnotify.testing.BackendConformance)

    assert result.outcome == running.FAILED
    said = "BackendConformance must define connect(self, address)"
    assert result.detail == f"NotImplementedError: {said} (see pgnotify.protocol: Backend.listen, Backend.unlisten)"


def test_each_test_says_where_its_promise_stands():
    for name in running.tests_of(pgnotify.testing.BackendConformance):
        home = next(cls for cls in pgnotify.testing.BackendConformance.__mro__ if name in vars(cls))
        for place in vars(home)["promised_in"].split(", "):
            assert attrgetter(place)(pgnotify.protocol).__doc__
