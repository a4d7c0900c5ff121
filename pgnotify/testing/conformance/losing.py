"""The loss of the connection: every verb reports it, after the last notifications, and each time it is called."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from pgnotify.errors import ConnectionLost
from pgnotify.protocol import (
    Backend,
    ChecksHealth,
    FetchesInto,
    FetchesPlain,
    ListensMany,
    NotifiesMany,
    UnlistensMany,
)
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.conformance._resources import open_descriptors, used_again
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same, ways_to_fetch
from pgnotify.testing.conformance.kit import Kit
from pgnotify.testing.conformance.waiting import message

_FAREWELL = message(b"E", b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0")

_WORDS = 1_200


def verbs(backend: Backend) -> dict[str, Callable[[], object]]:
    """Return a call of each verb except close(), and of each further method that the backend offers."""
    offered: dict[str, Callable[[], object]] = {}
    if isinstance(backend, ListensMany):
        offered["listen_many()"] = lambda: backend.listen_many(["x", "y"])
    if isinstance(backend, UnlistensMany):
        offered["unlisten_many()"] = lambda: backend.unlisten_many(["x", "y"])
    if isinstance(backend, ChecksHealth):
        offered["check()"] = backend.check
    if isinstance(backend, NotifiesMany):
        offered["notify_many()"] = lambda: backend.notify_many([("x", "y")])
    offered |= ways_to_fetch(backend)
    offered |= {
        "wait(None)": lambda: backend.wait(None),
        "wait(0)": lambda: backend.wait(0),
        "listen()": lambda: backend.listen("x"),
        "unlisten()": lambda: backend.unlisten("x"),
        "notify()": lambda: backend.notify("x", "y"),
    }
    return offered


def statements(backend: Backend) -> list[str]:
    """Return the names of those verbs that ask the server."""
    return [verb for verb in verbs(backend) if not verb.startswith(("fetch", "wait"))]


class Losing(Kit):
    """The promises of the verbs about the loss of the connection."""

    promised_in = "Backend, Backend.close"

    def test_a_termination_ends_the_wait_and_is_a_loss_for_good(self) -> None:
        self.backend.listen(self.channel)
        pid = self.pid_of(self.db)

        losing = self.in_background(self.until_lost)
        losing.until_blocked(self.patience)
        self._terminate(pid)
        arrived, lost = losing.join(self.patience, "wait() did not return")

        same(arrived, [])
        self.has_a_cause("wait()", lost)
        self.is_lost_for_good()

    def test_a_termination_between_two_calls_is_told_by_wait(self) -> None:
        self._listen_and_terminate()

        self.until_lost()

        self.is_lost_for_good()

    def test_a_termination_between_two_calls_is_told_by_fetch(self) -> None:
        self._listen_and_terminate()

        self.until(lambda: _tells_a_loss(self.backend.fetch), "fetch() keeps returning [] on a dead connection")

        self.is_lost_for_good()

    def test_a_termination_between_two_calls_is_told_by_a_plain_fetch(self) -> None:
        if not isinstance(self.backend, FetchesPlain):
            raise not_applicable("the backend does not offer fetch_plain()")
        fetch = self.backend.fetch_plain
        self._listen_and_terminate()

        self.until(lambda: _tells_a_loss(fetch), "fetch_plain() keeps returning [] on a dead connection")

        self.is_lost_for_good()

    def test_a_termination_between_two_calls_is_told_by_a_fetch_into_a_queue(self) -> None:
        if not isinstance(self.backend, FetchesInto):
            raise not_applicable("the backend does not offer fetch_into()")
        fetch = ways_to_fetch(self.backend)["fetch_into()"]
        self._listen_and_terminate()

        self.until(lambda: _tells_a_loss(fetch), "fetch_into() keeps appending nothing on a dead connection")

        self.is_lost_for_good()

    def test_a_termination_between_two_calls_is_told_by_listen(self) -> None:
        self._listen_and_terminate()

        self.tells_a_loss("listen()")

        self.is_lost_for_good()

    def test_a_termination_between_two_calls_is_told_by_unlisten(self) -> None:
        self._listen_and_terminate()

        self.tells_a_loss("unlisten()")

        self.is_lost_for_good()

    def test_a_termination_between_two_calls_is_told_by_notify(self) -> None:
        self._listen_and_terminate()

        self.tells_a_loss("notify()")

        self.is_lost_for_good()

    def test_the_last_notifications_come_before_the_loss(self) -> None:
        self.backend.listen(self.channel)
        pid = self.pid_of(self.db)
        self.session.notify(self.channel, "last words")
        holds(self.backend.wait(self.patience), "the notification did not arrive")

        self._terminate(pid)

        arrived, _ = self.until_lost()
        same([each.payload for each in arrived], ["last words"])
        self.is_lost_for_good()

    def test_a_termination_while_fetching_leaves_no_hole_before_the_loss(self) -> None:
        self.backend.listen(self.channel)
        pid = self.pid_of(self.db)
        sent = [f"{number:x<200}" for number in range(20_000)]
        self.session.notify_all(self.channel, sent)
        arrived = self.collect(1)

        terminating = self.in_background(lambda: self._terminate(pid))
        rest, _ = self.until_lost()
        terminating.join(self.patience, "the connection was not terminated")

        arrived += rest
        same([each.payload for each in arrived], sent[: len(arrived)])
        self.is_lost_for_good()

    @needs("sql")
    def test_a_loss_that_a_query_met_comes_after_the_last_notifications(self) -> None:
        for way in ways_to_fetch(self.backend):
            connection = self.open()
            backend = self.backend_of(connection)
            backend.listen(self.channel)
            pid = self.pid_of(connection)
            backend.notify(self.channel, "last words")
            self._terminate(pid)
            with suppress(Exception):  # each driver has its own
                self.execute(connection, "SELECT 1")

            same([each.payload for each in ways_to_fetch(backend)[way]()], ["last words"], f"what {way} returned")

            self.is_lost_for_good(backend)

    @needs("network")
    def test_notifications_before_the_end_survive_a_statement_that_meets_it(self) -> None:
        self._survive_each_statement(self.proxy.fin)

    @needs("network")
    def test_notifications_before_a_reset_survive_a_statement_that_meets_it(self) -> None:
        self._survive_each_statement(self.proxy.reset)

    @needs("network")
    def test_notifications_before_a_farewell_survive_a_statement_that_meets_it(self) -> None:
        def terminate() -> None:
            self.proxy.say(_FAREWELL)
            self.proxy.fin()

        self._survive_each_statement(terminate)

    @needs("network")
    def test_notifications_survive_a_statement_that_nobody_answers_before_a_reset(self) -> None:
        for verb in statements(self.backend):
            backend = self._listening_through_proxy()
            self.proxy.swallow()
            unanswered = self.in_background(partial(self.tells_a_loss, verb, backend))
            unanswered.until_blocked(self.patience)

            words = self._say_words()
            self.proxy.reset()
            unanswered.join(self.patience, f"{verb} hangs on a dead connection")

            self._has_only(words, verb, backend)

    @needs("network")
    def test_a_long_farewell_is_handed_over_before_the_loss(self) -> None:
        self._hands_over_a_long_farewell()

    @needs("network", "sql")
    def test_a_long_farewell_is_handed_over_though_the_drivers_buffer_takes_the_end_along(self) -> None:
        self._hands_over_a_long_farewell(answer_before=1_000_000)

    @needs("network")
    def test_an_end_behind_other_news_is_told_by_the_first_fetch(self) -> None:
        backend = self._listening_through_proxy()
        self.proxy.say(_FAREWELL)
        self.proxy.fin()

        self.tells_a_loss("fetch()", backend)  # some drivers notice the end only when they look again

        self.is_lost_for_good(backend)

    @needs("network")
    def test_the_end_of_a_tcp_connection_is_a_loss(self) -> None:
        backend = self._listening_through_proxy()

        self.proxy.fin()

        same(self.until_lost(backend)[0], [])
        self.is_lost_for_good(backend)

    @needs("network")
    def test_the_reset_of_a_tcp_connection_is_a_loss(self) -> None:
        backend = self._listening_through_proxy()

        self.proxy.reset()

        same(self.until_lost(backend)[0], [])
        self.is_lost_for_good(backend)

    @needs("network")
    def test_the_end_of_a_tcp_connection_is_a_loss_to_the_first_listen_too(self) -> None:
        for end in (self.proxy.fin, self.proxy.reset):
            backend = self.backend_of(self.open_through_proxy())
            end()

            self.tells_a_loss("listen()", backend)

            self.is_lost_for_good(backend)

    @needs("network")
    def test_an_end_in_the_midst_of_a_notification_is_a_loss(self) -> None:
        backend = self._listening_through_proxy()
        whole, cut = (notification_bytes(self.channel, payload) for payload in (b"whole", b"never whole"))
        self.proxy.say(whole + cut[:-3])
        self.proxy.fin()

        arrived, _ = self.until_lost(backend)

        same([each.payload for each in arrived], ["whole"])
        self.is_lost_for_good(backend)

    def test_a_closed_connection_is_a_lost_one(self) -> None:
        self.backend.listen(self.channel)

        self.backend.close()

        self.is_lost_for_good()

    def test_a_connection_that_the_user_has_closed_is_a_lost_one(self) -> None:
        self.backend.listen(self.channel)

        self.close(self.db)

        self.is_lost_for_good()

    def test_closing_ends_the_session_on_the_server(self) -> None:
        self.backend.listen(self.channel)
        pid = self.pid_of(self.db)

        self.backend.close()

        self.until_state(pid, None)

    def test_closing_twice_is_closing_once(self) -> None:
        self.backend.listen(self.channel)

        self.backend.close()
        self.backend.close()

    def test_closing_after_the_user_did_is_possible(self) -> None:
        self.backend.listen(self.channel)
        self.close(self.db)

        self.backend.close()

    def test_a_dead_connection_can_be_closed_whether_it_is_known_or_not(self) -> None:
        for known in (False, True):
            connection = self.open()
            backend = self.backend_of(connection)
            backend.listen(self.channel)
            self.terminate(connection)
            if known:
                self.until_lost(backend)

            backend.close()
            backend.close()

    def test_closing_inside_a_transaction_is_possible(self) -> None:
        self.backend.listen(self.channel)
        pid = self.pid_of(self.db)
        self.begin(self.db)

        self.backend.close()

        self.until_state(pid, None)

    def test_a_descriptor_of_a_closed_connection_that_others_use_is_not_taken_for_it(self) -> None:
        self._is_lost_though_its_descriptor_lives_on(lambda: self.backend.close())

    def test_a_descriptor_of_a_connection_that_the_user_closed_is_not_taken_for_it(self) -> None:
        self._is_lost_though_its_descriptor_lives_on(lambda: self.close(self.db))

    def test_a_descriptor_of_a_terminated_connection_that_others_use_is_not_taken_for_it(self) -> None:
        def terminate() -> None:
            self.terminate(self.db)
            self.until_lost()

        self._is_lost_though_its_descriptor_lives_on(terminate)

    # How a loss is reported.

    def is_lost_for_good(self, backend: Backend | None = None) -> None:
        """Fail unless each verb raises ConnectionLost, more than once, with the driver's error as its cause."""
        backend = backend or self.backend
        for _ in range(2):
            for verb in verbs(backend):
                self.tells_a_loss(verb, backend)

    def tells_a_loss(self, verb: str, backend: Backend | None = None) -> None:
        """Fail unless a verb raises a ConnectionLost with a cause."""
        call = self.in_background(verbs(backend or self.backend)[verb])
        try:
            result = call.join(self.patience, f"{verb} hangs on a dead connection")
        except ConnectionLost as lost:
            return self.has_a_cause(verb, lost)
        raise AssertionError(f"{verb} returned {result!r} on a dead connection: it must raise ConnectionLost")

    def has_a_cause(self, verb: str, lost: ConnectionLost) -> None:
        """Fail unless the cause of the loss is the driver's error."""
        cause = lost.__cause__
        holds(
            cause is not None, f"{verb} raised a ConnectionLost without a __cause__, which should be the driver's error"
        )
        holds(
            not isinstance(cause, ConnectionLost),
            f"{verb} raised a ConnectionLost whose __cause__ is not the driver's error: {cause!r}",
        )

    def _terminate(self, pid: int) -> None:
        """End the connection with this process id; to ask the connection for it would be another query on it."""
        self.session.terminate(pid)

    def _listen_and_terminate(self) -> None:
        self.backend.listen(self.channel)
        self.terminate(self.db)

    def _listening_through_proxy(self) -> Backend:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        return backend

    def _survive_each_statement(self, end: Callable[[], None]) -> None:
        for verb in statements(self.backend):
            backend = self._listening_through_proxy()
            words = self._say_words()
            end()

            self.tells_a_loss(verb, backend)

            self._has_only(words, verb, backend)

    def _say_words(self) -> list[str]:
        """Send more notifications than one fetch() returns, and more bytes than a driver reads at once."""
        words = [f"word {number}" for number in range(_WORDS)]
        self.proxy.say(b"".join(notification_bytes(self.channel, word.encode()) for word in words))
        return words

    def _has_only(self, words: list[str], verb: str, backend: Backend) -> None:
        """Fail unless fetch() returns these payloads and then raises ConnectionLost, without any wait()."""
        arrived: list[str] = []
        with suppress(ConnectionLost):
            while len(arrived) <= len(words) and (batch := backend.fetch()):
                arrived += [each.payload for each in batch]
        same(arrived, words, f"the notifications that had arrived before {verb} failed")
        self.is_lost_for_good(backend)

    def _hands_over_a_long_farewell(self, answer_before: int = 0) -> None:
        connection = self.open_through_proxy()
        backend = self.backend_of(connection)
        channel = "w"  # short: a system keeps all of it for a client that does not read, and the end as well
        backend.listen(channel)
        if answer_before:  # the driver's buffer grows with the answer, and can then read the end of the connection too
            self.run(f"SELECT pg_catalog.repeat('x', {answer_before})", connection)
        words = [f"word {number}" for number in range(3_000)]

        self.proxy.say(b"".join(notification_bytes(channel, word.encode()) for word in words))
        self.proxy.fin()
        arrived, lost = self.until_lost(backend)

        same([each.payload for each in arrived], words)
        self.has_a_cause("fetch()", lost)
        self.is_lost_for_good(backend)

    def _is_lost_though_its_descriptor_lives_on(self, end: Callable[[], object]) -> None:
        self.backend.listen(self.channel)
        before = open_descriptors()
        end()
        self.settle()

        closed = before - open_descriptors()
        if not closed:
            raise not_applicable("the driver did not close a descriptor")
        with used_again(closed):
            self.is_lost_for_good()
            self.backend.close()


def _tells_a_loss(fetch: Callable[[], object]) -> bool:
    try:
        same(fetch(), [])
    except ConnectionLost:
        return True
    return False
