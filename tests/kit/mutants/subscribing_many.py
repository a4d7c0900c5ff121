"""Faults of listen_many()."""

from __future__ import annotations

from contextlib import suppress

import psycopg

from pgnotify import ConnectionLost, TransactionError
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
