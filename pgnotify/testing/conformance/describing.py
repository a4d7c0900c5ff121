"""A backend that is made, and used: nothing is sent before, and nothing stays behind; and its properties."""

from __future__ import annotations

import gc

from pgnotify.protocol import Backend, Busy, ChecksHealth, KnowsTransaction
from pgnotify.testing.conformance._resources import open_descriptors
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same, ways_to_fetch
from pgnotify.testing.conformance.kit import Kit

_SETTINGS = (
    "SELECT name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session' "
    "ORDER BY name USING OPERATOR(pg_catalog.<)"
)


class Describing(Kit):
    """The promises of a backend as an object, of busy, in_transaction and DatabaseError."""

    promised_in = "Backend, Busy, KnowsTransaction, NamesDatabaseError"

    @needs("network", "sql")
    def test_making_a_backend_sends_nothing(self) -> None:
        connection = self.open_through_proxy()
        self.run("SELECT 1", connection)  # some drivers connect with their first statement only
        self.proxy.record()

        self.backend_of(connection)

        same(self.proxy.answers, 0, "round trips when a backend is made: a connection may be busy, or in a transaction")

    def test_a_backend_may_be_made_inside_a_transaction(self) -> None:
        receiver = self.backend_of(self.open())
        receiver.listen(self.channel)
        self.begin(self.db)

        self.backend.notify(self.channel, "in it")
        self.session.notify(self.channel, "meanwhile")
        self.commit(self.db)

        same(self.payloads(2, receiver), ["meanwhile", "in it"])

    @needs("sql")
    def test_the_settings_of_the_session_stay_as_they_were(self) -> None:
        before = self.run(_SETTINGS)

        self._use_everything(self.backend)

        same(self.run(_SETTINGS), before, "the settings of the session")

    def test_no_call_leaves_a_descriptor_open(self) -> None:
        self._use_everything(self.backend)  # the first time, some drivers open one for good
        before = open_descriptors()

        self._use_everything(self.backend)

        same(open_descriptors() - before, set(), "the descriptors that the calls have left open")

    def test_closing_leaves_no_descriptor_open(self) -> None:
        self._use_and_close()  # the first time, some drivers open one for good
        before = open_descriptors()

        self._use_and_close()

        self.settle()
        gc.collect()  # a driver may leave some to it
        same(open_descriptors() - before, set(), "the descriptors that stay open after close()")

    def test_an_idle_backend_is_not_busy(self) -> None:
        self._is_idle("that is new")
        self.backend.listen(self.channel)
        self._is_idle("after listen()")
        self.begin(self.db)
        self._is_idle("inside a transaction: only a call makes it busy")
        self.fail(self.db)
        try:
            self.backend.notify(self.channel)
        except Exception:  # the driver's own error
            self._is_idle("after an error of the server's")
        self.rollback(self.db)
        self.backend.wait(0)
        self._is_idle("after wait()")
        self.backend.close()
        self._is_idle("after close()")

    def test_inside_a_transaction_of_the_users_the_backend_knows_it(self) -> None:
        self.backend.notify(self.channel)
        self._knows_transaction(False, "after notify() on an idle connection")
        self.begin(self.db)
        self.backend.notify(self.channel)
        self._knows_transaction(True, "after notify() inside a transaction")
        self.fail(self.db)
        self._knows_transaction(True, "inside a failed transaction")
        self.rollback(self.db)
        self.backend.notify(self.channel)
        self._knows_transaction(False, "after a rollback and notify()")

    def test_an_error_of_the_servers_is_the_drivers_database_error(self) -> None:
        error_of_driver = getattr(self.backend, "DatabaseError", None)
        if error_of_driver is None:
            raise not_applicable("the backend does not name its driver's DatabaseError")
        holds(
            isinstance(error_of_driver, type) and issubclass(error_of_driver, Exception),
            f"DatabaseError is {error_of_driver!r}: it must be the driver's class of that name",
        )
        self.begin(self.db)
        self.fail(self.db)

        try:
            self.backend.notify(self.channel)
        except error_of_driver:
            self.rollback(self.db)
        except Exception as error:
            holds(False, f"the server's error is {error!r}, which is not a {error_of_driver}, as DatabaseError says")
        else:
            holds(False, "notify() did not raise the server's error")

    def _is_idle(self, when: str) -> None:
        # Not isinstance(): up to Python 3.11 it reads the properties of a protocol.
        if not hasattr(type(self.backend), "busy"):
            raise not_applicable("the backend does not offer busy")
        backend: Busy = self.backend  # type: ignore[assignment]
        holds(not backend.busy, f"busy is {backend.busy!r} on a connection {when}")

    def _knows_transaction(self, expected: bool, when: str) -> None:
        if not hasattr(type(self.backend), "in_transaction"):  # not isinstance(), as above
            raise not_applicable("the backend does not offer in_transaction")
        backend: KnowsTransaction = self.backend  # type: ignore[assignment]
        holds(backend.in_transaction is expected, f"in_transaction is {backend.in_transaction!r} {when}")

    def _use_everything(self, backend: Backend) -> None:
        backend.listen(self.channel)
        for way, fetch in ways_to_fetch(backend).items():
            backend.notify(self.channel, way)
            backend.wait(self.patience, self.wakeup.fileno())
            fetch()
        backend.wait(0)
        if isinstance(backend, ChecksHealth):
            backend.check()
        backend.unlisten(self.channel)

    def _use_and_close(self) -> None:
        connection = self.connect(self.address)  # not open(): that would keep it
        backend = self.blocking_backend(connection)
        try:
            self._use_everything(backend)
        finally:
            backend.close()
