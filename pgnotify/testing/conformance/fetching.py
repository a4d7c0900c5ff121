"""fetch(): every notification once, in the order of sending, in parts, without waiting."""

from __future__ import annotations

from collections import deque

from pgnotify.notification import Notification, Plain
from pgnotify.protocol import FetchesInto, FetchesPlain
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.conformance._resources import resident_bytes
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same, takes_less
from pgnotify.testing.conformance.kit import Kit

LONGEST_BATCH = 1_000  # "a few hundred"
TOO_LATE_SECONDS = 0.05
_PENDING = 100_000
_MOST_BYTES_PENDING = 64 * 1024 * 1024  # 600 bytes per notification: one copy, and one in the driver's C library
_MOST_BYTES_LEAKED = 16 * 1024 * 1024
_DRAINS = 3


def numbers(count: int, size: int = 0) -> list[str]:
    """Return `count` different payloads in order, each of at least `size` bytes."""
    return [str(number).rjust(size, ".") for number in range(count)]


class Fetching(Kit):
    """The promises of fetch(), fetch_plain() and fetch_into()."""

    promised_in = "Backend.fetch, FetchesPlain, FetchesInto"

    def test_a_notification_has_its_channel_its_payload_and_the_senders_pid(self) -> None:
        self.backend.listen("channel")

        self.session.notify("channel", "payload")

        same(self.collect(1), [Notification("channel", "payload", self.session.pid)])

    def test_ones_own_notification_has_ones_own_pid(self) -> None:
        pid = self.pid_of(self.db)
        self.backend.listen(self.channel)

        self.backend.notify(self.channel, "to myself")

        same(self.collect(1), [Notification(self.channel, "to myself", pid)])

    def test_what_is_fetched_is_a_list_of_notifications(self) -> None:
        self.backend.listen(self.channel)
        self.backend.notify(self.channel)

        arrived = self.collect(1)

        same(type(arrived[0]), Notification)
        same(type(self.backend.fetch()), list)

    def test_a_plain_fetch_hands_over_the_same_and_once(self) -> None:
        plain = self._fetching_plain()
        self.backend.listen(self.channel)
        sent = numbers(1_000)
        arrived: list[Plain] = []

        def all_arrived() -> bool:
            arrived.extend(plain.fetch_plain())
            return len(arrived) >= len(sent)

        self.session.notify_all(self.channel, sent)
        self.until(all_arrived, "fetch_plain() has not returned every notification that was sent")

        same([tuple(each) for each in arrived], [(self.channel, payload, self.session.pid) for payload in sent])
        self.nothing_arrives()

    def test_a_fetch_into_a_queue_appends_the_same_and_once(self) -> None:
        if not isinstance(self.backend, FetchesInto):
            raise not_applicable("the backend does not offer fetch_into()")
        into = self.backend.fetch_into
        self.backend.listen(self.channel)
        sent = numbers(1_000)
        queue: deque[Plain] = deque([("older", "", 7)])

        def all_arrived() -> bool:
            into(queue)
            return len(queue) > len(sent)

        self.session.notify_all(self.channel, sent)
        self.until(all_arrived, "fetch_into() has not appended every notification that was sent")

        same(queue.popleft(), ("older", "", 7))
        same([tuple(each) for each in queue], [(self.channel, payload, self.session.pid) for payload in sent])
        self.nothing_arrives()

    def test_a_list_that_was_fetched_does_not_change_any_more(self) -> None:
        self.backend.listen(self.channel)
        self.backend.notify(self.channel, "1")
        self.until(lambda: self.backend.wait(0), "wait(0) keeps returning False though a notification was sent")
        fetched = self.backend.fetch()
        before = list(fetched)

        self.backend.notify(self.channel, "2")
        self.payloads(1)

        same(fetched, before)

    def test_what_is_fetched_is_not_fetched_again(self) -> None:
        self.backend.listen(self.channel)
        self.backend.notify(self.channel, "once")
        same(self.payloads(1), ["once"])

        self.nothing_arrives()

    def test_a_fetch_does_not_wait_for_what_has_not_begun_to_arrive(self) -> None:
        self.backend.listen(self.channel)

        def fetch() -> None:
            same(self.backend.fetch(), [])

        fetching = self.in_background(lambda: takes_less(fetch, TOO_LATE_SECONDS, "fetch() waited"))
        fetching.join(self.patience, "fetch() did not return")

    def test_ten_thousand_of_one_transaction_arrive_whole_and_in_order(self) -> None:
        self.backend.listen(self.channel)
        sent = numbers(10_000)

        self.session.notify_all(self.channel, sent)

        same(self.payloads(len(sent)), sent)
        self.nothing_arrives()

    def test_ten_thousand_of_a_hundred_transactions_arrive_whole_and_in_order(self) -> None:
        self.backend.listen(self.channel)
        sent = numbers(10_000)

        for start in range(0, len(sent), 100):
            self.session.notify_all(self.channel, sent[start : start + 100])

        same(self.payloads(len(sent)), sent)
        self.nothing_arrives()

    def test_channels_keep_the_order_among_each_other(self) -> None:
        channels = ("a", "b", "c")
        for channel in channels:
            self.backend.listen(channel)

        for number in range(300):
            self.session.notify(channels[number % 3], str(number))

        same(
            [(each.channel, each.payload) for each in self.collect(300)],
            [(channels[number % 3], str(number)) for number in range(300)],
        )

    def test_a_burst_that_no_single_read_takes_arrives_whole(self) -> None:
        self.backend.listen(self.channel)
        sent = numbers(5_000, 100)

        self.session.notify_all(self.channel, sent)

        same(self.payloads(len(sent)), sent)
        self.nothing_arrives()

    def test_a_backlog_comes_in_parts_of_a_few_hundred(self) -> None:
        self.backend.listen(self.channel)
        sent = numbers(5_000, 100)
        self.begin(self.db)
        self.session.notify_all(self.channel, sent)
        self.commit(self.db)  # some drivers read all notifications together with the answer

        arrived: list[str] = []
        longest = 0
        while len(arrived) < len(sent):
            holds(self.backend.wait(self.patience), f"only {len(arrived)} of {len(sent)} notifications arrived")
            batch = self.backend.fetch()
            longest = max(longest, len(batch))
            arrived += [each.payload for each in batch]

        same(arrived, sent)
        holds(
            longest <= LONGEST_BATCH,
            f"fetch() returned {longest} notifications at once: it should return a few hundred at most",
        )

    def test_a_hundred_thousand_pending_do_not_fill_the_memory(self) -> None:
        self.backend.listen(self.channel)
        sent = numbers(_PENDING)
        self._drain_without_growing(sent)  # the first time, allocators and buffers grow to their size
        for _ in range(_DRAINS):  # a leak shows each time
            before = resident_bytes()
            self._drain_without_growing(sent)
            grown = resident_bytes() - before
            if grown < _MOST_BYTES_LEAKED:
                return
        holds(False, f"{grown:,} bytes of memory were not released")

    def _drain_without_growing(self, sent: list[str]) -> None:
        self.session.notify_all(self.channel, sent)
        before = most = resident_bytes()
        arrived = 0
        while arrived < len(sent):
            holds(self.backend.wait(self.patience), f"only {arrived} of {len(sent)} notifications arrived")
            arrived += len(self.backend.fetch())
            most = max(most, resident_bytes())
        holds(
            most - before < _MOST_BYTES_PENDING,
            f"memory grew by {most - before:,} bytes for {len(sent):,} small notifications",
        )

    @needs("sql")
    def test_what_comes_while_a_query_runs_is_all_there_afterwards(self) -> None:
        self.backend.listen(self.channel)
        sent = numbers(3_000, 100)
        sender = self.open_session_at(self.address)
        key = sender.pid  # a number that no other test uses at the same time
        lock = (
            "SELECT 1 FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory' "
            f"AND objid OPERATOR(pg_catalog.=) {key}::pg_catalog.oid"
        )

        def send_while_the_query_waits() -> None:
            sender.sql(f"SELECT pg_catalog.pg_advisory_lock({key})")
            try:
                self.until(lambda: sender.sql(f"{lock} AND NOT granted"), "the query does not wait for the lock")
                sender.notify_all(self.channel, sent)
            finally:
                sender.sql(f"SELECT pg_catalog.pg_advisory_unlock({key})")

        self.run(f"SET lock_timeout = {int(self.patience * 1_000)}")
        sending = self.in_background(send_while_the_query_waits)
        self.until(lambda: sending.ended or self.session.sql(f"{lock} AND granted"), "the sender did not get the lock")
        try:
            self.run(f"SELECT pg_catalog.pg_advisory_xact_lock({key})")
        finally:
            sending.join(self.patience, "the sender did not end")

        same(self.payloads(len(sent)), sent)

    @needs("sql")
    def test_queries_between_notifications_get_their_answers_and_lose_none(self) -> None:
        self.backend.listen(self.channel)
        self.run("SELECT 1")
        sent = [f"é{number}" for number in range(300)]
        sender = self.open_session_at(self.address)

        def send() -> None:
            for payload in sent:
                sender.notify(self.channel, payload)

        sending = self.in_background(send)
        arrived: list[str] = []
        for number in range(1_000_000):
            same(self.run(f"SELECT {number}"), [(number,)], "the answer to a query")
            arrived += [each.payload for each in self.backend.fetch()]
            if sending.ended and len(arrived) >= len(sent):
                break
            if sending.ended:
                sending.join(self.patience, "the sender did not end")
                holds(self.backend.wait(self.patience), f"only {len(arrived)} of {len(sent)} notifications arrived")

        same(arrived, sent)

    @needs("sql", "network")
    def test_a_notification_in_the_midst_of_an_answer_does_no_harm(self) -> None:
        connection = self.open_through_proxy()
        backend = self.backend_of(connection)
        backend.listen(self.channel)

        for number in range(5):
            self.proxy.say(notification_bytes(self.channel, f"日{number}".encode()))
            same(self.run(f"SELECT {number}", connection), [(number,)], "the answer to a query")

        same(self.payloads(5, backend), ["日0", "日1", "日2", "日3", "日4"])

    @needs("network")
    def test_a_notification_in_two_pieces_arrives_whole(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        whole = notification_bytes(self.channel, b"x" * 2_000)

        for size in (1, 7, 1_000):  # in the head, in the pid, in the payload
            self.proxy.say(whole[:size])
            backend.wait(0.1)
            fetching = self.in_background(lambda: self.payloads(2, backend))
            self.proxy.say(whole[size:] + notification_bytes(self.channel, b"next"))

            same(fetching.join(self.patience, "the notification did not arrive"), ["x" * 2_000, "next"])

    def _fetching_plain(self) -> FetchesPlain:
        if not isinstance(self.backend, FetchesPlain):
            raise not_applicable("the backend does not offer fetch_plain()")
        return self.backend
