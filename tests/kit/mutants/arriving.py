"""Faults in the notifications that arrive."""

from __future__ import annotations

from typing import Any

from pgnotify import Notification
from tests.kit.mutants.base import Mutant


class DropsTheLastOfABatch(Mutant):
    caught_by = "test_ten_thousand_of_one_transaction_arrive_whole_and_in_order"

    def fetch(self):
        batch = self.sound.fetch()
        return batch[:-1] if len(batch) > 1 else batch


class ReversesABatch(Mutant):
    """Recipes that call notifies.pop() do this."""

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
    """Like a backlog that is never drained."""

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


class ReplacesTheQueue(Mutant):
    caught_by = "test_a_fetch_into_a_queue_appends_the_same_and_once"

    def fetch_into(self, queue):
        queue.clear()
        self.sound.fetch_into(queue)


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
