"""fetch_plain(), fetch_into() and fetch_whole(), if offered, beside fetch(): the same notifications in each way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pgnotify.notification import Notification, Plain
from pgnotify.protocol import ChecksHealth, FetchesPlain, FetchesWhole
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same, takes_less, ways_to_fetch
from pgnotify.testing.conformance.fetching import LONGEST_BATCH, TOO_LATE_SECONDS, numbers
from pgnotify.testing.conformance.kit import Kit


class FetchingWays(Kit):
    """The promises of fetch() about a batch as a whole, which hold in each way to fetch."""

    promised_in = "Backend.fetch, FetchesPlain, FetchesInto, FetchesWhole"

    def test_each_of_a_batch_names_its_own_sender(self) -> None:
        own = self.pid_of(self.db)
        other = self.open_session_at(self.address)
        self.backend.listen(self.channel)
        expected = [
            Notification(self.channel, payload, pid)
            for payload, pid in (("1", self.session.pid), ("2", other.pid), ("3", self.session.pid), ("4", own))
        ]

        for way, fetch in ways_to_fetch(self.backend).items():
            self.begin(self.db)  # all of them arrive when it ends
            self.backend.notify(self.channel, "4")
            self.session.notify(self.channel, "1")
            other.notify(self.channel, "2")
            self.session.notify(self.channel, "3")
            self.commit(self.db)

            same(self.collect(4, fetch=fetch), expected, f"what {way} returned of three senders")

    def test_the_ways_to_fetch_take_parts_of_one_queue(self) -> None:
        self.backend.listen(self.channel)
        sent = numbers(6_000)
        self.begin(self.db)
        self.session.notify_all(self.channel, sent)
        self.commit(self.db)
        ways = ways_to_fetch(self.backend)
        arrived: list[str] = []

        while len(arrived) < len(sent):
            before = len(arrived)
            for way, fetch in ways.items():
                part = fetch()
                holds(
                    len(part) <= LONGEST_BATCH,
                    f"{way} returned {len(part)} notifications at once: it should return a few hundred at most",
                )
                arrived += [each.payload for each in part]
            holds(
                len(arrived) > before or self.backend.wait(self.patience),
                f"{before} of {len(sent)} notifications arrived: {', '.join(ways)} must not read ahead for themselves",
            )

        same(arrived, sent, f"what {', '.join(ways)} returned in turn")
        self.nothing_arrives()

    def test_no_way_to_fetch_waits_for_what_has_not_begun_to_arrive(self) -> None:
        self.backend.listen(self.channel)

        for way, fetch in ways_to_fetch(self.backend).items():
            self._returns_nothing_at_once(way, fetch)

    @needs("network")
    def test_a_fetch_of_whole_messages_leaves_one_that_has_not_arrived_in_full(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        if not isinstance(backend, FetchesWhole):
            raise not_applicable("the backend does not offer fetch_whole()")
        whole = backend.fetch_whole
        backend.listen(self.channel)
        message = notification_bytes(self.channel, b"in two pieces")
        queue: deque[Plain] = deque()
        self.proxy.say(message[:-3])
        backend.wait(0.1)

        fetching = self.in_background(lambda: whole(queue))

        fetching.join(self.patience, "fetch_whole() waits for the rest of a message")
        same([*queue], [])
        self.proxy.say(message[-3:])
        self.until(lambda: not whole(queue) and queue, "fetch_whole() has not appended the message that has arrived")
        same([payload for _, payload, _ in queue], ["in two pieces"])

    def test_what_was_fetched_plainly_does_not_change_any_more(self) -> None:
        if not isinstance(self.backend, FetchesPlain):
            raise not_applicable("the backend does not offer fetch_plain()")
        self.backend.listen(self.channel)
        self.backend.notify(self.channel, "1")
        self.until(lambda: self.backend.wait(0), "wait(0) keeps returning False though a notification was sent")
        fetched = self.backend.fetch_plain()
        before = list(fetched)

        self.backend.notify(self.channel, "2")
        self.collect(1, fetch=ways_to_fetch(self.backend)["fetch_plain()"])

        same(list(fetched), before, "what fetch_plain() had returned, after the next call of it")

    def test_each_way_to_fetch_works_inside_a_transaction(self) -> None:
        self.backend.listen(self.channel)

        for way, fetch in ways_to_fetch(self.backend).items():
            self.backend.notify(self.channel, "before")
            self.begin(self.db)
            self.session.notify(self.channel, "during")
            same([each.payload for each in fetch()], ["before"], f"{way} inside a transaction")
            same(fetch(), [], f"{way} inside a transaction, after everything that came before it was fetched")
            self.rollback(self.db)
            same([each.payload for each in self.collect(1, fetch=fetch)], ["during"])

    def test_an_empty_fetch_means_that_there_are_no_more(self) -> None:
        sent = numbers(3_000)
        self.backend.listen(self.channel)
        self.session.notify_all(self.channel, sent)
        if not isinstance(self.backend, ChecksHealth):
            raise not_applicable("the backend does not offer check(), after which everything has arrived")

        self.backend.check()

        arrived: list[str] = []
        while part := self.backend.fetch():
            arrived += [each.payload for each in part]
        same(arrived, sent, "what fetch() returned before it returned an empty list")

    def test_ones_own_and_those_of_others_arrive_in_the_order_of_sending(self) -> None:
        self.backend.listen(self.channel)

        for turn in range(3):
            self.session.notify(self.channel, f"other's {turn}")
            self.backend.notify(self.channel, f"own {turn}")
        self.session.notify(self.channel, "last")
        self.backend.unlisten("unknown")  # on return, all of them have arrived

        same(self.payloads(7), ["other's 0", "own 0", "other's 1", "own 1", "other's 2", "own 2", "last"])

    def _returns_nothing_at_once(self, way: str, fetch: Callable[[], object]) -> None:
        def fetch_nothing() -> None:
            same(fetch(), [], way)

        waits = f"{way} waited, though nothing had begun to arrive"
        fetching = self.in_background(lambda: takes_less(fetch_nothing, TOO_LATE_SECONDS, waits))
        fetching.join(self.patience, f"{way} did not return")
