"""Cancellation of a coroutine, at any time: the connection stays usable, nothing that has arrived is lost."""

from __future__ import annotations

import gc
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pgnotify.protocol import Backend, Ends
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.async_conformance.kit import AsyncKit
from pgnotify.testing.conformance._tools import holds, needs, same

# A call is cancelled after each of these numbers of turns of the loop. The server answers within them.
_TURNS = (0, 1, 2, 3, 5, 8, 13, 21, 34)


class Cancelling(AsyncKit):
    """The promises of the coroutines about their cancellation."""

    def test_a_call_that_is_cancelled_at_any_turn_of_the_loop_leaves_a_usable_connection(self) -> None:
        for name, call in self._cancellable().items():
            for turns in _TURNS:
                self._cancel_after(turns, name, call)
                self._works_after(self.backend, f"{name} was cancelled after {turns} turns of the loop")

    def test_a_call_that_is_cancelled_at_any_turn_of_the_loop_loses_nothing_that_has_arrived(self) -> None:
        self.backend.listen(self.channel)
        for name, call in self._cancellable().items():
            sent = [f"{name} {turns}" for turns in _TURNS]
            for turns, payload in zip(_TURNS, sent, strict=True):
                self.session.notify(self.channel, payload)
                self._cancel_after(turns, name, call)

            same(self._heard(self.backend, sent[-1]), sent, f"what arrived while {name} was cancelled")

    def test_a_wait_that_is_cancelled_ends_and_the_next_one_sees_what_arrives(self) -> None:
        self.backend.listen(self.channel)
        self.nothing_arrives()
        waiting = self.start(self.waiting_on(self.backend))
        self.loop.takes_turns(self.patience)

        waiting.cancel()

        waiting.join_cancelled(self.patience, "wait(None)")
        self.session.notify(self.channel, "afterwards")
        same(self.payloads(1), ["afterwards"])

    @needs("network")
    def test_a_wait_that_is_cancelled_as_something_arrives_loses_nothing(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        for turns in _TURNS:
            payload = f"on turn {turns}"
            waiting = self.start(self.waiting_on(backend))
            self.loop.takes_turns(self.patience)

            with self.loop.held_up():
                self.proxy.say(notification_bytes(self.channel, payload.encode()))
                waiting.cancel(turns)

            waiting.join_either(self.patience, "wait(None)")
            same(self.payloads(1, backend), [payload], "what arrived just before wait(None) was cancelled")

    @needs("network")
    def test_a_call_that_is_cancelled_before_the_server_answers_ends_and_loses_nothing(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        for name, call in self.asking(backend).items():
            self.proxy.freeze()
            calling = self.start(call)
            self.loop.takes_turns(self.patience)
            self.session.notify(self.channel, name)

            calling.cancel()
            self.loop.takes_turns(self.patience)
            self.proxy.thaw()

            calling.join_cancelled(self.patience, name)
            same(self._heard(backend, name), [name], f"what was sent while {name} was cancelled")
            self._works_after(backend, f"{name} was cancelled before the server answered")

    def test_a_close_or_an_end_that_is_cancelled_can_be_made_again(self) -> None:
        for verb in ("close", "end"):
            for turns in _TURNS[:5]:
                connection = self.open()
                backend = self.backend_of(connection)
                if verb == "end" and not isinstance(backend, Ends):
                    return
                backend.listen(self.channel)
                pid = self.pid_of(connection)
                self._cancel_after(turns, f"{verb}()", self.call(backend, verb))

                getattr(backend, verb)()

                self.until_state(pid, None)

    def test_what_was_cancelled_leaves_nothing_on_the_loop(self) -> None:
        before = self.loop.tasks()
        connection = self.open()
        backend = self.backend_of(connection)
        backend.listen(self.channel)
        for name, call in {**self.asking(backend), "wait(None)": self.waiting_on(backend)}.items():
            for turns in _TURNS:
                self._cancel_after(turns, name, call)
        backend.close()
        with suppress(Exception):  # it is closed
            self.close(connection)

        self.until(lambda: not self.loop.tasks() - before, "tasks go on after what was cancelled, and after close()")
        gc.collect()  # the loop reports an exception that nobody has looked at when its future goes
        same(self.loop.complaints, [], "what the loop has reported")

    # Tools.

    def _cancellable(self) -> dict[str, Callable[[], Any]]:
        return {**self.asking(self.backend), "wait(None)": self.waiting_on(self.backend)}

    def _cancel_after(self, turns: int, name: str, call: Callable[[], Any]) -> None:
        self.start(call, cancelled_after=turns).join_either(self.patience, name)

    def _works_after(self, backend: Backend, after: str) -> None:
        mark = uuid.uuid4().hex

        def use() -> list[str]:
            backend.listen(self.channel)
            backend.notify(self.channel, mark)
            return self._heard(backend, mark)

        same(self.in_background(use).join(self.patience, f"a later call hangs after {after}"), [mark], f"after {after}")

    def _heard(self, backend: Backend, last: str) -> list[str]:
        """Collect what arrives on the channel, until this payload."""
        heard: list[str] = []
        while last not in heard:
            arrived = self.collect(1, backend)
            heard += [each.payload for each in arrived if each.channel == self.channel]
        holds(not self.loop.complaints, f"the loop has reported: {self.loop.complaints}")
        return heard
