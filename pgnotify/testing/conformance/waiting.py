"""wait(): for exactly the time given, at no cost, and over at once when there is something to fetch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import closing

from pgnotify.notification import Notification
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.conformance._resources import cost_of
from pgnotify.testing.conformance._tools import collect, holds, needs, same, takes_less
from pgnotify.testing.conformance.kit import Kit
from pgnotify.waiting import Wakeup

_SECONDS = 0.1
_TOO_LATE_SECONDS = 0.3
_AT_ONCE_SECONDS = 2
_SHORT_SECONDS = 0.0004  # less than half a millisecond, in which poll() counts
_SHORT_WAITS = 20
_MOST_PROCESSOR_SECONDS = 0.01
_MOST_WAKES = 20  # one is enough; a loop in another thread may wake too
_NOTICE = b"SNOTICE\0VNOTICE\0C00000\0Mfor your information\0\0"
_PARAMETER = b"application_name\0news\0"


def message(code: bytes, body: bytes) -> bytes:
    """Return the bytes of a message of PostgreSQL's protocol."""
    return code + (4 + len(body)).to_bytes(4, "big") + body


class Waiting(Kit):
    """The promises of wait()."""

    promised_in = "Backend.wait"

    def test_a_wait_of_no_time_only_looks(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()

        self._ends_in_time(0)

    def test_the_shortest_waits_end_and_are_no_looks(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()
        for seconds in (5e-324, 1e-9, _SHORT_SECONDS):
            self._ends_in_time(seconds)
        begun = time.monotonic()

        for _ in range(_SHORT_WAITS):
            same(self.backend.wait(_SHORT_SECONDS), False)

        taken = time.monotonic() - begun
        holds(
            taken > _SHORT_WAITS * _SHORT_SECONDS / 2,
            f"{_SHORT_WAITS} calls of wait({_SHORT_SECONDS}) took {taken:.4f} seconds in all: do not round down to a "
            "look, which makes a caller's loop busy",
        )

    def test_a_wait_of_a_fraction_of_a_second_is_no_shorter(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()
        begun = time.monotonic()

        same(self.backend.wait(_SECONDS), False)

        # poll() counts whole milliseconds
        holds(time.monotonic() - begun > _SECONDS - 0.002, f"wait({_SECONDS}) returned too early")

    def test_a_wait_of_a_fraction_of_a_second_does_not_time_out_late(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()

        takes_less(
            lambda: same(self.backend.wait(_SECONDS), False),
            _SECONDS + _TOO_LATE_SECONDS,
            f"wait({_SECONDS}) returned too late",
        )

    def test_a_wait_is_idle_and_costs_no_processor_time(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()

        seconds, wakes = cost_of(lambda: same(self.backend.wait(_SECONDS), False))

        holds(seconds < _MOST_PROCESSOR_SECONDS, f"wait({_SECONDS}) used {seconds:.2f} seconds of processor time")
        holds(wakes < _MOST_WAKES, f"wait({_SECONDS}) woke {wakes} times: it polls instead of sleeping")

    def test_a_notification_ends_a_wait_without_end(self) -> None:
        self.backend.listen(self.channel)

        self._ends_a_wait_without_end(lambda: self.session.notify(self.channel, "now"))

        same(self.payloads(1), ["now"])

    def test_the_wakeup_descriptor_ends_a_wait_without_end(self) -> None:
        self.backend.listen(self.channel)

        self._ends_a_wait_without_end(self.wakeup.wake)

        same(self.backend.fetch(), [])

    def test_a_wakeup_that_came_before_the_wait_ends_it_too(self) -> None:
        self.backend.listen(self.channel)
        self.wakeup.wake()

        self._ends_a_wait_without_end(lambda: None)
        self.wakeup.clear()

        self.nothing_arrives()
        same(self.backend.wait(0, self.wakeup.fileno()), False)

    def test_a_wakeup_ends_each_wait_until_it_is_cleared(self) -> None:
        self.backend.listen(self.channel)
        self.wakeup.wake()

        for _ in range(3):
            self._ends_a_wait(100 * self.patience, lambda: None)

        holds(
            self.wakeup.clear(), "wait() has read from the wakeup descriptor: its caller does, to see that it was woken"
        )

    def test_a_look_sees_the_wakeup_descriptor_too(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()

        self.wakeup.wake()

        same(self.backend.wait(0, self.wakeup.fileno()), True, "wait(0, wakeup), where wakeup is readable")

    def test_each_wait_may_have_another_wakeup_descriptor(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()
        first = self.wakeup
        self._ends_a_wait(100 * self.patience, first.wake)
        first.clear()

        with closing(Wakeup()) as self.wakeup:
            self._ends_a_wait(100 * self.patience, self.wakeup.wake)
            first.close()  # its number may be used by others from now on
            self._ends_a_wait(100 * self.patience, lambda: None)

        same(self.backend.wait(0.01), False, "wait() without a wakeup")

    def test_a_wakeup_and_a_notification_at_once_are_both_told(self) -> None:
        self.backend.listen(self.channel)
        self.session.notify(self.channel, "with the wakeup")
        self.until(lambda: self.backend.wait(0), "wait(0) keeps returning False though a notification was sent")
        self.wakeup.wake()

        same(self.backend.wait(self.patience, self.wakeup.fileno()), True)

        holds(self.wakeup.clear(), "wait() has read from the wakeup descriptor")
        same(self.payloads(1), ["with the wakeup"])

    def test_a_wait_returns_true_until_everything_is_fetched(self) -> None:
        self.backend.listen(self.channel)
        self.session.notify(self.channel, "there")

        for seconds in (self.patience, 0, self.patience):
            self.until(
                lambda seconds=seconds: self.backend.wait(seconds),  # type: ignore[misc]
                f"wait({seconds:g}) returned False though a notification was not fetched yet",
            )

        same(self.payloads(1), ["there"])

    def test_a_notification_ends_a_wait_that_has_an_end(self) -> None:
        self.backend.listen(self.channel)

        self._ends_a_wait(100 * self.patience, lambda: self.session.notify(self.channel, "now"))

        same(self.payloads(1), ["now"])

    def test_the_wakeup_descriptor_ends_a_wait_that_has_an_end(self) -> None:
        self.backend.listen(self.channel)

        self._ends_a_wait(100 * self.patience, self.wakeup.wake)

    def test_a_wait_of_no_time_sees_what_has_arrived(self) -> None:
        self.backend.listen(self.channel)

        self.session.notify(self.channel, "there")

        self.until(lambda: self.backend.wait(0), "wait(0) keeps returning False though a notification was sent")
        same(self.payloads(1), ["there"])

    def test_a_wait_of_years_or_of_infinity_is_possible(self) -> None:
        self.backend.listen(self.channel)
        self.wakeup.wake()

        for seconds in (1e12, math.inf):
            self.backend.wait(seconds, self.wakeup.fileno())

    def test_a_wait_may_be_a_connections_first_use(self) -> None:
        self.nothing_arrives()

    # The socket is not readable: the driver has already read the notification into its buffer.

    def test_a_notification_to_oneself_is_there_though_the_socket_is_silent(self) -> None:
        self.backend.listen(self.channel)

        self.backend.notify(self.channel, "to myself")

        self._is_there_at_once("to myself")

    def test_what_came_along_with_a_listen_is_there_though_the_socket_is_silent(self) -> None:
        self.backend.listen(self.channel)
        self.session.notify(self.channel, "in the meantime")

        self.backend.listen("other")

        self._is_there_at_once("in the meantime")

    def test_what_came_along_with_the_users_query_is_there_though_the_socket_is_silent(self) -> None:
        self.backend.listen(self.channel)
        self.begin(self.db)
        self.session.notify(self.channel, "while you were busy")
        self.commit(self.db)

        self._is_there_at_once("while you were busy")

    @needs("network")
    def test_what_came_behind_an_answer_in_one_piece_is_there_though_the_socket_is_silent(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        self.proxy.append(notification_bytes(self.channel, b"behind"))

        backend.unlisten("whatever")  # one statement, one answer

        arrived = collect(backend, 1, patience=min(self.patience, _AT_ONCE_SECONDS))
        same(arrived, [Notification(self.channel, "behind", 4711)])  # the proxy's own pid

    @needs("network")
    def test_a_notice_or_a_changed_parameter_is_a_false_alarm_at_most(self) -> None:
        connection = self.open_through_proxy()
        backend = self.backend_of(connection)
        backend.listen(self.channel)

        for news in (message(b"N", _NOTICE), message(b"S", _PARAMETER)):
            self.proxy.say(news)
            begun = time.monotonic()
            holds(
                backend.wait(_SECONDS) or time.monotonic() - begun > _SECONDS - 0.002,
                f"wait({_SECONDS}) returned False before that time had passed: True is right for a false alarm",
            )
            same(backend.fetch(), [], "fetch() after a message that is not a notification")
            self.nothing_arrives(backend)

            self.proxy.say(news + notification_bytes(self.channel, b"behind them"))
            same(self.payloads(1, backend), ["behind them"])

    @needs("network")
    def test_silence_of_the_network_is_no_loss(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        self.proxy.freeze()
        self.session.notify(self.channel, "held back")
        self.nothing_arrives(backend)

        self.proxy.thaw()

        same(self.payloads(1, backend), ["held back"])

    @needs("network")
    def test_neither_a_wait_nor_a_fetch_asks_the_server(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        self.proxy.freeze()
        self._at_end.callback(self.proxy.thaw)  # some drivers ask the server when they close

        for call, returned in ((lambda: backend.wait(0.01), False), (backend.fetch, [])):
            calling = self.in_background(call)
            answer = calling.join(self.patience, "wait() or fetch() asks the server, and waits for its answer")
            same(answer, returned, "where the server is silent")

    def _ends_a_wait_without_end(self, what: Callable[[], object]) -> None:
        self._ends_a_wait(None, what)

    def _ends_a_wait(self, seconds: float | None, what: Callable[[], object]) -> None:
        self.nothing_arrives()
        waiting = self.in_background(lambda: self.backend.wait(seconds, self.wakeup.fileno()))
        waiting.until_blocked(self.patience)
        what()
        ended = waiting.join(self.patience, f"wait({seconds}) did not return")
        same(ended, True, f"wait({seconds}), which was ended early")

    def _is_there_at_once(self, payload: str) -> None:
        """Fail unless the notification arrives at once: as the network brings nothing more, later would be never."""
        buffered = "though a notification is in the driver's buffer: look there before you wait for the socket"
        same(self.backend.wait(0), True, f"wait(0), {buffered}")
        waits = f"wait({self.patience:g}) waited, {buffered}"
        takes_less(lambda: same(self.backend.wait(self.patience), True, waits), _TOO_LATE_SECONDS, waits)
        same([each.payload for each in self.backend.fetch()], [payload])

    def _ends_in_time(self, seconds: float) -> None:
        """Fail unless a wait without news returns False in time."""
        waits = f"wait({seconds}) waited"
        waiting = self.in_background(
            lambda: takes_less(lambda: same(self.backend.wait(seconds), False, waits), _TOO_LATE_SECONDS, waits)
        )
        waiting.join(self.patience, f"wait({seconds}) did not return")
