"""What a server is sent: every name in it has its schema, so that nobody on the search_path is taken for pg_catalog.

`tests/offline/test_sql.py` reads the statements where they are written.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

import pgnotify
from pgnotify import Listener, Listening, Outbox
from pgnotify.cli.demonstration import demonstrate
from pgnotify.registry import installed_drivers
from pgnotify.testing import BackendConformance
from pgnotify.testing._wire import Session
from pgnotify.testing.address import Address
from pgnotify.testing.conformance import running
from pgnotify.testing.server import ExternalPostgreSQL
from tests.helpers.listeners import Watching, next_payloads
from tests.helpers.logged import Logged, logging_server
from tests.helpers.twins import PATHS, Twins, twins
from tests.helpers.unqualified import WITH_PGLAST, unqualified
from tests.helpers.waiting import eventually
from tests.kinds import Kind

CHANNEL = "jobs"

# Tests of the kit that send statements of their own. `tests/kit/test_sql.py` runs all of them, on one driver.
OF_THE_KIT = (
    "test_a_check_tells_how_the_server_stands_and_who_has_answered",
    "test_a_refusal_does_not_roll_back_the_users_transaction",
    "test_a_refusal_neither_commits_nor_ends_the_users_transaction",
    "test_a_termination_ends_the_wait_and_is_a_loss_for_good",
    "test_inside_a_failed_transaction_listen_unlisten_and_wait_are_refused",
    "test_many_are_sent_in_order",
    "test_what_comes_while_a_query_runs_is_all_there_afterwards",
)

# How the statements without schemas begin that a wrapper sends by itself when it connects. It does so without pgnotify,
# too. The drivers alone send no such statement.
OF_WRAPPERS = {
    "sqlalchemy": (
        "select current_schema()",  # the schema that tables are in by default
        "SELECT\n    typname AS name, oid, typarray AS array_oid,",  # psycopg's TypeInfo.fetch("hstore")
        "SELECT t.oid, typarray\nFROM pg_type t JOIN pg_namespace ns",  # psycopg2's HstoreAdapter.get_oids()
    ),
    "django": ("SELECT set_config('TimeZone', ",),  # its setting TIME_ZONE
}


class OneKind(BackendConformance):
    """The kit, for a kind of connection."""

    kind: Kind

    def connect(self, address: Address):
        return self.kind.connect(address)


def send_everything(kind: Kind, address: Address) -> None:
    """Use a kind of connection for all that pgnotify does, and see that it works."""
    watching = Watching()
    with Listener(lambda: kind.connect(address), CHANNEL, heartbeat=0.05, observer=watching) as listener:
        listener.start()
        watching.checks.wait_for(2)
        listener.subscribe("more", lambda notification: None).cancel()
        db = kind.connect(address)
        pgnotify.notify(db, CHANNEL, "1")
        pgnotify.notify_many(db, [(CHANNEL, "2"), (CHANNEL, "3")])
        if kind.implicit_transactions:
            db.commit()
        assert next_payloads(listener, 3) == ["1", "2", "3"]
        assert listener.probe().delivering == "yes"
    _handle(pgnotify.wrap(db))
    _check_few(type("Few", (OneKind,), {"kind": kind, "address": address}))


def _handle(connection: pgnotify.Connection) -> None:
    payloads = []
    handler = connection.notification_handler(CHANNEL, lambda arg_dict: payloads.append(arg_dict["extra"]))
    handler.listen()
    handler.notify(payload="work")
    handler.notify(stop=True)
    handler()
    assert payloads == ["work", ""]
    connection.listen(CHANNEL)
    assert connection.backend.check().channels == {CHANNEL}
    connection.backend.unlisten_many([CHANNEL])
    connection.close()


def _check_few(conformance: type[BackendConformance]) -> None:
    names = running.tests_of(conformance)
    chosen = [name for name in names if name in OF_THE_KIT]
    assert len(chosen) == len(OF_THE_KIT)
    try:
        failed = [result for name in chosen if (result := running.result_of(conformance(), name)).outcome == "FAILED"]
    finally:
        conformance.teardown_class()
    assert failed == []


def send_what_strings_make(driver: str, address: Address) -> None:
    """Connect from a connection string, which checks the session's attributes, and in a listener too."""
    attributes = "?target_session_attrs=read-write"
    with pgnotify.connect(address.dsn + attributes, driver=driver) as connection:
        connection.notify(CHANNEL, "1")
    watching = Watching()
    with Listener(address.dsn, CHANNEL, heartbeat=0.05, driver=driver, observer=watching) as listener:
        listener.start()
        watching.checks.wait_for(1)
        assert listener.probe().delivering == "yes"


def use_an_outbox(address: Address) -> None:
    """Install an outbox, send, listen with a name and without, and keep it up."""
    outbox = Outbox("jobs_outbox", max_age=timedelta(microseconds=1))
    with pgnotify.connect(address.dsn) as db:
        outbox.install(db, senders=["postgres"], readers=["postgres"])
        outbox.install(db)
        outbox.notify(db, CHANNEL, "1")
        outbox.notify_many(db, [(CHANNEL, "2"), (CHANNEL, "3")])
        for durable in (None, "billing"):
            told: list[Listening] = []
            with Listener(
                address.dsn, CHANNEL, outbox=outbox, durable=durable, start="all", on_listening=told.append
            ) as listener:
                assert next_payloads(listener, 3) == ["1", "2", "3"]
        outbox.notify(db, CHANNEL, "4")
        with Listener(address.dsn, CHANNEL, outbox=outbox, durable="billing") as listener:
            next(listener.batches(2)).acknowledge(db)
        outbox.notify(db, CHANNEL, "5")
        assert outbox.prune(db) == 5
        with Listener(address.dsn, outbox=outbox, durable="billing", on_listening=told.append) as listener:
            listener.subscribe(CHANNEL, print)  # a consumer, without which nothing is read
            listener.start()
            eventually(lambda: told and told[-1].gap)
        assert outbox.rebase(db, "billing").new_home is False
        assert len(outbox.status(db).subscriptions) == 1
        outbox.uninstall(db)


# Twins on the search_path.


@pytest.fixture(scope="module")
def trap(address) -> Iterator[Twins]:
    """A database with a twin of everything in pg_catalog, made by an ordinary role."""
    with twins(address) as made:
        yield made


@pytest.fixture(params=PATHS)
def path(request, trap: Twins) -> str:
    """The schema with the twins that the search_path leads to."""
    trap.lead_to(request.param)
    return request.param


def test_the_twins_are_called_where_a_schema_is_missing(path, trap):
    with Session(*trap.address) as session:
        session.sql("SELECT unnest(ARRAY['a'])")
        of_a_function = trap.called()
        session.sql("BEGIN; SELECT json_build_array(true, 0.5::pg_catalog.float8, 1, ARRAY['a']); ROLLBACK")
        rolled_back = trap.called()
        session.sql("SELECT 1 FROM pg_database WHERE datname = 'postgres'; SELECT 'a'::text")
        of_others = trap.called()

    assert of_a_function == {"function unnest"}
    assert rolled_back == {"in a transaction that was rolled back"}
    assert of_others == ({"relation pg_database", "operator =", "type text"} if path == "app" else set())


def test_no_twin_is_called(kind, path, trap):
    if path == "app" and kind.driver == "wrappers":
        pytest.skip("not applicable: the wrapper itself calls them when it connects, see OF_WRAPPERS")

    send_everything(kind, trap.address)

    assert trap.called() == set()


def test_no_twin_is_called_by_connections_from_a_string(driver, path, trap):
    send_what_strings_make(driver, trap.address)

    assert trap.called() == set()


@pytest.mark.drivers("psycopg")
def test_no_twin_is_called_by_an_outbox(path, trap):
    use_an_outbox(trap.address)

    assert trap.called() == set()


# The server's log.


@pytest.fixture(scope="module")
def server() -> Iterator[Logged]:
    """A server that logs each statement."""
    with logging_server() as started:
        yield started


@pytest.fixture
def logged(server: Logged) -> Logged:
    """The same, of which all earlier statements were read."""
    server.statements()
    return server


@WITH_PGLAST
def test_each_statement_names_its_schemas(kind, logged):
    send_everything(kind, logged.address)

    assert_qualified(logged, *OF_WRAPPERS.get(kind.name.partition("-")[0], ()), at_least=30)


@WITH_PGLAST
def test_each_statement_of_connections_from_a_string_names_its_schemas(driver, logged):
    send_what_strings_make(driver, logged.address)

    assert_qualified(logged, at_least=3)


@WITH_PGLAST
@pytest.mark.drivers("psycopg")
def test_each_statement_of_an_outbox_names_its_schemas(logged):
    use_an_outbox(logged.address)

    assert_qualified(logged, at_least=20)


@WITH_PGLAST
@pytest.mark.skipif(not installed_drivers(), reason="no driver is installed")
def test_each_statement_of_the_demonstration_and_of_the_launcher_names_its_schemas(logged):
    demonstrate(logged.address.dsn, lambda line: None)
    assert ExternalPostgreSQL(logged.address.dsn).version == logged.server.version

    assert_qualified(logged, at_least=3)


def assert_qualified(logged: Logged, *expected: str, at_least: int) -> None:
    """Fail if a statement has a name without a schema, but for those that begin as is expected."""
    statements = [each for each in logged.statements() if not each.startswith(expected or ("\0",))]
    assert {statement: names for statement in statements if (names := unqualified(statement))} == {}
    assert len(statements) >= at_least
