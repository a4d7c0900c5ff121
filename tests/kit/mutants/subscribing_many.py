"""Faults of listen_many() and unlisten_many()."""

from __future__ import annotations

from contextlib import suppress

import psycopg

from pgnotify import ConnectionLost, TransactionError
from pgnotify.backends._steps import quoted
from tests.kit.mutants.base import Mutant


class ListensToAllButOne(Mutant):
    caught_by = "test_a_listen_to_many_is_in_force_on_return"

    def listen_many(self, channels):
        self.sound.listen_many(channels[1:])


class ListensToManyLater(Mutant):
    caught_by = "test_a_listen_to_many_is_in_force_on_return"
    later = ()

    def listen_many(self, channels):
        self.later = channels

    def wait(self, timeout, wakeup=None):
        self.sound.listen_many(self.later)
        self.later = ()
        return super().wait(timeout, wakeup)


class PastesNamesIntoSQL(Mutant):
    caught_by = "test_a_listen_to_many_takes_names_as_a_listen_does"

    def listen_many(self, channels):
        self.sound.listen_many([channel.replace("%s", "") for channel in channels])


class CountsItsListensToMany(Mutant):
    caught_by = "test_listening_to_many_twice_delivers_once_and_one_unlisten_ends_it"

    def __init__(self, connection):
        super().__init__(connection)
        self.listened: list[str] = []

    def listen_many(self, channels):
        self.listened += channels
        self.sound.listen_many(channels)

    def unlisten(self, channel):
        self.listened.remove(channel)
        if channel not in self.listened:
            self.sound.unlisten(channel)


class UnlistensAllOfMany(Mutant):
    caught_by = "test_an_unlisten_of_one_of_many_leaves_the_others_what_comes_along_with_statements"

    def unlisten(self, channel):
        self.connection.execute("UNLISTEN *")


class RemembersItsListensToMany(Mutant):
    caught_by = "test_a_listen_to_many_is_sent_whatever_the_driver_remembers_of_the_last_one"

    def __init__(self, connection):
        super().__init__(connection)
        self.listened: set[str] = set()

    def listen_many(self, channels):
        self.sound.listen_many([channel for channel in channels if channel not in self.listened])
        self.listened.update(channels)


class LosesWhatComesAlongWithMany(Mutant):
    caught_by = "test_what_comes_along_with_a_listen_to_many_is_there_though_the_socket_is_silent"

    def listen_many(self, channels):
        self.sound.listen_many(channels)
        self.sound.fetch()


class ListensToManyOneByOne(Mutant):
    caught_by = "test_a_listen_to_many_takes_one_round_trip"

    def listen_many(self, channels):
        for channel in channels:
            self.sound.listen(channel)


class ListensToSomeOfMany(ListensToManyOneByOne):
    caught_by = "test_a_listen_to_many_of_which_one_is_refused_is_one_to_none"


class ForgetsTheOthersWhenOneIsRefused(Mutant):
    caught_by = "test_a_listen_to_many_of_which_one_is_refused_is_one_to_none"

    def listen_many(self, channels):
        try:
            self.sound.listen_many(channels)
        except psycopg.Error:
            self.connection.execute("UNLISTEN *")
            raise


class KeepsQuietAboutARefusal(Mutant):
    caught_by = "test_a_listen_to_many_of_which_one_is_refused_is_one_to_none"

    def listen_many(self, channels):
        with suppress(psycopg.Error):
            self.sound.listen_many(channels)


class ListensToNone(Mutant):
    caught_by = "test_a_listen_to_none_is_no_error"

    def listen_many(self, channels):
        self.sound.listen_many([channels[0], *channels[1:]])


class OpensATransactionForMany(Mutant):
    caught_by = "test_the_connection_is_idle_after_a_listen_to_many"

    def listen_many(self, channels):
        self.sound.listen_many(channels)
        self.connection.execute("BEGIN")


class ListensToManyInsideATransaction(Mutant):
    caught_by = "test_inside_a_transaction_a_listen_to_many_is_refused"

    def listen_many(self, channels):
        try:
            self.sound.listen_many(channels)
        except TransactionError:
            self.connection.execute("LISTEN x")


class ListensToManyAndThenRefuses(Mutant):
    caught_by = "test_inside_a_transaction_a_listen_to_many_is_refused"

    def listen_many(self, channels):
        try:
            self.sound.listen_many(channels)
        except TransactionError:
            self.connection.execute("ROLLBACK")
            self.sound.listen_many(channels)
            raise


class TellsNoLossToMany(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_listen_to_many"

    def listen_many(self, channels):
        with suppress(ConnectionLost):
            self.sound.listen_many(channels)


class PassesTheDriversErrorOfMany(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_listen_to_many"

    def listen_many(self, channels):
        try:
            self.sound.listen_many(channels)
        except ConnectionLost as lost:
            raise lost.__cause__ from None


class ListensToManyInTheUsersTransaction(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_listen_to_many_has_a_transaction_of_its_own"

    def listen_many(self, channels):
        self.connection.execute("; ".join(f"LISTEN {quoted(channel)}" for channel in channels))


class LeavesTheModeChangedByListensToMany(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_listen_to_many_has_a_transaction_of_its_own"

    def listen_many(self, channels):
        self.connection.autocommit = True
        self.sound.listen_many(channels)


# unlisten_many()


class UnlistensAllButOne(Mutant):
    caught_by = "test_an_unlisten_of_many_is_in_force_on_return_and_nothing_comes_after_it"

    def unlisten_many(self, channels):
        self.sound.unlisten_many(channels[1:])


class UnlistensManyLater(Mutant):
    caught_by = "test_an_unlisten_of_many_is_in_force_on_return_and_nothing_comes_after_it"
    later = ()

    def unlisten_many(self, channels):
        self.later = channels

    def wait(self, timeout, wakeup=None):
        self.sound.unlisten_many(self.later)
        self.later = ()
        return super().wait(timeout, wakeup)


class PastesNamesToUnlistenIntoSQL(Mutant):
    caught_by = "test_an_unlisten_of_many_takes_names_as_a_listen_does"

    def unlisten_many(self, channels):
        self.sound.unlisten_many([channel.replace("%s", "x") for channel in channels])


class TakesAStarAmongManyForAll(Mutant):
    caught_by = "test_an_unlisten_of_many_takes_names_as_a_listen_does"

    def unlisten_many(self, channels):
        self.sound.unlisten_many(channels)
        if "*" in channels:
            self.connection.execute("UNLISTEN *")


class CountsListensToUnlistenMany(Mutant):
    caught_by = "test_unlistening_many_ends_what_was_listened_to_twice"

    def __init__(self, connection):
        super().__init__(connection)
        self.listened: list[str] = []

    def listen(self, channel):
        self.listened.append(channel)
        self.sound.listen(channel)

    def unlisten_many(self, channels):
        for channel in channels:
            self.listened.remove(channel)
        self.sound.unlisten_many([channel for channel in channels if channel not in self.listened])


class RefusesUnknownOnesOfMany(Mutant):
    caught_by = "test_unlistening_many_twice_or_unknown_channels_does_nothing"

    def unlisten_many(self, channels):
        unknown = set(channels) - self.sound.check().channels
        if unknown:
            raise KeyError(*unknown)
        self.sound.unlisten_many(channels)


class TakesUnknownOnesForAll(Mutant):
    caught_by = "test_unlistening_many_twice_or_unknown_channels_does_nothing"

    def unlisten_many(self, channels):
        known = self.sound.check().channels
        self.sound.unlisten_many(channels if known.issuperset(channels) else [*known])


class UnlistensTheOthersToo(Mutant):
    caught_by = "test_an_unlisten_of_some_of_many_leaves_the_others_what_comes_along_with_statements"

    def unlisten_many(self, channels):
        self.connection.execute("UNLISTEN *")


class ThrowsAwayAtUnlistenOfMany(Mutant):
    caught_by = "test_what_had_arrived_before_an_unlisten_of_many_stays"

    def unlisten_many(self, channels):
        self.sound.fetch()
        self.sound.unlisten_many(channels)


class LosesWhatComesAlongWithAnUnlistenOfMany(Mutant):
    caught_by = "test_what_comes_along_with_an_unlisten_of_many_is_there_though_the_socket_is_silent"

    def unlisten_many(self, channels):
        self.sound.unlisten_many(channels)
        self.sound.fetch()


class UnlistensManyOneByOne(Mutant):
    caught_by = "test_an_unlisten_of_many_takes_one_round_trip"

    def unlisten_many(self, channels):
        for channel in channels:
            self.sound.unlisten(channel)


class UnlistensSomeOfMany(UnlistensManyOneByOne):
    caught_by = "test_an_unlisten_of_many_of_which_one_is_refused_is_one_of_none"


class UnlistensAllWhenOneIsRefused(Mutant):
    caught_by = "test_an_unlisten_of_many_of_which_one_is_refused_is_one_of_none"

    def unlisten_many(self, channels):
        try:
            self.sound.unlisten_many(channels)
        except psycopg.Error:
            self.connection.execute("UNLISTEN *")
            raise


class KeepsQuietAboutARefusedUnlisten(Mutant):
    caught_by = "test_an_unlisten_of_many_of_which_one_is_refused_is_one_of_none"

    def unlisten_many(self, channels):
        with suppress(psycopg.Error):
            self.sound.unlisten_many(channels)


class UnlistensNone(Mutant):
    caught_by = "test_an_unlisten_of_none_does_nothing"

    def unlisten_many(self, channels):
        self.sound.unlisten_many([channels[0], *channels[1:]])


class TakesNoneForAll(Mutant):
    caught_by = "test_an_unlisten_of_none_does_nothing"

    def unlisten_many(self, channels):
        self.sound.unlisten_many(channels or [*self.sound.check().channels])


class OpensATransactionForAnUnlistenOfMany(Mutant):
    caught_by = "test_the_connection_is_idle_after_an_unlisten_of_many"

    def unlisten_many(self, channels):
        self.sound.unlisten_many(channels)
        self.connection.execute("BEGIN")


class UnlistensManyInTheUsersTransaction(Mutant):
    caught_by = "test_not_in_autocommit_mode_an_unlisten_of_many_has_a_transaction_of_its_own"

    def unlisten_many(self, channels):
        self.connection.execute("; ".join(f"UNLISTEN {quoted(channel)}" for channel in channels))


class LeavesTheModeChangedByAnUnlistenOfMany(Mutant):
    caught_by = "test_not_in_autocommit_mode_an_unlisten_of_many_has_a_transaction_of_its_own"

    def unlisten_many(self, channels):
        self.connection.autocommit = True
        self.sound.unlisten_many(channels)


class UnlistensManyInsideATransaction(Mutant):
    caught_by = "test_inside_a_transaction_an_unlisten_of_many_is_refused"

    def unlisten_many(self, channels):
        with suppress(TransactionError):
            self.sound.unlisten_many(channels)


class UnlistensManyAndThenRefuses(Mutant):
    caught_by = "test_inside_a_transaction_an_unlisten_of_many_is_refused"

    def unlisten_many(self, channels):
        try:
            self.sound.unlisten_many(channels)
        except TransactionError:
            self.connection.execute("ROLLBACK")
            self.sound.unlisten_many(channels)
            raise


class TellsNoLossToAnUnlistenOfMany(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_an_unlisten_of_many"

    def unlisten_many(self, channels):
        with suppress(ConnectionLost):
            self.sound.unlisten_many(channels)


class PassesTheDriversErrorOfAnUnlistenOfMany(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_an_unlisten_of_many"

    def unlisten_many(self, channels):
        try:
            self.sound.unlisten_many(channels)
        except ConnectionLost as lost:
            raise lost.__cause__ from None
