"""fileno() and limit_rest(), if the backend offers them: with these, a call that gets no answer ends all the same."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgnotify.errors import ConnectionLost, Unanswered
from pgnotify.protocol import Backend, ChecksHealth, HasDescriptor, LimitsRest
from pgnotify.testing._proxy import notification as notification_bytes
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same
from pgnotify.testing.conformance.losing import Losing

_REST_SECONDS = 0.05
_TOO_LATE_SECONDS = 1.0


class Ending(Losing):
    """The promises of fileno() and limit_rest()."""

    promised_in = "HasDescriptor, LimitsRest"

    @needs("network")
    def test_a_shutdown_of_the_descriptor_ends_a_wait(self) -> None:
        self._a_shutdown_ends(self._listen_on)

    @needs("network")
    def test_a_shutdown_of_the_descriptor_ends_a_listen_that_is_not_answered(self) -> None:
        self._a_shutdown_ends(lambda backend: backend.listen("x"))

    @needs("network")
    def test_a_shutdown_of_the_descriptor_ends_a_notify_that_is_not_answered(self) -> None:
        self._a_shutdown_ends(lambda backend: backend.notify("x", "y"))

    @needs("network")
    def test_a_shutdown_of_the_descriptor_ends_a_check_that_is_not_answered(self) -> None:
        if not isinstance(self.backend, ChecksHealth):
            raise not_applicable("the backend does not offer check()")
        self._a_shutdown_ends(lambda backend: backend.check())  # type: ignore[attr-defined]

    def test_the_descriptor_is_that_of_an_open_socket_and_stays_the_same(self) -> None:
        self.backend.listen(self.channel)
        descriptor = _descriptor_of(self.backend)

        with _duplicate(descriptor) as duplicate:
            duplicate.getpeername()
        self.backend.notify(self.channel, "the duplicate was closed")
        same(self.payloads(1), ["the duplicate was closed"])
        same(_descriptor_of(self.backend), descriptor)

    def test_a_closed_connection_has_no_descriptor(self) -> None:
        self.backend.listen(self.channel)
        _descriptor_of(self.backend)

        self.backend.close()

        try:
            descriptor = _descriptor_of(self.backend)
        except ConnectionLost as lost:
            self.has_a_cause("fileno()", lost)
        else:
            holds(False, f"fileno() returned {descriptor} on a closed connection: others may use this number by now")

    @needs("network")
    def test_the_rest_of_a_message_is_waited_for_no_longer_than_is_allowed(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        if isinstance(backend, LimitsRest):
            backend.limit_rest(_REST_SECONDS)
        whole = notification_bytes(self.channel, b"never whole")
        self.proxy.say(whole[:-3])
        backend.wait(2 * _REST_SECONDS)

        fetching = self.in_background(backend.fetch)

        longer = f"fetch() waited for the rest of a message for longer than the limit of {_REST_SECONDS} seconds"
        try:
            same(fetching.join(min(self.patience, _TOO_LATE_SECONDS), longer), [])  # it need not wait for a rest at all
        except AssertionError:
            self.proxy.say(whole[-3:])  # otherwise the thread would stay
            if isinstance(backend, LimitsRest):
                raise
            raise not_applicable("fetch() waits for the rest of a message, and there is no limit_rest()") from None
        except Unanswered as lost:
            self.has_a_cause("fetch()", lost)
            self.is_lost_for_good(backend)
        except (ConnectionLost, OSError) as error:
            holds(False, f"fetch() raised {error!r} when the rest of a message did not come: it must raise Unanswered")

    def _listen_on(self, backend: Backend) -> None:
        raise self.until_lost(backend)[1]

    def _a_shutdown_ends(self, call: Callable[[Backend], object]) -> None:
        backend = self.backend_of(self.open_through_proxy())
        backend.listen(self.channel)
        with _duplicate(_descriptor_of(backend)) as duplicate:
            self.proxy.freeze()
            blocked = self.in_background(lambda: call(backend))
            blocked.until_blocked(self.patience)
            holds(not blocked.ended, "the call returned before the server had answered")

            duplicate.shutdown(socket.SHUT_RDWR)

            try:
                result = blocked.join(self.patience, "the call goes on after its socket was shut down")
            except ConnectionLost as lost:
                self.has_a_cause("the call", lost)
            else:
                holds(
                    False, f"the call returned {result!r} when its socket was shut down: it must raise ConnectionLost"
                )
        self.is_lost_for_good(backend)


def _descriptor_of(backend: Backend) -> int:
    if not isinstance(backend, HasDescriptor):
        raise not_applicable("the backend does not offer fileno()")
    return backend.fileno()


@contextmanager
def _duplicate(descriptor: int) -> Iterator[socket.socket]:
    with socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as duplicate:
        yield duplicate
