"""Faults of a backend that is made, of its properties, and of what it changes in the session."""

from __future__ import annotations

import os

import psycopg

from pgnotify import PgNotifyError, TransactionError
from tests.kit.mutants.base import Mutant


class AsksAtTheBeginning(Mutant):
    caught_by = "test_making_a_backend_sends_nothing"

    def __init__(self, connection):
        super().__init__(connection)
        connection.execute("SELECT 1")


class RefusesToBeMadeInsideATransaction(Mutant):
    caught_by = "test_a_backend_may_be_made_inside_a_transaction"

    def __init__(self, connection):
        super().__init__(connection)
        if connection.info.transaction_status:
            raise TransactionError("not inside a transaction")


class RollsBackAtTheBeginning(Mutant):
    caught_by = "test_a_backend_may_be_made_inside_a_transaction"

    def __init__(self, connection):
        super().__init__(connection)
        connection.rollback()


class ChangesASetting(Mutant):
    caught_by = "test_the_settings_of_the_session_stay_as_they_were"

    def listen(self, channel):
        self.sound.listen(channel)
        self.connection.execute("SET idle_session_timeout = 0")


class NamesItself(Mutant):
    caught_by = "test_the_settings_of_the_session_stay_as_they_were"

    def check(self):
        self.connection.execute("SET application_name = 'heartbeat'")
        return self.sound.check()


class DuplicatesTheDescriptorForEachWait(Mutant):
    caught_by = "test_no_call_leaves_a_descriptor_open"

    def wait(self, timeout, wakeup=None):
        os.dup(self.connection.fileno())
        return self.sound.wait(timeout, wakeup)


class KeepsItsDescriptorOpen(Mutant):
    caught_by = "test_closing_leaves_no_descriptor_open"

    def __init__(self, connection):
        super().__init__(connection)
        self.duplicate = os.dup(connection.fileno())


class IsAlwaysBusy(Mutant):
    caught_by = "test_an_idle_backend_is_not_busy"
    busy = True


class StaysBusyAfterAnError(Mutant):
    caught_by = "test_an_idle_backend_is_not_busy"
    busy = False

    def notify(self, channel, payload=""):
        self.busy = True
        self.sound.notify(channel, payload)
        self.busy = False


class StaysBusyInAFailedTransaction(Mutant):
    caught_by = "test_an_idle_backend_is_not_busy"

    @property
    def busy(self):
        return bool(self.connection.info.transaction_status)


class IsNeverInATransaction(Mutant):
    caught_by = "test_inside_a_transaction_of_the_users_the_backend_knows_it"
    in_transaction = False


class IsInATransactionOutsideOfOne(Mutant):
    caught_by = "test_inside_a_transaction_of_the_users_the_backend_knows_it"

    @property
    def in_transaction(self):
        return not self.connection.info.transaction_status or self.sound.in_transaction


class ForgetsATransactionThatHasFailed(Mutant):
    caught_by = "test_inside_a_transaction_of_the_users_the_backend_knows_it"

    @property
    def in_transaction(self):
        return self.connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


class NamesAnotherErrorOfTheDrivers(Mutant):
    caught_by = "test_an_error_of_the_servers_is_the_drivers_database_error"
    DatabaseError = psycopg.InterfaceError


class NamesAnErrorByItsName(Mutant):
    caught_by = "test_an_error_of_the_servers_is_the_drivers_database_error"
    DatabaseError = "psycopg.DatabaseError"


class WrapsTheServersErrors(Mutant):
    caught_by = "test_what_the_server_refuses_is_no_loss_and_not_kept_quiet"

    def notify(self, channel, payload=""):
        try:
            self.sound.notify(channel, payload)
        except psycopg.Error as error:
            raise PgNotifyError("refused") from error
