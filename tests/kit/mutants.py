"""Backends that are wrong in one thing each, as real ones have been; the conformance class must catch each.

`python -m tests.kit.mutants` runs all of its tests on each of them and prints which ones fail.
"""

from __future__ import annotations

import math
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

import pgnotify
from pgnotify import Backend, ConnectionLost, Notification, TransactionError
from pgnotify.testing import BackendConformance
from pgnotify.testing.conformance import running


class Mutant(Backend):
    """Does what the sound backend of the same connection does; a mutant changes one thing."""

    caught_by: str
    """The test of the conformance class that must fail on it."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.sound: Any = pgnotify.wrap(connection).backend

    def listen(self, channel):
        self.sound.listen(channel)

    def unlisten(self, channel):
        self.sound.unlisten(channel)

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout, wakeup)

    def fetch(self):
        return self.sound.fetch()

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload)

    def notify_many(self, notifications):
        self.sound.notify_many(notifications)

    def close(self):
        self.sound.close()


# Of what arrives


class DropsTheLastOfABatch(Mutant):
    caught_by = "test_ten_thousand_of_one_transaction_arrive_whole_and_in_order"

    def fetch(self):
        batch = self.sound.fetch()
        return batch[:-1] if len(batch) > 1 else batch


class ReversesABatch(Mutant):
    """As recipes do that call notifies.pop()."""

    caught_by = "test_ten_thousand_of_one_transaction_arrive_whole_and_in_order"

    def fetch(self):
        return self.sound.fetch()[::-1]


class SortsByChannel(Mutant):
    caught_by = "test_channels_keep_the_order_among_each_other"

    def fetch(self):
        return sorted(self.sound.fetch(), key=lambda each: each.channel)


class KeepsTheLastHundred(Mutant):
    caught_by = "test_a_burst_that_no_single_read_takes_arrives_whole"

    def fetch(self):
        return self.sound.fetch()[-100:]


class DeliversTwice(Mutant):
    caught_by = "test_what_is_fetched_is_not_fetched_again"
    last: list[Notification] | None = None

    def wait(self, timeout, wakeup=None):
        return bool(self.last) or super().wait(timeout, wakeup)

    def fetch(self):
        again, self.last = self.last, None
        if again is None:
            self.last = self.sound.fetch()
        return again or self.last


class HandsOverEverythingAtOnce(Mutant):
    caught_by = "test_a_backlog_comes_in_parts_of_a_few_hundred"

    def fetch(self):
        everything = []
        while batch := self.sound.fetch():
            everything += batch
        return everything


class KeepsWhatItHasHandedOver(Mutant):
    """A backlog that nobody drains."""

    caught_by = "test_a_hundred_thousand_pending_do_not_fill_the_memory"

    def __init__(self, connection):
        super().__init__(connection)
        self.history: list[Any] = []

    def fetch(self):
        batch = self.sound.fetch()
        self.history += [(each, bytes(500)) for each in batch]
        return batch


class MixesUpChannelAndPayload(Mutant):
    caught_by = "test_a_notification_has_its_channel_its_payload_and_the_senders_pid"

    def fetch(self):
        return [Notification(payload, channel, pid) for channel, payload, pid in self.sound.fetch()]


class MixesUpPlainChannelAndPayload(Mutant):
    caught_by = "test_a_plain_fetch_hands_over_the_same_and_once"

    def fetch_plain(self):
        return [(payload, channel, pid) for channel, payload, pid in self.sound.fetch()]


class NamesItselfAsTheSender(Mutant):
    caught_by = "test_a_notification_has_its_channel_its_payload_and_the_senders_pid"

    def fetch(self):
        return [each._replace(pid=self.connection.info.backend_pid) for each in self.sound.fetch()]


class HandsOverTuples(Mutant):
    caught_by = "test_what_is_fetched_is_a_list_of_notifications"

    def fetch(self):
        return list(map(tuple, self.sound.fetch()))


class FoldsOverTransactions(Mutant):
    caught_by = "test_equal_ones_of_one_transaction_arrive_once_and_of_two_twice"

    def __init__(self, connection):
        super().__init__(connection)
        self.seen: set[Notification] = set()

    def fetch(self):
        fresh = dict.fromkeys(each for each in self.sound.fetch() if each not in self.seen)
        self.seen.update(fresh)
        return list(fresh)


class ReplacesWhatItCannotDecode(Mutant):
    caught_by = "test_bytes_that_cannot_be_decoded_come_out_as_surrogate_escapes"

    def fetch(self):
        return [
            each._replace(payload=each.payload.encode(errors="surrogateescape").decode(errors="replace"))
            for each in self.sound.fetch()
        ]


class DiesOfWhatItCannotDecode(Mutant):
    caught_by = "test_bytes_that_cannot_be_decoded_harm_nothing_around_them"

    def fetch(self):
        batch = self.sound.fetch()
        for each in batch:
            each.payload.encode()
        return batch


class WaitsInFetch(Mutant):
    caught_by = "test_a_fetch_does_not_wait_for_what_has_not_begun_to_arrive"

    def fetch(self):
        self.sound.wait(0.5)
        return self.sound.fetch()


class HandsOverItsOwnList(Mutant):
    caught_by = "test_a_list_that_was_fetched_does_not_change_any_more"

    def __init__(self, connection):
        super().__init__(connection)
        self.batch: list[Notification] = []

    def fetch(self):
        self.batch.clear()
        self.batch += self.sound.fetch()
        return self.batch


class DropsEqualNeighbours(Mutant):
    caught_by = "test_equal_ones_of_one_transaction_arrive_once_and_of_two_twice"

    last: Notification | None = None

    def fetch(self):
        fresh = []
        for each in self.sound.fetch():
            if each != self.last:
                fresh.append(each)
            self.last = each
        return fresh


# Of names and payloads


class FoldsTheCase(Mutant):
    caught_by = "test_the_case_of_a_name_is_kept"

    def listen(self, channel):
        self.sound.listen(channel.lower())


class TruncatesNames(Mutant):
    caught_by = "test_a_name_of_63_bytes_is_not_cut"

    def listen(self, channel):
        self.sound.listen(channel[:62])


class UnlistensUnquoted(Mutant):
    caught_by = "test_an_unlisten_takes_a_name_as_a_listen_does"

    def unlisten(self, channel):
        self.sound.unlisten(channel if channel.isidentifier() and channel.islower() else channel.lower())


class CutsPayloads(Mutant):
    caught_by = "test_a_payload_of_7999_bytes_is_not_cut"

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload.encode()[:7_998].decode(errors="ignore"))


class PastesPayloadsIntoSQL(Mutant):
    caught_by = "test_a_payload_cannot_become_a_part_of_the_statement"

    def notify(self, channel, payload=""):
        psycopg.ClientCursor(self.connection).execute(f"SELECT pg_notify('{channel}', '{payload}')")


class StripsPayloads(Mutant):
    caught_by = "test_a_payload_may_have_anything_in_it_that_text_can"

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload.strip())


# Of listen() and unlisten()


class ListensLater(Mutant):
    """As a driver does that queues its statements."""

    caught_by = "test_a_listen_is_in_force_on_return"

    def __init__(self, connection):
        super().__init__(connection)
        self.later: list[str] = []

    def listen(self, channel):
        self.later.append(channel)

    def wait(self, timeout, wakeup=None):
        while self.later:
            self.sound.listen(self.later.pop(0))
        return super().wait(timeout, wakeup)


class DeliversAfterUnlisten(Mutant):
    caught_by = "test_an_unlisten_is_in_force_on_return_and_nothing_comes_after_it"

    def unlisten(self, channel):
        """Forget it on our side only, and not even there."""


class CountsItsListens(Mutant):
    caught_by = "test_listening_twice_delivers_once_and_one_unlisten_ends_it"

    def __init__(self, connection):
        super().__init__(connection)
        self.counts: dict[str, int] = {}

    def listen(self, channel):
        self.counts[channel] = self.counts.get(channel, 0) + 1
        self.sound.listen(channel)

    def unlisten(self, channel):
        self.counts[channel] = self.counts.get(channel, 0) - 1
        if not self.counts[channel]:
            self.sound.unlisten(channel)


class LosesWhatArrivesDuringListen(Mutant):
    caught_by = "test_what_came_along_with_a_listen_is_there_though_the_socket_is_silent"

    def listen(self, channel):
        self.sound.listen(channel)
        self.sound.fetch()


class ThrowsAwayAtUnlisten(Mutant):
    caught_by = "test_what_had_arrived_before_an_unlisten_stays"

    def unlisten(self, channel):
        self.sound.unlisten(channel)
        self.sound.fetch()


class LeavesItsTransactionOpen(Mutant):
    caught_by = "test_the_connection_is_idle_after_each_verb"

    def listen(self, channel):
        self.sound.listen(channel)
        self.connection.execute("BEGIN")


class ChangesTheMode(Mutant):
    caught_by = "test_the_autocommit_mode_is_left_as_it_was"

    def listen(self, channel):
        self.sound.listen(channel)
        self.connection.autocommit = not self.connection.autocommit


class RemembersItsListens(Mutant):
    """As a driver does that calls back, and listens with the first callback only."""

    caught_by = "test_a_listen_is_sent_whatever_the_driver_remembers_of_the_last_one"

    def __init__(self, connection):
        super().__init__(connection)
        self.listened: set[str] = set()

    def listen(self, channel):
        if channel not in self.listened:
            self.sound.listen(channel)
        self.listened.add(channel)

    def unlisten(self, channel):
        self.sound.unlisten(channel)
        self.listened.discard(channel)


class TakesAStarForAll(Mutant):
    caught_by = "test_a_channel_that_is_called_star_is_one_channel"

    def unlisten(self, channel):
        self.sound.unlisten(channel)
        if channel == "*":
            self.connection.execute("UNLISTEN *")


# Of wait()


class WatchesTheSocketOnly(Mutant):
    """The recipe of every documentation."""

    caught_by = "test_a_notification_to_oneself_is_there_though_the_socket_is_silent"

    def wait(self, timeout, wakeup=None):
        watched = [self.connection.fileno(), *([] if wakeup is None else [wakeup])]
        return bool(select.select(watched, [], [], timeout)[0])


class SelectsHighDescriptors(Mutant):
    caught_by = "test_a_descriptor_over_1023_can_be_waited_for"

    def wait(self, timeout, wakeup=None):
        select.select([self.connection.fileno()], [], [], 0)
        return self.sound.wait(timeout, wakeup)


class TimesOutLate(Mutant):
    caught_by = "test_a_wait_of_a_fraction_of_a_second_does_not_time_out_late"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout and math.ceil(2 * timeout) / 2, wakeup)


class TimesOutEarly(Mutant):
    caught_by = "test_a_wait_of_a_fraction_of_a_second_is_no_shorter"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout and timeout / 2, wakeup)


class WaitsBusily(Mutant):
    caught_by = "test_a_wait_is_idle_and_costs_no_processor_time"
    pause = 0.0

    def wait(self, timeout, wakeup=None):
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while not self.sound.wait(0, wakeup):
            if time.monotonic() >= deadline:
                return False
            if self.pause:
                time.sleep(self.pause)  # what the mutant is made for
        return True


class LooksEachMillisecond(WaitsBusily):
    pause = 0.001


class WaitsOnItsWakeupNever(Mutant):
    caught_by = "test_the_wakeup_descriptor_ends_a_wait_without_end"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(2 if timeout is None else timeout)


class TakesForEverForNothing(Mutant):
    caught_by = "test_a_notification_ends_a_wait_without_end"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout or 0, wakeup)


class IsAlarmedForEver(Mutant):
    caught_by = "test_what_is_fetched_is_not_fetched_again"

    def wait(self, timeout, wakeup=None):
        self.sound.wait(0)
        return True


class SleepsThroughNotifications(Mutant):
    caught_by = "test_a_notification_ends_a_wait_that_has_an_end"

    def wait(self, timeout, wakeup=None):
        if not timeout or self.sound.wait(0, wakeup):
            return self.sound.wait(timeout, wakeup)
        select.select([] if wakeup is None else [wakeup], [], [], min(timeout, 3))
        return self.sound.wait(0)


class WatchesItsWakeupOnlyForEver(Mutant):
    caught_by = "test_the_wakeup_descriptor_ends_a_wait_that_has_an_end"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout and min(timeout, 3), None if timeout else wakeup)


class LooksAndSeesNothing(Mutant):
    caught_by = "test_a_wait_of_no_time_sees_what_has_arrived"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout, wakeup) and timeout != 0


class CountsToInfinity(Mutant):
    caught_by = "test_a_wait_of_years_or_of_infinity_is_possible"

    def wait(self, timeout, wakeup=None):
        return self.sound.wait(timeout and int(timeout * 1_000) / 1_000, wakeup)


# Of transactions


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
    """As a driver does that pipelines."""

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


# Of the end


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


MUTANTS: list[type[Mutant]] = [
    each for each in vars(sys.modules[__name__]).values() if isinstance(each, type) and hasattr(each, "caught_by")
]


def conformance_of(make_backend: Callable[[Any], Backend], seconds: float) -> type[BackendConformance]:
    """Return the conformance class for what a function makes of psycopg's connections, and its patience."""

    class Conformance(BackendConformance):
        patience = seconds
        implicit_transactions = False

        def connect(self, address):
            return psycopg.connect(address.dsn, autocommit=True)

        def make_backend(self, connection):
            return make_backend(connection)

        def leave_autocommit(self, connection):
            connection.autocommit = False

    return Conformance


def _print_all() -> None:
    for mutant in (pgnotify.wrap, *MUTANTS):
        make = mutant if isinstance(mutant, type) else lambda connection: pgnotify.wrap(connection).backend
        failed = [
            result for result in running.results_of(conformance_of(make, 1.0)) if result.outcome == running.FAILED
        ]
        print(f"{mutant.__name__}: {len(failed)} tests fail")  # noqa: T201
        for result in failed:
            print(f"    {result.promise}: {result.detail.splitlines()[0][:100]}")  # noqa: T201


if __name__ == "__main__":
    _print_all()
