"""wait(): for exactly the time given, at no cost, and over at once when there is something to fetch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from pgnotify.notification import Notification
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.conformance._resources import cost_of
from pgnotify.testing.conformance._tools import collect, holds, needs, same, takes_less
from pgnotify.testing.conformance.kit import Kit

_SECONDS = 0.1
_TOO_LATE_SECONDS = 0.3
_AT_ONCE_SECONDS = 2
_MOST_PROCESSOR_SECONDS = 0.02
_MOST_WAKES = 40  # one is enough; a loop in another thread may wake too
_NOTICE = b"SNOTICE\0VNOTICE\0C00000\0Mfor your information\0\0"
_PARAMETER = b"application_name\0news\0"


def message(code: bytes, body: bytes) -> bytes:
    """Return the bytes of a message of PostgreSQL's protocol."""
    return code + (4 + len(body)).to_bytes(4, "big") + body


class Waiting(Kit):
    """The promises of wait()."""

    def test_a_wait_of_no_time_only_looks(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()

        takes_less(lambda: same(self.backend.wait(0), False), _TOO_LATE_SECONDS, "wait(0) waited")

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
            backend.wait(0.1)
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
        arrived = collect(self.backend, 1, patience=min(self.patience, _AT_ONCE_SECONDS))
        same([each.payload for each in arrived], [payload])
