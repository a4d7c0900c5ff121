"""Faults at the end of a connection."""

from __future__ import annotations

import select

import psycopg

from pgnotify import ConnectionLost
from tests.kit.mutants.base import Mutant


class SwallowsTheLoss(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_fetch"

    def fetch(self):
        try:
            return self.sound.fetch()
        except ConnectionLost:
            return []


class SwallowsTheLossPlainly(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_plain_fetch"

    def fetch_plain(self):
        try:
            return self.sound.fetch_plain()
        except ConnectionLost:
            return []


class TellsTheLossOnce(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_wait"
    told = False

    def wait(self, timeout, wakeup=None):
        try:
            return self.sound.wait(timeout, wakeup)
        except ConnectionLost:
            if self.told:
                return True
            self.told = True
            raise


class TellsTheLossFirst(Mutant):
    caught_by = "test_the_last_notifications_come_before_the_loss"

    def fetch(self):
        batch = self.sound.fetch()
        self.connection.execute("SELECT 1") if self.sound.wait(0.2) else None
        return batch

    def wait(self, timeout, wakeup=None):
        self._raise_if_lost()
        ended = self.sound.wait(timeout, wakeup)
        self._raise_if_lost()
        return ended

    def _raise_if_lost(self):
        if self.connection.closed or self.connection.pgconn.socket < 0:
            raise ConnectionLost("lost") from psycopg.OperationalError("lost")
        try:
            self.connection.execute("SELECT 1")
        except psycopg.OperationalError as error:
            raise ConnectionLost("lost") from error


class LooksAtTheDeadQuietly(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_wait"

    def wait(self, timeout, wakeup=None):
        try:
            return self.sound.wait(timeout, wakeup)
        except ConnectionLost:
            if timeout == 0:
                return False
            raise


class DoesNotSayWhyItIsLost(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_notify"

    def notify(self, channel, payload=""):
        try:
            self.sound.notify(channel, payload)
        except ConnectionLost as lost:
            raise ConnectionLost(str(lost)) from None


class PassesTheDriversErrorThrough(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_listen"

    def listen(self, channel):
        try:
            self.sound.listen(channel)
        except ConnectionLost as lost:
            raise lost.__cause__ from None


class DropsWhatAFailedStatementMet(Mutant):
    caught_by = "test_notifications_before_the_end_survive_a_statement_that_meets_it"

    def listen(self, channel):
        try:
            self.sound.listen(channel)
        except ConnectionLost:
            self.sound.fetch()
            raise


class ClosesOnce(Mutant):
    caught_by = "test_closing_twice_is_closing_once"
    closed = False

    def close(self):
        if self.closed:
            raise psycopg.InterfaceError("already closed")
        self.closed = True
        self.sound.close()


class ClosesOnItsOwnSideOnly(Mutant):
    caught_by = "test_closing_ends_the_session_on_the_server"

    def close(self):
        """Leave it to the garbage collector."""


class RemembersItsDescriptor(Mutant):
    caught_by = "test_a_descriptor_of_a_closed_connection_that_others_use_is_not_taken_for_it"

    def __init__(self, connection):
        super().__init__(connection)
        self.descriptor = connection.fileno()

    def wait(self, timeout, wakeup=None):
        if timeout is None and select.select([self.descriptor], [], [], 0)[0]:
            return True
        return self.sound.wait(timeout, wakeup)


class NeverLimitsTheRest(Mutant):
    """It waits for the rest of half a message as long as it likes to."""

    caught_by = "test_the_rest_of_a_message_is_waited_for_no_longer_than_is_allowed"
    half = False

    def limit_rest(self, seconds):
        """Do nothing."""

    def wait(self, timeout, wakeup=None):
        self.half = self.sound.wait(timeout, wakeup)
        return self.half

    def fetch(self):
        batch = self.sound.fetch()
        if self.half and not batch:
            self.sound.wait(2)
        return batch


class GivesUpOnTheRestWithoutALoss(Mutant):
    caught_by = "test_the_rest_of_a_message_is_waited_for_no_longer_than_is_allowed"
    seconds = 0.0
    half = False

    def limit_rest(self, seconds):
        self.seconds = seconds

    def wait(self, timeout, wakeup=None):
        self.half = self.sound.wait(timeout, wakeup)
        return self.half

    def fetch(self):
        batch = self.sound.fetch()
        if self.half and not batch:
            self.sound.wait(self.seconds)
            raise self.error()
        return batch

    def error(self):
        """Return what is raised after that time."""
        return TimeoutError("the rest did not come")


class LosesTheRestWithoutAWord(GivesUpOnTheRestWithoutALoss):
    """It does not say that nobody answered."""

    def error(self):
        lost = ConnectionLost("lost")
        lost.__cause__ = psycopg.OperationalError("lost")
        return lost
