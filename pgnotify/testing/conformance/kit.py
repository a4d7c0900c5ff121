"""The methods that a subclass of the conformance class fills in, and the tools of its tests.

The tests themselves are in the modules beside this one, one module for each subject.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import Any, ClassVar, Protocol
from unittest import SkipTest

from pgnotify.connection import wrap
from pgnotify.errors import ConnectionLost, TransactionError
from pgnotify.notification import Notification
from pgnotify.protocol import Backend, ChecksHealth
from pgnotify.testing._proxy import Proxy
from pgnotify.testing._wire import Session as WireSession
from pgnotify.testing.address import Address
from pgnotify.testing.conformance import _tools
from pgnotify.testing.conformance._statements import run_statement
from pgnotify.testing.finder import NoPostgreSQL
from pgnotify.testing.server import is_required, shared_address
from pgnotify.waiting import Wakeup

FEATURES: Mapping[str, str] = {
    "sql": "runs any SQL statement, with execute()",
    "network": "connects to the host and port that connect() is given, so that the tests can put a proxy in between",
    "encodings": "works in a database with the encoding LATIN1",
    "sql_ascii": "works in a database without an encoding (SQL_ASCII)",
    "implicit_transactions": "can leave autocommit mode, with leave_autocommit()",
    "undecodable": "keeps working after bytes that it cannot decode",
    "surrogateescape": "returns such bytes as surrogate escapes",
}
"""The features that a driver may lack, for `cannot`; everything else is required."""

_TRIED = 50  # one name of this many, where the server has named all of them


def check_features(cannot: Mapping[str, str]) -> None:
    """Raise a ValueError for a name that is not in `FEATURES`."""
    if unknown := sorted(set(cannot) - set(FEATURES)):
        raise ValueError(f"unknown in `cannot`: {', '.join(unknown)}; the features are {', '.join(FEATURES)}")


# The connections of tests that hang: their threads still use them.
_abandoned: list[ExitStack] = []


def _quietly(call: Callable[..., object], *arguments: object) -> None:
    with suppress(Exception):  # the test has closed or broken it
        call(*arguments)


class Session(Protocol):
    """A second session on the server, which sends, inspects and terminates; usable from any thread."""

    pid: int
    """The process id of the session on the server."""

    def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification; it is sent on return."""

    def notify_all(self, channel: str, payloads: Iterable[str]) -> None:
        """Send notifications in one transaction; they are sent on return."""

    def terminate(self, pid: int) -> None:
        """End another session; it has ended on return."""

    def state_of(self, pid: int) -> str | None:
        """Return the state of a session in pg_stat_activity: "idle", …; None if it has ended."""

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run any statement; called only if "sql" is not in `cannot`."""

    def close(self) -> None:
        """End the session."""


class Kit:
    """The methods to fill in, and the tools of the tests; see `BackendConformance`."""

    cannot: ClassVar[Mapping[str, str]] = {}
    """Which of `FEATURES` the driver lacks, and why; tests that need one are skipped, with that reason."""

    implicit_transactions: bool | None = None
    """Whether a statement opens a transaction by itself, as DB-API does by default; None means: find out."""

    patience: float = _tools.PATIENCE_SECONDS
    """A test gives up after this many seconds; reached only if something is wrong."""

    protocol: ClassVar[str] = "pgnotify.protocol"
    """The module that has the promises of these tests."""
    promised_in: ClassVar[str] = "Backend"
    """Where they stand in it."""

    _databases: ClassVar[list[tuple[Callable[[Address], Session], Address, str]]] = []

    # Methods that a subclass fills in; only the first is required. Their types let them be coroutine functions, for an
    # asynchronous driver; the docstrings say what they return.

    def connect(self, address: Address) -> Any:
        """Return a new connection of the driver to this address; the test closes it."""
        raise NotImplementedError(f"{type(self).__name__} must define connect(self, address)")

    def make_backend(self, connection: Any) -> Any:
        """Return the backend for a connection; by default, the one that pgnotify finds for it."""
        return wrap(connection).backend

    def execute(self, connection: Any, statement: str) -> Any:
        """Run a statement as a user of the driver does, and return its rows."""
        return run_statement(connection, statement)

    def begin(self, connection: Any) -> Any:
        """Open a transaction, as a user of the driver does."""
        self.execute(connection, "SELECT 1" if self.opens_transactions() else "BEGIN")

    def commit(self, connection: Any) -> Any:
        """Commit the transaction."""
        if self.opens_transactions():
            connection.commit()
        else:
            self.execute(connection, "COMMIT")

    def rollback(self, connection: Any) -> Any:
        """Roll back the transaction; it may have failed."""
        if self.opens_transactions():
            connection.rollback()
        else:
            self.execute(connection, "ROLLBACK")

    def close(self, connection: Any) -> Any:
        """Close the connection, as a user of the driver does."""
        connection.close()

    def fail(self, connection: Any) -> Any:
        """Run a statement that fails inside the open transaction."""
        with suppress(Exception):  # each driver has its own
            self.execute(connection, "SELECT 1 OPERATOR(pg_catalog./) 0")

    def leave_autocommit(self, connection: Any) -> Any:
        """Make statements open a transaction by themselves from now on; define this if the driver can do it."""
        if not isinstance(getattr(connection, "autocommit", None), bool):
            raise _tools.not_applicable(
                "the connection has no attribute autocommit, and leave_autocommit() is not defined"
            )
        connection.autocommit = False

    def pid_of(self, connection: Any) -> Any:
        """Return the process id on the server; the connection is idle before and afterwards."""
        rows = self.rows_of("SELECT pg_catalog.pg_backend_pid()", connection)
        if self.opens_transactions():
            self.commit(connection)
        return int(rows[0][0])

    def terminate(self, connection: Any) -> Any:
        """End the connection from the server's side; the session has ended there on return."""
        self.session.terminate(self.pid_of(connection))

    def open_session(self, address: Address) -> Session:
        """Return a second session; by default, one that needs no driver."""
        return WireSession(*address)

    @cached_property
    def address(self) -> Address:
        """The address of the server: the one PGNOTIFY_TEST_DSN names, otherwise a temporary one for this process."""
        try:
            return shared_address()
        except NoPostgreSQL as error:
            if is_required():
                raise
            raise SkipTest(str(error)) from error

    # Called by pytest, or by `pgnotify.check`.

    def setup_method(self) -> None:
        """Prepare a test."""
        check_features(self.cannot)
        self._at_end = ExitStack()
        self._under_way: list[_tools.UnderWay] = []

    def teardown_method(self) -> None:
        """Close everything that the test has opened, unless a call hangs: closing it then would crash some drivers."""
        if self.hangs():
            _abandoned.append(self._at_end.pop_all())
        else:
            self._at_end.close()

    def hangs(self) -> bool:
        """Return whether a call that the test has made goes on."""
        return not all(each.ended for each in self._under_way)

    @classmethod
    def teardown_class(cls) -> None:
        """Drop the databases that the tests have made."""
        for open_session, address, database in cls._databases:
            session = open_session(address)
            session.sql(f"DROP DATABASE IF EXISTS {database} (FORCE)")
            session.close()
        cls._databases.clear()

    # Tools of the tests.

    @cached_property
    def db(self) -> Any:
        """The connection under test."""
        return self.open()

    @cached_property
    def backend(self) -> Backend:
        """The backend of `db`."""
        return self.backend_of(self.db)

    @cached_property
    def session(self) -> Session:
        """The second session."""
        return self.open_session_at(self.address)

    @cached_property
    def proxy(self) -> Proxy:
        """A proxy in front of the server."""
        return self._at_end.enter_context(Proxy(self.address.host, self.address.port))

    @cached_property
    def channel(self) -> str:
        """A channel that no other test uses; its name contains everything that needs quoting."""
        return f'Ü"{uuid.uuid4().hex[:12]} %s :x $1 ?'

    @cached_property
    def wakeup(self) -> Wakeup:
        """A wakeup that ends a wait."""
        wakeup = Wakeup()
        self._at_end.callback(wakeup.close)
        return wakeup

    def open(self, address: Address | None = None) -> Any:
        """Return another connection."""
        connection = self.connect(address or self.address)
        self._at_end.callback(_quietly, self.close, connection)
        return connection

    def backend_of(self, connection: Any) -> Backend:
        """Return a backend for a connection; it is closed before the connection."""
        backend = self.blocking_backend(connection)
        self._at_end.callback(_quietly, backend.close)
        return backend

    def blocking_backend(self, connection: Any) -> Backend:
        """Return a backend for a connection, as the tests call it; the test closes it."""
        backend: Backend = self.make_backend(connection)
        return backend

    def open_through_proxy(self) -> Any:
        """Return a connection that runs through the proxy."""
        return self.open(self.address._replace(host=self.proxy.host, port=self.proxy.port))

    def open_session_at(self, address: Address) -> Session:
        """Return another second session."""
        session = self.open_session(address)
        self._at_end.callback(session.close)
        return session

    def settle(self) -> None:
        """Let what was closed be closed: some event loops do that a little later."""

    def opens_transactions(self) -> bool:
        """Return `implicit_transactions`; find it out first if it is None."""
        if self.implicit_transactions is None:
            connection = self.open()
            first, second = (self.rows_of("SELECT pg_catalog.txid_current()", connection) for _ in range(2))
            self.implicit_transactions = first == second
            if self.implicit_transactions:
                self.rollback(connection)
        return self.implicit_transactions

    def without_autocommit(self) -> None:
        """Make statements of `db` open a transaction by themselves."""
        if not self.opens_transactions():
            self.leave_autocommit(self.db)
            self.implicit_transactions = True

    def opens_transactions_as_before(self, verb: str) -> None:
        """Fail if a verb has left a transaction open, or if statements of `db` open none by themselves any more."""
        try:
            self.backend.wait(0)
        except TransactionError:
            raise AssertionError(
                f"{verb} has left a transaction open: it must have one of its own, and end it"
            ) from None
        self.execute(self.db, "SELECT 1")
        try:
            self.backend.listen("x")
        except TransactionError:
            self.rollback(self.db)
            return
        raise AssertionError(
            f"after {verb} a statement of the user's opens no transaction: the connection must stay in its mode"
        )

    def run(self, statement: str, connection: Any = None) -> list[tuple[Any, ...]]:
        """Run a statement as a user does; the connection is idle afterwards."""
        connection = self.db if connection is None else connection
        rows: list[tuple[Any, ...]] = self.execute(connection, statement)
        if self.opens_transactions():
            self.commit(connection)
        return rows

    def rows_of(self, statement: str, connection: Any) -> list[tuple[Any, ...]]:
        """Run a statement that has rows, as a user does, and return them.

        Raises:
            TypeError: `execute` returned none.
        """
        rows = self.execute(connection, statement)
        if not rows:
            raise TypeError(
                f"{type(self).__name__}.execute() returned {rows!r}, and not the rows of {statement!r}: "
                "define it so that it returns them"
            )
        return list(rows)

    def in_background(self, call: Callable[[], object]) -> _tools.Background:
        """Start a call in its own thread."""
        background = _tools.Background(call)
        self._under_way.append(background)
        return background

    def collect(
        self, count: int, backend: Backend | None = None, fetch: Callable[[], Iterable[Notification]] | None = None
    ) -> list[Notification]:
        """Collect notifications until there are at least `count`; by `Backend.fetch`, or by another way to fetch."""
        return _tools.collect(backend or self.backend, count, self.patience, fetch)

    def payloads(self, count: int, backend: Backend | None = None) -> list[str]:
        """Collect notifications until there are at least `count`, and return their payloads."""
        return [each.payload for each in self.collect(count, backend)]

    def listens_to(self, channels: Sequence[str], among: Sequence[str]) -> None:
        """Fail unless `backend` listens to these channels, and to no others of many names.

        A backend with check() can ask the server, which is quick. Then a few of the names are tried, otherwise all.
        """
        named = self.backend.check().channels if isinstance(self.backend, ChecksHealth) else None
        if named is not None:
            _tools.same(sorted(named), sorted(channels), "the channels that the server listens to, by check()")
            among = [*among[::_TRIED], among[-1]]
        tried = [*dict.fromkeys([*among, *channels[:1]])]
        for name in tried:
            self.session.notify(name)
        heard = [name for name in tried if name in channels]
        _tools.same([each.channel for each in self.collect(len(heard))], heard, "the channels that are heard")

    def nothing_arrives(self, backend: Backend | None = None) -> None:
        """Fail unless wait() returns False, after at most four false alarms, and fetch() returns nothing."""
        backend = backend or self.backend
        for _ in range(5):
            if not backend.wait(0.02):
                return _tools.same(backend.fetch(), [], "fetch() after wait() returned False")
            _tools.same(backend.fetch(), [], "fetch() where nothing was to arrive")
        raise AssertionError("wait() keeps returning True with nothing to fetch: a loop would never sleep")

    def until_lost(self, backend: Backend | None = None) -> tuple[list[Notification], ConnectionLost]:
        """Wait and fetch until the connection is lost; return the notifications before the loss, and the error."""
        return _tools.until_lost(backend or self.backend, self.patience)

    def until(self, condition: Callable[[], object], otherwise: str) -> None:
        """Check repeatedly until the condition is true."""
        _tools.until(condition, otherwise, self.patience)

    def until_state(self, pid: int, state: str | None) -> None:
        """Return when the server reports this state of a session, which it does a little after its answer."""
        self.until(
            lambda: self.session.state_of(pid) == state,
            f"pg_stat_activity never showed the session as {state!r}",
        )
