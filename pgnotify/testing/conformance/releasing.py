"""release(), end() and pool, if the backend offers them: how a connection goes back to a pool, or does not."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from pgnotify.errors import ConnectionLost
from pgnotify.protocol import (
    Backend,
    ChecksHealth,
    Ends,
    Pool,
    Releases,
    connection_of,
    listen_to_all,
    unlisten_all,
)
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.conformance._tools import holds, is_refused, needs, not_applicable, same
from pgnotify.testing.conformance.fetching import numbers
from pgnotify.testing.conformance.losing import Losing

_PENDING = 1_500  # more than one fetch() returns


class Releasing(Losing):
    """The promises of release(), end() and pool."""

    promised_in = "Releases, Ends, NamesPool"

    # release()

    @cached_property
    def releasing(self) -> Releases:
        """The backend, if it offers release()."""
        return _releasing(self.backend)

    def test_a_released_connection_is_open_and_listens_to_nothing(self) -> None:
        pid = self.pid_of(self.db)
        self.backend.listen("one")
        listen_to_all(self.backend, [self.channel, "two"])
        self.backend.listen("three")
        unlisten_all(self.backend, ["two", "three"])

        self.releasing.release()

        holds(self.session.state_of(pid), "release() has closed the connection: its next user needs it")
        self._next_user_hears_only("next", "one", self.channel, "two", "three")
        if isinstance(self.backend, ChecksHealth):
            same(self.backend.check().channels, frozenset({"next"}), "the channels that the connection listens to")

    @needs("sql")
    def test_a_release_leaves_what_the_user_listens_to(self) -> None:
        self.run('LISTEN "users own"')
        self.backend.listen(self.channel)

        self.releasing.release()

        rows = self.run("SELECT pg_catalog.pg_listening_channels()")
        same([tuple(row) for row in rows], [("users own",)], "the channels that the connection listens to")

    def test_a_release_drops_what_has_arrived(self) -> None:
        self.backend.listen(self.channel)
        self.begin(self.db)
        self.session.notify_all(self.channel, numbers(_PENDING))
        self.commit(self.db)
        holds(self.backend.wait(self.patience), "the notifications did not arrive")

        self.releasing.release()

        self._next_user_hears_only("next", self.channel)

    @needs("network")
    def test_a_release_drops_what_comes_along_with_it(self) -> None:
        connection = self.open_through_proxy()
        backend = self.backend_of(connection)
        releasing = _releasing(backend)
        backend.listen(self.channel)
        self.proxy.append(notification_bytes(self.channel, b"along"))

        releasing.release()

        same(self.backend_of(connection).fetch(), [], "what the next user of the connection fetches")

    def test_releasing_twice_is_releasing_once(self) -> None:
        self.backend.listen(self.channel)

        for _ in range(2):
            self.releasing.release()

        another = self.backend_of(self.db)  # has not listened to anything
        if isinstance(another, Releases):
            another.release()
        self._next_user_hears_only("next", self.channel)

    def test_inside_a_transaction_a_release_is_refused(self) -> None:
        self.backend.listen(self.channel)
        for failed in (False, True):
            self.begin(self.db)
            if failed:
                self.fail(self.db)

            is_refused("release()", lambda: self.releasing.release())

            is_refused("wait() after release(), which must leave the transaction open,", lambda: self.backend.wait(0))
            self.rollback(self.db)
        self.session.notify(self.channel, "heard still")
        same(self.payloads(1), ["heard still"])

    def test_a_termination_between_two_calls_is_told_by_a_release(self) -> None:
        self.backend.listen(self.channel)
        releasing = self.releasing
        self.terminate(self.db)

        calling = self.in_background(releasing.release)

        try:
            calling.join(self.patience, "release() hangs on a dead connection")
        except ConnectionLost as lost:
            self.has_a_cause("release()", lost)
        else:
            holds(False, "release() succeeded on a dead connection that listens: it must raise ConnectionLost")

    @needs("sql")
    def test_the_connection_is_idle_after_a_release_and_in_the_mode_that_it_was_in(self) -> None:
        pid = self.pid_of(self.db)
        before = getattr(self.db, "autocommit", None)
        self.backend.listen(self.channel)

        self.releasing.release()

        self.until_state(pid, "idle")
        same(getattr(self.db, "autocommit", None), before, "autocommit")

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_a_release_has_a_transaction_of_its_own(self) -> None:
        self.without_autocommit()
        self.backend.listen(self.channel)

        self.releasing.release()

        self.opens_transactions_as_before("release()")

    # end()

    def test_an_end_ends_the_session_on_the_server(self) -> None:
        self.backend.listen(self.channel)
        pid = self.pid_of(self.db)

        _ending(self.backend).end()

        self.until_state(pid, None)  # without close(), which may only return the connection to its pool

    def test_ending_twice_and_closing_afterwards_is_possible(self) -> None:
        self.backend.listen(self.channel)
        pid = self.pid_of(self.db)

        for _ in range(2):
            _ending(self.backend).end()
        for _ in range(2):
            self.backend.close()

        self.until_state(pid, None)

    def test_a_dead_connection_can_be_ended_whether_it_is_known_or_not(self) -> None:
        for known in (False, True):
            connection = self.open()
            backend = self.backend_of(connection)
            ending = _ending(backend)
            backend.listen(self.channel)
            self.terminate(connection)
            if known:
                self.until_lost(backend)

            ending.end()
            backend.close()

    def test_ending_inside_a_transaction_sends_nothing_of_it(self) -> None:
        receiver = self.backend_of(self.open())
        receiver.listen(self.channel)
        pid = self.pid_of(self.db)
        self.begin(self.db)
        self.backend.notify(self.channel, "of a transaction that was not committed")

        _ending(self.backend).end()

        self.until_state(pid, None)
        self.session.notify(self.channel, "afterwards")
        same(self.payloads(1, receiver), ["afterwards"])

    # pool

    def test_the_pool_is_one_that_takes_connections_back_or_there_is_none(self) -> None:
        self.backend.listen(self.channel)
        pool = _pool_of(self.backend)
        if isinstance(self.backend, Ends):
            self.backend.end()
            holds(
                _pool_of(self.backend) is pool, "pool is another one after end(): the connection still has to go back"
            )

        if pool is not None:
            pool.putconn(connection_of(self.backend))

    def _next_user_hears_only(self, channel: str, *others: str) -> None:
        """Fail unless a new backend on the connection listens to this channel only, and has nothing to fetch before."""
        user = self.backend_of(self.db)
        user.listen(channel)

        for other in others:
            self.session.notify(other, "unlistened")
        self.session.notify(channel, "the first to arrive")

        arrived = [(each.channel, each.payload) for each in self.collect(1, user)]
        same(arrived, [(channel, "the first to arrive")], "what the next user of the connection hears")


def _releasing(backend: Backend) -> Releases:
    if not isinstance(backend, Releases):
        raise not_applicable("the backend does not offer release()")
    return backend


def _ending(backend: Backend) -> Ends:
    if not isinstance(backend, Ends):
        raise not_applicable("the backend does not offer end()")
    return backend


def _pool_of(backend: Any) -> Pool | None:
    # Not isinstance(): up to Python 3.11 it reads the properties of a protocol.
    if not hasattr(type(backend), "pool"):
        raise not_applicable("the backend does not offer pool")
    pool: Pool | None = backend.pool
    holds(
        pool is None or callable(getattr(pool, "putconn", None)),
        f"pool is {pool!r}, which has no method putconn(): it must be None if no pool expects the connection back",
    )
    return pool
