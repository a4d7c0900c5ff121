"""notify(): sent on return, or when the user commits; with exactly the text that was given."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from pgnotify.connection import Connection
from pgnotify.errors import PayloadError
from pgnotify.notification import Notification
from pgnotify.protocol import Backend, NotifiesMany
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same
from pgnotify.testing.conformance.kit import Kit
from pgnotify.testing.nasty import BAD_PAYLOADS, GOOD_CHANNELS, GOOD_PAYLOADS

_MORE_THAN_PARAMETERS = 33_000  # pairs: the protocol counts the parameters of a statement in 16 bits


class Sending(Kit):
    """The promises of notify() and notify_many()."""

    promised_in = "Backend.notify, NotifiesMany"

    @cached_property
    def receiver(self) -> Backend:
        """Another connection of the driver, which receives the notifications of the first one."""
        return self.backend_of(self.open())

    def test_a_notification_is_sent_on_return(self) -> None:
        pid = self.pid_of(self.db)
        self.receiver.listen(self.channel)

        self.backend.notify(self.channel, "sent")
        self.backend.notify(self.channel)

        same(
            self.collect(2, self.receiver),
            [Notification(self.channel, "sent", pid), Notification(self.channel, "", pid)],
        )

    def test_a_payload_may_have_anything_in_it_that_text_can(self) -> None:
        self.receiver.listen(self.channel)

        for payload in GOOD_PAYLOADS:
            self.backend.notify(self.channel, payload)

        same(self.payloads(len(GOOD_PAYLOADS), self.receiver), list(GOOD_PAYLOADS))

    def test_a_payload_of_7999_bytes_is_not_cut(self) -> None:
        self.receiver.listen(self.channel)
        longest = ["x" * 7_999, "é" * 3_999 + "x", "日" * 2_666 + "x", "x" + "é" * 3_999, "xyz" + "😀" * 1_999]

        for payload in longest:
            self.backend.notify(self.channel, payload)
            self.session.notify(self.channel, payload)

        same(self.payloads(10, self.receiver), [payload for payload in longest for _ in range(2)])

    def test_a_payload_that_postgresql_would_cut_is_refused_before_anything_is_sent(self) -> None:
        connection = Connection(self.db, self.backend)
        self.receiver.listen(self.channel)

        for payload in BAD_PAYLOADS:
            try:
                connection.notify(self.channel, payload)
            except PayloadError:
                continue
            holds(False, f"notify() accepted the payload {payload[:40]!r}, which has {len(payload)} characters")

        self.nothing_arrives(self.receiver)

    def test_a_name_may_have_anything_in_it_when_it_is_notified_too(self) -> None:
        for name in GOOD_CHANNELS:
            self.backend.listen(name)

        for name in GOOD_CHANNELS:
            self.backend.notify(name)

        same([each.channel for each in self.collect(len(GOOD_CHANNELS))], list(GOOD_CHANNELS))

    def test_a_payload_cannot_become_a_part_of_the_statement(self) -> None:
        self.receiver.listen(self.channel)
        self.receiver.listen("injected")
        injections = ("'); NOTIFY injected; --", "'), pg_notify('injected', '", "\\'); NOTIFY injected; --")

        for payload in injections:
            self.backend.notify(self.channel, payload)

        same(self.payloads(len(injections), self.receiver), list(injections))
        self.nothing_arrives(self.receiver)

    def test_equal_ones_of_one_transaction_arrive_once_and_of_two_twice(self) -> None:
        self.receiver.listen(self.channel)
        self.begin(self.db)
        for payload in ("a", "b", "a"):
            self.backend.notify(self.channel, payload)
        self.commit(self.db)
        for _ in range(2):
            self.backend.notify(self.channel, "a")

        same(self.payloads(4, self.receiver), ["a", "b", "a", "a"])
        self.nothing_arrives(self.receiver)

    def test_in_a_transaction_of_the_users_it_is_sent_when_they_commit(self) -> None:
        self.receiver.listen(self.channel)
        self.begin(self.db)
        self.backend.notify(self.channel, "in it")
        self.session.notify(self.channel, "meanwhile")
        same(self.payloads(1, self.receiver), ["meanwhile"], "before the user commits")

        self.commit(self.db)

        same(self.payloads(1, self.receiver), ["in it"])

    def test_in_a_transaction_that_is_rolled_back_it_is_not_sent(self) -> None:
        self.receiver.listen(self.channel)
        self.begin(self.db)
        self.backend.notify(self.channel, "in it")

        self.rollback(self.db)
        self.session.notify(self.channel, "afterwards")

        same(self.payloads(1, self.receiver), ["afterwards"])

    def test_many_are_sent_in_order(self) -> None:
        many = self._many()
        self.receiver.listen(self.channel)
        self.receiver.listen("other")

        many.notify_many([(self.channel, payload) for payload in GOOD_PAYLOADS] + [("other", "last")])

        same(self.payloads(len(GOOD_PAYLOADS) + 1, self.receiver), [*GOOD_PAYLOADS, "last"])

    def test_many_in_a_transaction_of_the_users_are_sent_when_they_commit(self) -> None:
        many = self._many()
        self.receiver.listen(self.channel)
        self.begin(self.db)
        many.notify_many([(self.channel, "a"), (self.channel, "b")])
        self.session.notify(self.channel, "meanwhile")

        self.commit(self.db)

        same(self.payloads(3, self.receiver), ["meanwhile", "a", "b"])

    def test_many_of_a_transaction_that_is_rolled_back_are_not_sent(self) -> None:
        many = self._many()
        self.receiver.listen(self.channel)
        self.begin(self.db)
        many.notify_many([(self.channel, "a"), (self.channel, "b")])

        self.rollback(self.db)
        self.session.notify(self.channel, "afterwards")

        same(self.payloads(1, self.receiver), ["afterwards"])

    @needs("network")
    def test_many_are_sent_in_one_round_trip(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        many = _many_of(backend)
        many.notify_many([(self.channel, "first")])  # some drivers prepare a statement the first time
        self.proxy.record()

        many.notify_many([(self.channel, str(number)) for number in range(100)])

        same(self.proxy.answers, 1, "round trips of notify_many()")

    @needs("sql")
    def test_the_connection_is_idle_after_many_were_sent(self) -> None:
        pid = self.pid_of(self.db)

        self._many().notify_many([(self.channel, "a"), (self.channel, "b")])

        self.until_state(pid, "idle")

    @needs("sql", "implicit_transactions")
    def test_not_in_autocommit_mode_many_are_sent_in_a_transaction_of_their_own(self) -> None:
        self.without_autocommit()
        self.receiver.listen(self.channel)

        self._many().notify_many([(self.channel, "a"), (self.channel, "b")])

        same(self.payloads(2, self.receiver), ["a", "b"])
        self.opens_transactions_as_before("notify_many()")

    def test_what_comes_along_with_a_notify_is_there_though_the_socket_is_silent(self) -> None:
        self.backend.listen(self.channel)

        notifying: dict[str, Callable[[], None]] = {"notify()": lambda: self.backend.notify("other", "own")}
        if isinstance(self.backend, NotifiesMany):
            notifying["notify_many()"] = lambda: self._many().notify_many([("other", "own")])
        for verb, notify in notifying.items():
            self.session.notify(self.channel, "along")
            notify()
            same(self.backend.wait(0), True, f"wait(0) after a notification that came along with {verb}")
            same([each.payload for each in self.backend.fetch()], ["along"], f"the one that came along with {verb}")

    def test_more_can_be_sent_than_a_statement_has_parameters(self) -> None:
        many = self._many()
        self.receiver.listen(self.channel)
        sent = [str(number) for number in range(_MORE_THAN_PARAMETERS)]

        many.notify_many((self.channel, payload) for payload in sent)

        same(self.payloads(len(sent), self.receiver), sent)

    def test_many_of_which_one_is_refused_are_not_sent_at_all(self) -> None:
        many = self._many()
        self.receiver.listen(self.channel)

        try:
            many.notify_many([(self.channel, "good"), (self.channel, "x" * 8_000)])
        except Exception:  # the driver's own error
            self.backend.notify(self.channel, "next")
        else:
            holds(False, "notify_many() did not raise the server's error")

        same(self.payloads(1, self.receiver), ["next"])

    def test_none_of_many_is_no_error(self) -> None:
        self._many().notify_many([])

        self.backend.notify(self.channel)

    def _many(self) -> NotifiesMany:
        return _many_of(self.backend)


def _many_of(backend: Backend) -> NotifiesMany:
    if not isinstance(backend, NotifiesMany):
        raise not_applicable("the backend does not offer notify_many()")
    return backend
