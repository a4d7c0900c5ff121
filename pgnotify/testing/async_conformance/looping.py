"""The event loop: no call holds it up, what runs on it belongs to it, and a wait on it ends with the connection."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from pgnotify.protocol import Backend
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.async_conformance.kit import AsyncKit, view_of
from pgnotify.testing.conformance._tools import holds, needs, same

_PLAIN = ("fetch", "fetch_plain", "fileno")


class Looping(AsyncKit):
    """The promises of the coroutines about the event loop, and of wait() about the end of the connection."""

    promised_in = "AsyncBackend, AsyncBackend.wait, AsyncWakeup"

    def test_what_asks_the_server_is_awaited_and_what_fetches_is_not(self) -> None:
        self.backend.listen(self.channel)

        holds(self.asking(self.backend), "there is something to ask")  # fails by itself for what cannot be awaited
        for name in _PLAIN:
            if hasattr(type(self.backend), name):
                view_of(self.backend).plain(name)

    @needs("network")
    def test_no_call_holds_up_the_loop_while_the_server_does_not_answer(self) -> None:
        backend = self._listening_through_a_proxy()
        for name, call in self.asking(backend).items():
            self._does_not_hold_up_the_loop(name, call)
        self._does_not_hold_up_the_loop("wait(None)", self.waiting_on(backend), self._bring_news)
        for verb in ("end", "close"):
            backend = self._listening_through_a_proxy()
            if hasattr(type(backend), verb):
                self._does_not_hold_up_the_loop(f"{verb}()", self.call(backend, verb))

    @needs("network")
    def test_a_fetch_leaves_a_message_that_has_not_arrived_in_full(self) -> None:
        backend = self._listening_through_a_proxy()
        whole = notification_bytes(self.channel, b"in two pieces")
        self.proxy.say(whole[:-3])
        backend.wait(0.1)

        fetching = self.start(view_of(backend).asynchronous.fetch)
        turns = self.loop.takes_turns(self.patience)
        self.proxy.say(whole[-3:])

        holds(turns, "fetch() waited for the rest of a message, and held up the loop: wait() is to wait for it")
        first = fetching.join(self.patience, "fetch() did not return")
        arrived = [each.payload for each in first] or self.payloads(1, backend)
        same(arrived, ["in two pieces"])

    def test_a_wait_under_way_returns_true_when_the_server_ends_the_connection(self) -> None:
        self.backend.listen(self.channel)
        pid = self.pid_of(self.db)

        self._ends_the_wait(self.backend, lambda: self.session.terminate(pid))

    @needs("network")
    def test_a_wait_under_way_returns_true_when_the_network_ends_the_connection(self) -> None:
        for end in (self.proxy.fin, self.proxy.reset):
            self._ends_the_wait(self._listening_through_a_proxy(), end)

    def test_a_wakeup_is_woken_in_the_loops_thread_only(self) -> None:
        self.backend.listen(self.channel)
        for number in range(5):
            self.nothing_arrives()
            waiting = self.start(self.waiting_on(self.backend))
            self.loop.takes_turns(self.patience)

            self.session.notify(self.channel, str(number))

            waiting.join(self.patience, "wait(None) did not return")  # notices calls in another thread
            same(self.payloads(1), [str(number)])

    def test_connections_on_two_loops_do_not_know_of_each_other(self) -> None:
        other = copy(self)  # before anything was made for the test
        AsyncKit.setup_method(other)  # not the subclass's, which may make another server
        try:
            using = self.in_background(lambda: self._use_both(other))
            other._under_way.append(using)
            using.join(self.patience, "a call hangs where a connection was made on another loop before")
        finally:
            AsyncKit.teardown_method(other)
        self.backend.notify(self.channel, "to the one that is left")
        same(self.payloads(1), ["to the one that is left"])

    # Tools.

    def _listening_through_a_proxy(self) -> Backend:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        return backend

    def _use_both(self, other: AsyncKit) -> None:
        for kit in (self, other):
            kit.backend.listen(self.channel)
        for sender in (other, self, other):
            sender.backend.notify(self.channel, "to both")
            same([kit.payloads(1) for kit in (self, other)], [["to both"]] * 2, "what two connections hear")

    def _does_not_hold_up_the_loop(
        self, name: str, call: Callable[[], Any], end: Callable[[], object] = object
    ) -> None:
        """Fail unless the loop takes turns while the server does not answer a call."""
        self.proxy.freeze()
        try:
            calling = self.start(call)
            turns = self.loop.takes_turns(self.patience)
        finally:
            self.proxy.thaw()
            end()
        holds(turns, f"{name} holds up the event loop while the server does not answer")
        calling.join(self.patience, f"{name} did not return")

    def _bring_news(self) -> None:
        self.proxy.say(notification_bytes(self.channel, b"news"))

    def _ends_the_wait(self, backend: Backend, end: Callable[[], None]) -> None:
        """Fail unless a wait without end returns True, and a later call tells of the loss."""
        waiting = self.start(self.waiting_on(backend))
        self.loop.takes_turns(self.patience)

        end()

        ended = waiting.join(self.patience, "wait(None) did not return when the connection ended")
        same(ended, True, "wait(None), when the connection ended")
        same(self.until_lost(backend)[0], [])
