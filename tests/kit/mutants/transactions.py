"""Faults in transactions, and of notify() inside and outside them."""

from __future__ import annotations

import select
from contextlib import suppress

import psycopg

import pgnotify
from pgnotify import ConnectionLost, TransactionError
from tests.kit.mutants.base import Mutant


class CommitsTheUsersTransaction(Mutant):
    caught_by = "test_a_refusal_neither_commits_nor_ends_the_users_transaction"

    def listen(self, channel):
        try:
            self.sound.listen(channel)
        except TransactionError:
            self.connection.execute("COMMIT")
            self.connection.execute("BEGIN")
            raise


class RollsTheUsersTransactionBack(Mutant):
    caught_by = "test_a_refusal_does_not_roll_back_the_users_transaction"

    def listen(self, channel):
        try:
            self.sound.listen(channel)
        except TransactionError:
            self.connection.execute("ROLLBACK")
            self.connection.execute("BEGIN")
            raise


class WaitsInsideATransaction(Mutant):
    caught_by = "test_inside_an_open_transaction_listen_unlisten_and_wait_are_refused"

    def wait(self, timeout, wakeup=None):
        try:
            return self.sound.wait(timeout, wakeup)
        except TransactionError:
            return False


class ListensInsideATransaction(Mutant):
    caught_by = "test_inside_an_open_transaction_listen_unlisten_and_wait_are_refused"

    def listen(self, channel):
        self.connection.execute('LISTEN "{}"'.format(channel.replace('"', '""')))


class TakesAFailedTransactionForNone(Mutant):
    caught_by = "test_inside_a_failed_transaction_listen_unlisten_and_wait_are_refused"

    def wait(self, timeout, wakeup=None):
        if self.connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            return False
        return self.sound.wait(timeout, wakeup)


class NotifiesAtOnce(Mutant):
    caught_by = "test_in_a_transaction_of_the_users_it_is_sent_when_they_commit"

    def notify(self, channel, payload=""):
        with psycopg.connect(self.connection.info.dsn, autocommit=True) as another:
            pgnotify.notify(another, channel, payload)


class NotifiesLater(Mutant):
    """A driver that pipelines does this."""

    caught_by = "test_a_notification_is_sent_on_return"

    def __init__(self, connection):
        super().__init__(connection)
        self.later: list[tuple[str, str]] = []

    def notify(self, channel, payload=""):
        self.later.append((channel, payload))

    def wait(self, timeout, wakeup=None):
        while self.later:
            self.sound.notify(*self.later.pop(0))
        return super().wait(timeout, wakeup)


class LosesOneOfMany(Mutant):
    caught_by = "test_many_are_sent_in_order"

    def notify_many(self, notifications):
        self.sound.notify_many(list(notifications)[1:])


class RefusesTheLookOnly(Mutant):
    caught_by = "test_inside_an_open_transaction_listen_unlisten_and_wait_are_refused"

    def wait(self, timeout, wakeup=None):
        try:
            return self.sound.wait(timeout, wakeup)
        except TransactionError:
            if timeout == 0:
                raise
            select.select([] if wakeup is None else [wakeup], [], [], 3)
            return False


class ListensAndThenRefuses(Mutant):
    caught_by = "test_what_was_refused_is_not_done_all_the_same"

    def listen(self, channel):
        try:
            self.sound.listen(channel)
        except TransactionError:
            self.connection.execute('LISTEN "{}"'.format(channel.replace('"', '""')))
            raise


class UnlistensAndThenRefuses(Mutant):
    caught_by = "test_what_was_refused_is_not_done_all_the_same"

    def unlisten(self, channel):
        try:
            self.sound.unlisten(channel)
        except TransactionError:
            self.connection.execute("UNLISTEN *")
            raise


class KeepsQuietAboutErrors(Mutant):
    caught_by = "test_what_the_server_refuses_is_no_loss_and_not_kept_quiet"

    def notify(self, channel, payload=""):
        with suppress(psycopg.Error):
            self.sound.notify(channel, payload)


class TakesEveryErrorForALoss(Mutant):
    caught_by = "test_what_the_server_refuses_is_no_loss_and_not_kept_quiet"

    def notify(self, channel, payload=""):
        try:
            self.sound.notify(channel, payload)
        except psycopg.Error as error:
            raise ConnectionLost("lost") from error


class NotifiesManyOneByOne(Mutant):
    caught_by = "test_many_of_which_one_is_refused_are_not_sent_at_all"

    def notify_many(self, notifications):
        for channel, payload in notifications:
            self.sound.notify(channel, payload)


class HasAParameterForEach(Mutant):
    caught_by = "test_more_can_be_sent_than_a_statement_has_parameters"

    def notify_many(self, notifications):
        pairs = list(notifications)
        values = ", ".join(["(%s, %s)"] * len(pairs))
        sql = f"SELECT pg_notify(c, p) FROM (VALUES {values}) AS pair (c, p)"
        self.connection.execute(sql, [text for pair in pairs for text in pair])


class ChecksInTheUsersTransaction(Mutant):
    caught_by = "test_not_in_autocommit_mode_a_check_and_a_fetch_leave_no_transaction"

    def check(self):
        health = self.sound.check()
        self.connection.execute("SELECT 1")
        return health


class FetchesWithAStatementOfTheUsers(Mutant):
    """As the documentation of a driver says that reads along with a statement only."""

    caught_by = "test_not_in_autocommit_mode_a_check_and_a_fetch_leave_no_transaction"

    def fetch(self):
        if not self.connection.closed:
            self.connection.execute("SELECT 1")
        return self.sound.fetch()


class CommitsAtClose(Mutant):
    caught_by = "test_closing_inside_a_transaction_sends_nothing_of_it"

    def close(self):
        if not self.connection.closed:
            self.connection.commit()
        self.sound.close()
