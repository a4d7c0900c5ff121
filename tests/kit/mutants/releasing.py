"""Faults of release(), end() and pool."""

from __future__ import annotations

from contextlib import suppress

import psycopg

from pgnotify import ConnectionLost, TransactionError
from tests.kit.mutants.base import Mutant

# release()


class ReleasesNothing(Mutant):
    caught_by = "test_a_released_connection_is_open_and_listens_to_nothing"

    def release(self):
        """Do nothing."""


class ReleasesByClosing(Mutant):
    caught_by = "test_a_released_connection_is_open_and_listens_to_nothing"

    def release(self):
        self.sound.close()


class ReleasesSingleChannelsOnly(Mutant):
    """It does not remember what it listens to by listen_many()."""

    caught_by = "test_a_released_connection_is_open_and_listens_to_nothing"

    def listen_many(self, channels):
        self.sound.listen_many(channels)
        self.sound._listened.difference_update(channels)


class UnlistensEverythingAtRelease(Mutant):
    caught_by = "test_a_release_leaves_what_the_user_listens_to"

    def release(self):
        self.sound.release()
        self.connection.execute("UNLISTEN *")


class KeepsWhatHasArrived(Mutant):
    caught_by = "test_a_release_drops_what_has_arrived"

    def release(self):
        self.sound.unlisten_many(sorted(self.sound._listened))


class DropsBeforeItUnlistens(Mutant):
    caught_by = "test_a_release_drops_what_comes_along_with_it"

    def release(self):
        while self.sound.fetch():
            pass
        self.sound.unlisten_many(sorted(self.sound._listened))


class DropsOnePartOnly(Mutant):
    caught_by = "test_a_release_drops_what_has_arrived"

    def release(self):
        self.sound.unlisten_many(sorted(self.sound._listened))
        self.sound.fetch()


class ReleasesOnce(Mutant):
    caught_by = "test_releasing_twice_is_releasing_once"
    released = False

    def release(self):
        if self.released:
            raise RuntimeError("released already")
        self.released = True
        self.sound.release()


class ReleasesWhatListensOnly(Mutant):
    caught_by = "test_releasing_twice_is_releasing_once"

    def release(self):
        if not self.sound._listened:
            raise RuntimeError("does not listen")
        self.sound.release()


class ReleasesInsideATransaction(Mutant):
    caught_by = "test_inside_a_transaction_a_release_is_refused"

    def release(self):
        with suppress(TransactionError):
            self.sound.release()


class RollsBackToRelease(Mutant):
    caught_by = "test_inside_a_transaction_a_release_is_refused"

    def release(self):
        try:
            self.sound.release()
        except TransactionError:
            self.connection.rollback()
            self.sound.release()
            raise


class ReleasesTheDeadQuietly(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_release"

    def release(self):
        with suppress(ConnectionLost):
            self.sound.release()


class PassesTheDriversErrorOfARelease(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_release"

    def release(self):
        try:
            self.sound.release()
        except ConnectionLost as lost:
            raise lost.__cause__ from None


class ReleasesInTheUsersTransaction(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_release_has_a_transaction_of_its_own"

    def release(self):
        self.sound.release()
        self.connection.execute("SELECT 1")


class LeavesTheModeChangedByARelease(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_release_has_a_transaction_of_its_own"

    def release(self):
        self.sound.release()
        self.connection.autocommit = True


# end()


class EndsNothing(Mutant):
    """It leaves the connection to close(), which may return it to a pool."""

    caught_by = "test_an_end_ends_the_session_on_the_server"

    def end(self):
        """Do nothing."""


class EndsOnce(Mutant):
    caught_by = "test_ending_twice_and_closing_afterwards_is_possible"
    ended = False

    def end(self):
        if self.ended:
            raise psycopg.InterfaceError("already closed")
        self.ended = True
        self.sound.end()


class ClosesWhatIsOpenOnly(Mutant):
    caught_by = "test_ending_twice_and_closing_afterwards_is_possible"

    def close(self):
        if self.connection.closed:
            raise psycopg.InterfaceError("already closed")
        self.sound.close()


class EndsTheLivingOnly(Mutant):
    caught_by = "test_a_dead_connection_can_be_ended_whether_it_is_known_or_not"

    def end(self):
        if not self.connection.closed:
            self.connection.execute("SELECT 1")
        self.sound.end()


class CommitsAtTheEnd(Mutant):
    caught_by = "test_ending_inside_a_transaction_sends_nothing_of_it"

    def end(self):
        if not self.connection.closed:
            self.connection.execute("COMMIT")
        self.sound.end()


class RefusesToEndATransaction(Mutant):
    caught_by = "test_ending_inside_a_transaction_sends_nothing_of_it"

    def end(self):
        if self.connection.info.transaction_status:
            raise TransactionError("not inside a transaction")
        self.sound.end()


# pool


class NamesAPoolThatTakesNothing(Mutant):
    caught_by = "test_the_pool_is_one_that_takes_connections_back_or_there_is_none"

    @property
    def pool(self):
        return self.connection


class ForgetsItsPoolAtTheEnd(Mutant):
    """Its connection would never come back: the pool waits for it for ever."""

    caught_by = "test_the_pool_is_one_that_takes_connections_back_or_there_is_none"

    @property
    def pool(self):
        if self.connection.closed:
            raise ConnectionLost("lost") from psycopg.OperationalError("lost")
        return self.sound.pool
