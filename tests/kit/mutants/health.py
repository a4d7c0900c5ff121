"""Faults of check(), server_pid and fileno()."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import psycopg

import pgnotify
from pgnotify import ConnectionLost, TransactionError
from tests.kit.mutants.base import Mutant


class ChecksAnotherConnection(Mutant):
    """A backend that takes one out of a pool does this."""

    caught_by = "test_a_check_tells_how_the_server_stands_and_who_has_answered"

    def check(self):
        with psycopg.connect(self.connection.info.dsn, autocommit=True) as another:
            return pgnotify.wrap(another).backend.check()


class TakesThePrimaryForAStandby(Mutant):
    caught_by = "test_a_check_tells_how_the_server_stands_and_who_has_answered"

    def check(self):
        return self.sound.check()._replace(in_recovery="f")


class TellsWhatIsFreeInPercent(Mutant):
    caught_by = "test_a_check_tells_how_the_server_stands_and_who_has_answered"

    def check(self):
        health = self.sound.check()
        return health._replace(queue_usage=100 - 100 * health.queue_usage)


class ReturnsATuple(Mutant):
    caught_by = "test_a_check_tells_how_the_server_stands_and_who_has_answered"

    def check(self):
        return tuple(self.sound.check())


class FoldsTheNamesItChecks(Mutant):
    caught_by = "test_a_check_tells_what_is_listened_to_by_exactly_its_name"

    def check(self):
        health = self.sound.check()
        return health._replace(channels=frozenset(map(str.lower, health.channels)))


class TellsNamesAsAList(Mutant):
    caught_by = "test_a_check_tells_what_is_listened_to_by_exactly_its_name"

    def check(self):
        health = self.sound.check()
        return health._replace(channels=sorted(health.channels))


class ChecksItsOwnMemory(Mutant):
    caught_by = "test_a_check_tells_what_the_server_knows_and_not_what_the_driver_remembers"

    def __init__(self, connection):
        super().__init__(connection)
        self.channels: set[str] = set()

    def listen(self, channel):
        self.sound.listen(channel)
        self.channels.add(channel)

    def check(self):
        return self.sound.check()._replace(channels=frozenset(self.channels))


class SwallowsWhatComesAlongWithACheck(Mutant):
    caught_by = "test_checks_swallow_nothing_and_deliver_nothing_twice"

    def check(self):
        health = self.sound.check()
        self.sound.fetch()
        return health


class HandsOverLater(Mutant):
    """A driver that calls back in its own thread does this."""

    caught_by = "test_what_was_sent_before_a_check_can_be_fetched_after_it"
    checked = False

    def check(self):
        self.checked = True
        return self.sound.check()

    def fetch(self):
        if self.checked:
            self.checked = False
            return []
        return self.sound.fetch()


class WatchesTheSocketOnlyAfterACheck(Mutant):
    caught_by = "test_what_was_sent_before_a_check_ends_a_wait_though_the_socket_is_silent"
    checked = False

    def check(self):
        self.checked = True
        return self.sound.check()

    def wait(self, timeout, wakeup=None):
        return pgnotify.waiting.wait_readable(self.connection.fileno(), timeout, wakeup)


class ChecksWithFourStatements(Mutant):
    caught_by = "test_a_check_takes_one_round_trip"

    def check(self):
        self.connection.execute("SELECT pg_is_in_recovery()")
        return self.sound.check()


class LeavesItsCheckOpen(Mutant):
    caught_by = "test_the_connection_is_idle_after_a_check_and_in_the_mode_that_it_was_in"

    def check(self):
        health = self.sound.check()
        self.connection.execute("BEGIN")
        return health


class ChangesTheModeForACheck(Mutant):
    caught_by = "test_the_connection_is_idle_after_a_check_and_in_the_mode_that_it_was_in"

    def check(self):
        health = self.sound.check()
        self.connection.autocommit = not self.connection.autocommit
        return health


class ChecksInsideATransaction(Mutant):
    """Inside a transaction a check says nothing about notifications that are due."""

    caught_by = "test_inside_a_transaction_a_check_is_refused"

    def check(self):
        try:
            return self.sound.check()
        except TransactionError:
            return pgnotify.protocol.Health(False, 0.0, self.sound.server_pid, frozenset())


class ChecksTheDeadQuietly(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_check"
    last = None

    def check(self):
        with suppress(ConnectionLost):
            self.last = self.sound.check()
        return self.last


class PassesTheDriversErrorOfACheck(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_check"

    def check(self):
        try:
            return self.sound.check()
        except ConnectionLost as lost:
            raise lost.__cause__ from None


# Of server_pid


class NamesItsOwnProcess(Mutant):
    caught_by = "test_the_server_pid_is_that_of_the_process_that_answers"

    @property
    def server_pid(self):
        return os.getpid()


class AsksForItsPid(Mutant):
    caught_by = "test_the_server_pid_is_told_without_a_word_to_the_server"

    @property
    def server_pid(self):
        return self.sound.check().server_pid


class ForgetsItsPid(Mutant):
    """libpq does this."""

    caught_by = "test_the_server_pid_of_a_lost_connection_is_right_or_a_loss"

    @property
    def server_pid(self):
        try:
            return self.sound.server_pid
        except ConnectionLost:
            return 0


# Of fileno()


class NamesAnotherSocket(Mutant):
    caught_by = "test_a_shutdown_of_the_descriptor_ends_a_wait"

    def __init__(self, connection):
        super().__init__(connection)
        self.ends = socket.socketpair()

    def fileno(self):
        return self.ends[0].fileno()

    def close(self):
        for end in self.ends:
            end.close()
        super().close()


class NamesAnotherSocketToWhoListens(NamesAnotherSocket):
    caught_by = "test_a_shutdown_of_the_descriptor_ends_a_listen_that_is_not_answered"


class NamesAnotherSocketToWhoNotifies(NamesAnotherSocket):
    caught_by = "test_a_shutdown_of_the_descriptor_ends_a_notify_that_is_not_answered"


class NamesAnotherSocketToWhoChecks(NamesAnotherSocket):
    caught_by = "test_a_shutdown_of_the_descriptor_ends_a_check_that_is_not_answered"


class ChecksWithADeadlineOfItsOwn(Mutant):
    """It gives up on a connection that another thread would have ended."""

    caught_by = "test_a_shutdown_of_the_descriptor_ends_a_check_that_is_not_answered"

    def check(self):
        self.sound.wait(0.1)
        raise TimeoutError


class DuplicatesItsDescriptor(Mutant):
    caught_by = "test_the_descriptor_is_that_of_an_open_socket_and_stays_the_same"

    def fileno(self):
        return os.dup(self.sound.fileno())


class NamesNoSocketAtAll(Mutant):
    caught_by = "test_the_descriptor_is_that_of_an_open_socket_and_stays_the_same"

    def __init__(self, connection):
        super().__init__(connection)
        self.end = open(os.devnull)  # noqa: SIM115

    def fileno(self):
        return self.end.fileno()

    def close(self):
        self.end.close()
        super().close()


class RemembersTheDescriptorItHad(Mutant):
    caught_by = "test_a_closed_connection_has_no_descriptor"

    def __init__(self, connection):
        super().__init__(connection)
        self.descriptor = connection.fileno()

    def fileno(self):
        return self.descriptor


class NamesNoDescriptorByMinusOne(Mutant):
    caught_by = "test_a_closed_connection_has_no_descriptor"

    def fileno(self):
        try:
            return self.sound.fileno()
        except ConnectionLost:
            return -1
