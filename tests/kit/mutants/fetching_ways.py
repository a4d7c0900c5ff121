"""Faults of fetch_plain() and fetch_into(), and of a batch as a whole."""

from __future__ import annotations

import select
from collections import deque
from contextlib import suppress

from pgnotify import ConnectionLost, TransactionError
from tests.kit.mutants.base import Mutant


class NamesTheFirstSenderOfABatch(Mutant):
    caught_by = "test_each_of_a_batch_names_its_own_sender"

    def fetch(self):
        batch = self.sound.fetch()
        return [each._replace(pid=batch[0].pid) for each in batch]


class NamesTheLastSenderOfABatch(Mutant):
    caught_by = "test_each_of_a_batch_names_its_own_sender"

    def fetch(self):
        batch = self.sound.fetch()
        return [each._replace(pid=batch[-1].pid) for each in batch]


class NamesTheFirstSenderPlainly(Mutant):
    caught_by = "test_each_of_a_batch_names_its_own_sender"

    def fetch_plain(self):
        batch = self.sound.fetch_plain()
        return [(channel, payload, batch[0][2]) for channel, payload, _ in batch]


class NamesTheSenderBeforeInTheQueue(Mutant):
    """A parser that compares with the message before does this."""

    caught_by = "test_each_of_a_batch_names_its_own_sender"

    def fetch_into(self, queue):
        before = None
        for channel, payload, pid in self.sound.fetch_plain():
            queue.append((channel, payload, before or pid))
            before = pid


class NamesTheSenderOfAChannel(Mutant):
    """It remembers who has sent to a channel first."""

    caught_by = "test_each_of_a_batch_names_its_own_sender"

    def fetch(self):
        senders: dict[str, int] = {}
        return [each._replace(pid=senders.setdefault(each.channel, each.pid)) for each in self.sound.fetch()]


class HandsOverEverythingPlainly(Mutant):
    caught_by = "test_the_ways_to_fetch_take_parts_of_one_queue"

    def fetch_plain(self):
        everything = []
        while batch := self.sound.fetch_plain():
            everything += batch
        return everything


class FillsTheQueueWithEverything(Mutant):
    caught_by = "test_the_ways_to_fetch_take_parts_of_one_queue"

    def fetch_into(self, queue):
        while batch := self.sound.fetch_plain():
            queue.extend(batch)


class HasAQueueForEachWay(Mutant):
    """What was read for one way to fetch is not there for another."""

    caught_by = "test_the_ways_to_fetch_take_parts_of_one_queue"

    def __init__(self, connection):
        super().__init__(connection)
        self.ahead: list = []

    def wait(self, timeout, wakeup=None):
        return bool(self.ahead) or super().wait(timeout, wakeup)

    def fetch_plain(self):
        batch = self.ahead or self.sound.fetch_plain()
        self.ahead = self.sound.fetch_plain() if batch else []
        return batch


class WaitsInPlainFetch(Mutant):
    caught_by = "test_no_way_to_fetch_waits_for_what_has_not_begun_to_arrive"

    def fetch_plain(self):
        self.sound.wait(0.5)
        return self.sound.fetch_plain()


class WaitsInFetchInto(Mutant):
    caught_by = "test_no_way_to_fetch_waits_for_what_has_not_begun_to_arrive"

    def fetch_into(self, queue):
        self.sound.wait(0.5)
        self.sound.fetch_into(queue)


class HandsOverItsOwnPlainList(Mutant):
    caught_by = "test_what_was_fetched_plainly_does_not_change_any_more"

    def __init__(self, connection):
        super().__init__(connection)
        self.batch: list = []

    def fetch_plain(self):
        self.batch[:] = self.sound.fetch_plain()
        return self.batch


class RefusesToFetchIntoInsideATransaction(Mutant):
    caught_by = "test_each_way_to_fetch_works_inside_a_transaction"

    def fetch_into(self, queue):
        if self.connection.info.transaction_status:
            raise TransactionError("not inside a transaction")
        self.sound.fetch_into(queue)


class ForgetsWhatItFetchesPlainlyInsideATransaction(Mutant):
    caught_by = "test_each_way_to_fetch_works_inside_a_transaction"

    def fetch_plain(self):
        batch = self.sound.fetch_plain()
        return [] if self.connection.info.transaction_status else batch


class SaysNoMoreBetweenTwoParts(Mutant):
    """It wants a wait() before each part."""

    caught_by = "test_an_empty_fetch_means_that_there_are_no_more"
    waited = True

    def wait(self, timeout, wakeup=None):
        self.waited = True
        return super().wait(timeout, wakeup)

    def fetch(self):
        if not self.waited:
            self.sound.notify("", "") if self.connection.closed else None  # a loss is told all the same
            return []
        batch = self.sound.fetch()
        self.waited = not batch
        return batch


class DeliversItsOwnLast(Mutant):
    """It has one list for the notifications that statements have read, and one for those of the socket."""

    caught_by = "test_ones_own_and_those_of_others_arrive_in_the_order_of_sending"

    def __init__(self, connection):
        super().__init__(connection)
        self.along: deque = deque()

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload)
        self.along.extend(self.sound.fetch())

    def wait(self, timeout, wakeup=None):
        return bool(self.along) or super().wait(timeout, wakeup)

    def fetch(self):
        batch = self.sound.fetch()
        while self.along:
            batch.append(self.along.popleft())
        return batch


class DeliversItsOwnFirst(Mutant):
    caught_by = "test_ones_own_and_those_of_others_arrive_in_the_order_of_sending"

    def fetch(self):
        own = self.connection.info.backend_pid
        return sorted(self.sound.fetch(), key=lambda each: each.pid != own)


class TellsNoLossInTheQueue(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_fetch_into_a_queue"

    def fetch_into(self, queue):
        try:
            self.sound.fetch_into(queue)
        except ConnectionLost:
            return


class TellsTheLossPlainlyOnce(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_a_plain_fetch"
    told = False

    def fetch_plain(self):
        try:
            return self.sound.fetch_plain()
        except ConnectionLost:
            if self.told:
                return []
            self.told = True
            raise


class WaitsInFetchWhole(Mutant):
    caught_by = "test_a_fetch_of_whole_messages_leaves_one_that_has_not_arrived_in_full"

    def fetch_whole(self, queue):
        self.sound.fetch_into(queue)
        if not queue:
            select.select([self.sound.fileno()], [], [], 3)
        return False


class TellsOfNoLossInWholeMessages(Mutant):
    caught_by = "test_a_termination_between_two_calls_is_told_by_listen"

    def fetch_whole(self, queue):
        with suppress(ConnectionLost):
            self.sound.fetch_into(queue)
        return False
