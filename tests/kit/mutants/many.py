"""Faults with many channels, and of notify_many()."""

from __future__ import annotations

import psycopg

from tests.kit.mutants.base import Mutant


class ListensToTheFirstHundred(Mutant):
    caught_by = "test_a_listen_to_a_thousand_is_in_force_for_each_of_them"

    def listen_many(self, channels):
        self.sound.listen_many(channels[:100])


class LosesTheOneBetweenTwoParts(Mutant):
    caught_by = "test_a_listen_to_a_thousand_is_in_force_for_each_of_them"

    def listen_many(self, channels):
        self.sound.listen_many([*channels[:256], *channels[257:]])


class RefusesMoreThanFiveHundred(Mutant):
    caught_by = "test_a_listen_to_a_thousand_is_in_force_for_each_of_them"

    def listen_many(self, channels):
        if len(channels) > 500:
            raise ValueError("too many")
        self.sound.listen_many(channels)


class EmptiesTheListOfChannels(Mutant):
    caught_by = "test_a_listen_to_a_thousand_is_in_force_for_each_of_them"

    def listen_many(self, channels):
        self.sound.listen_many(tuple(channels))
        if isinstance(channels, list):
            channels.clear()


class ListensToManyInParts(Mutant):
    caught_by = "test_a_listen_to_many_takes_one_round_trip"

    def listen_many(self, channels):
        for start in range(0, len(channels), 100):
            self.sound.listen_many(channels[start : start + 100])


class ListensToSomePartsOfMany(ListensToManyInParts):
    caught_by = "test_a_listen_to_many_of_which_one_is_refused_is_one_to_none"


class UnlistensTheFirstHundred(Mutant):
    caught_by = "test_an_unlisten_of_a_thousand_is_in_force_for_each_of_them"

    def unlisten_many(self, channels):
        self.sound.unlisten_many(channels[:100])


class UnlistensManyInParts(Mutant):
    caught_by = "test_an_unlisten_of_many_takes_one_round_trip"

    def unlisten_many(self, channels):
        for start in range(0, len(channels), 100):
            self.sound.unlisten_many(channels[start : start + 100])


class UnlistensSomePartsOfMany(UnlistensManyInParts):
    caught_by = "test_an_unlisten_of_many_of_which_one_is_refused_is_one_of_none"


# notify_many()


class NotifiesOneByOneInOneTransaction(Mutant):
    caught_by = "test_many_are_sent_in_one_round_trip"

    def notify_many(self, notifications):
        with self.connection.transaction():
            for channel, payload in notifications:
                self.sound.notify(channel, payload)


class LosesWhatComesAlongWithANotify(Mutant):
    """It keeps what it has sent itself."""

    caught_by = "test_what_comes_along_with_a_notify_is_there_though_the_socket_is_silent"

    def __init__(self, connection):
        super().__init__(connection)
        self.own: list = []

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload)
        self.own += [each for each in self.sound.fetch() if each.pid == self.sound.server_pid]

    def wait(self, timeout, wakeup=None):
        return bool(self.own) or super().wait(timeout, wakeup)

    def fetch(self):
        own, self.own = self.own, []
        return own or self.sound.fetch()


class LosesWhatComesAlongWithNotifyMany(Mutant):
    caught_by = "test_what_comes_along_with_a_notify_is_there_though_the_socket_is_silent"

    def notify_many(self, notifications):
        self.sound.notify_many(notifications)
        self.sound.fetch()


class OpensATransactionForManyToSend(Mutant):
    caught_by = "test_the_connection_is_idle_after_many_were_sent"

    def notify_many(self, notifications):
        self.sound.notify_many(notifications)
        self.connection.execute("BEGIN")


class SendsManyInTheUsersTransaction(Mutant):
    caught_by = "test_not_in_autocommit_mode_many_are_sent_in_a_transaction_of_their_own"

    def notify_many(self, notifications):
        for pair in notifications:
            self.connection.execute("SELECT pg_notify(%s, %s)", pair)


class LeavesTheModeChangedByMany(Mutant):
    caught_by = "test_not_in_autocommit_mode_many_are_sent_in_a_transaction_of_their_own"

    def notify_many(self, notifications):
        self.connection.autocommit = True
        self.sound.notify_many(notifications)


class NotifiesManyOnAnotherConnection(Mutant):
    caught_by = "test_many_of_a_transaction_that_is_rolled_back_are_not_sent"

    def notify_many(self, notifications):
        with psycopg.connect(self.connection.info.dsn, autocommit=True) as another:
            for pair in notifications:
                another.execute("SELECT pg_notify(%s, %s)", pair)
