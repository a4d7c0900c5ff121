"""The user's transactions: calls are refused where nothing could arrive, and the transaction is left alone."""

from __future__ import annotations

import functools

from pgnotify.errors import ConnectionLost, PgNotifyError
from pgnotify.protocol import ChecksHealth, ListensMany, UnlistensMany
from pgnotify.testing.conformance._tools import holds, is_refused, needs, same, ways_to_fetch
from pgnotify.testing.conformance.kit import Kit


class Transactions(Kit):
    """The promises of the verbs inside a transaction, and outside autocommit mode."""

    promised_in = "Backend"

    def test_inside_an_open_transaction_listen_unlisten_and_wait_are_refused(self) -> None:
        self.backend.listen(self.channel)
        self.begin(self.db)

        self._are_refused()

        self.rollback(self.db)
        self.nothing_arrives()

    def test_inside_a_failed_transaction_listen_unlisten_and_wait_are_refused(self) -> None:
        self.backend.listen(self.channel)
        self.begin(self.db)
        self.fail(self.db)

        self._are_refused()

        self.rollback(self.db)
        self.nothing_arrives()

    def test_what_was_refused_is_not_done_all_the_same(self) -> None:
        self.backend.listen(self.channel)
        self.begin(self.db)
        self._are_refused()
        self.commit(self.db)

        self.session.notify("x", "of a listen that was refused")
        self.session.notify(self.channel, "of an unlisten that was refused")

        same(self.payloads(1), ["of an unlisten that was refused"])

    def test_what_the_server_refuses_is_no_loss_and_not_kept_quiet(self) -> None:
        self.begin(self.db)
        self.fail(self.db)

        try:
            self.backend.notify(self.channel, "in a failed transaction")
        except ConnectionLost:
            holds(False, "notify() raised ConnectionLost for an error of the server that is not a loss")
        except PgNotifyError as error:
            holds(False, f"notify() raised {error!r} for an error of the server: it must pass the driver's own through")
        except Exception:  # the driver's own error
            self.rollback(self.db)
        else:
            holds(False, "notify() did not raise the server's error")

        self.backend.listen(self.channel)
        self.backend.notify(self.channel, "usable")
        same(self.payloads(1), ["usable"])

    @needs("sql")
    def test_a_refusal_neither_commits_nor_ends_the_users_transaction(self) -> None:
        self.backend.listen(self.channel)
        self.begin(self.db)
        self.execute(self.db, "CREATE TABLE pg_temp.work AS SELECT 42 AS answer")

        self._are_refused()
        self.backend.fetch()
        self.rollback(self.db)

        found = self.run("SELECT pg_catalog.to_regclass('pg_temp.work')::pg_catalog.text")
        same([tuple(row) for row in found], [(None,)])
        self.session.notify(self.channel, "listening still")
        same(self.payloads(1), ["listening still"])

    @needs("sql")
    def test_a_refusal_does_not_roll_back_the_users_transaction(self) -> None:
        self.begin(self.db)
        self.execute(self.db, "CREATE TABLE pg_temp.work AS SELECT 42 AS answer")

        self._are_refused()
        self.backend.notify(self.channel)
        self.commit(self.db)

        same([tuple(row) for row in self.run("SELECT answer FROM pg_temp.work")], [(42,)])

    def test_a_fetch_inside_a_transaction_returns_what_came_before_it(self) -> None:
        self.backend.listen(self.channel)
        self.backend.notify(self.channel, "before")
        self.begin(self.db)

        self.session.notify(self.channel, "during")
        same([each.payload for each in self.backend.fetch()], ["before"])
        same(self.backend.fetch(), [])
        self.rollback(self.db)

        same(self.payloads(1), ["during"])

    @needs("implicit_transactions")
    def test_not_in_autocommit_mode_each_verb_has_a_transaction_of_its_own(self) -> None:
        self.without_autocommit()

        self.backend.listen(self.channel)
        self.session.notify(self.channel, "from outside")
        same(self.payloads(1), ["from outside"])
        self.backend.notify(self.channel, "to myself")
        same(self.payloads(1), ["to myself"])
        self.backend.unlisten(self.channel)
        self.session.notify(self.channel, "unheard")
        self.nothing_arrives()

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_a_statement_opens_a_transaction_as_before(self) -> None:
        self.without_autocommit()
        self.backend.listen(self.channel)
        self.backend.notify(self.channel)
        self.collect(1)

        self.execute(self.db, "SELECT 1")

        self._are_refused()
        self.rollback(self.db)
        self.nothing_arrives()

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_a_check_and_a_fetch_leave_no_transaction(self) -> None:
        self.without_autocommit()
        self.backend.listen(self.channel)

        for way, fetch in ways_to_fetch(self.backend).items():
            fetch()
            self.opens_transactions_as_before(way)
        if isinstance(self.backend, ChecksHealth):
            self.backend.check()
            self.opens_transactions_as_before("check()")

    def test_closing_inside_a_transaction_sends_nothing_of_it(self) -> None:
        receiver = self.backend_of(self.open())
        receiver.listen(self.channel)
        pid = self.pid_of(self.db)
        self.begin(self.db)
        self.backend.notify(self.channel, "of a transaction that was not committed")

        self.backend.close()

        self.until_state(pid, None)
        self.session.notify(self.channel, "afterwards")
        same(self.payloads(1, receiver), ["afterwards"])

    def _are_refused(self) -> None:
        is_refused("listen()", lambda: self.backend.listen("x"))
        is_refused("unlisten()", lambda: self.backend.unlisten(self.channel))
        if isinstance(self.backend, ListensMany):
            is_refused("listen_many()", functools.partial(self.backend.listen_many, ["x", "y"]))
        if isinstance(self.backend, UnlistensMany):
            is_refused("unlisten_many()", functools.partial(self.backend.unlisten_many, [self.channel, "y"]))
        if isinstance(self.backend, ChecksHealth):
            is_refused("check()", self.backend.check)
        for seconds in (0, 0.01, None):
            is_refused(f"wait({seconds})", functools.partial(self._wait_in_background, seconds))

    def _wait_in_background(self, seconds: float | None) -> None:
        waiting = self.in_background(lambda: self.backend.wait(seconds, self.wakeup.fileno()))
        try:
            waiting.join(self.patience, f"wait({seconds}) was not refused inside a transaction, and did not end")
        finally:
            self.wakeup.wake()
