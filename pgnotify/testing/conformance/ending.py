"""fileno(), if the backend offers it: another thread uses it to end a call that gets no answer."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgnotify.errors import ConnectionLost
from pgnotify.protocol import Backend, ChecksHealth, HasDescriptor
from pgnotify.testing.conformance._tools import holds, needs, not_applicable, same
from pgnotify.testing.conformance.losing import Losing


class Ending(Losing):
    """The promises of fileno()."""

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
