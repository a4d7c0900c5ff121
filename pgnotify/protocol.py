"""What a backend is: five verbs and close(), and what it may offer beyond them.

A backend makes one kind of connection speak these verbs; it is written once for each driver.
Nothing above this floor knows which driver it talks to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from pgnotify.notification import Notification, Plain


@runtime_checkable
class Backend(Protocol):
    """LISTEN and NOTIFY on one connection. All calls come from one thread at a time.

    A name or a payload that arrives here has passed `pgnotify.limits` already. The connection is the
    user's: it is left in the mode in which it was, and idle if it was idle. A loss is told by every
    call, again and again. Errors of the server that are no loss are the driver's own, unchanged.
    `pgnotify.testing.BackendConformance` holds a backend to all that is said here.
    """

    def listen(self, channel: str) -> None:
        """Listen to a channel; in force on return. A second call does nothing.

        The name is taken as written: the backend quotes it. On a connection that is idle but not
        in autocommit mode the LISTEN runs in a transaction of its own. The server is told whatever
        the driver remembers: it may have forgotten, as after UNLISTEN *.

        Raises:
            TransactionError: the connection is inside a transaction of the user's.
            ConnectionLost: the server is gone; the driver's own error is its __cause__.
        """

    def unlisten(self, channel: str) -> None:
        """Stop listening to a channel; in force on return. Does nothing for an unknown one.

        What has arrived before stays, for `fetch` to hand over.

        Raises:
            TransactionError: the connection is inside a transaction of the user's.
            ConnectionLost: the server is gone; the driver's own error is its __cause__.
        """

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """Block until fetch() may have something to return.

        Args:
            timeout: seconds from now; None and infinity wait for ever, 0 only looks.
            wakeup: a descriptor; when it becomes readable the wait ends early, with True.

        Descriptors may have any number, also one over 1,023, where select() ends; the driver's is
        asked for each time, since it may change, or be closed and its number be used by others.
        `pgnotify.waiting.wait_readable` does it right.

        Returns:
            False if the timeout passed first. True may be a false alarm: only fetch() knows.
            True at once if something is buffered anywhere in the driver, its TLS layer included.

        Raises:
            TransactionError: the connection is inside a transaction, where nothing can arrive.
            ConnectionLost: the server is gone; the driver's own error is its __cause__.
        """

    def fetch(self) -> list[Notification]:
        """Hand over what has arrived, in the order it was sent.

        Never blocks for data that has not begun to arrive. A long backlog comes in parts of a few
        hundred, so that it never sits in memory twice; an empty list means that there is no more.
        Bytes that cannot be decoded come out as surrogate escapes, and harm nothing around them.
        May be called inside a transaction: what came before that is handed over.

        Raises:
            ConnectionLost: the server is gone, and all that came before was handed over.
        """

    def notify(self, channel: str, payload: str = "") -> None:
        """Send a notification: at once if the connection is idle, else at the user's commit.

        Channel and payload are bound as parameters.

        Raises:
            ConnectionLost: the server is gone; the driver's own error is its __cause__.
        """

    def close(self) -> None:
        """Close the connection. May be called twice, and on a dead connection."""


@runtime_checkable
class FetchesPlain(Protocol):
    """A backend that leaves out making a `Notification` of each, for who takes them apart at once.

    That costs as much as to read one from the socket (0.1 µs; see docs/performance.md).
    """

    def fetch_plain(self) -> Sequence[Plain]:
        """Hand over what has arrived: the same as `Backend.fetch` in all but the type."""


@runtime_checkable
class NotifiesMany(Protocol):
    """A backend that sends any number of notifications in one round trip."""

    def notify_many(self, notifications: Iterable[tuple[str, str]]) -> None:
        """Send (channel, payload) pairs in order: all of them, or none.

        Raises:
            ConnectionLost: the server is gone; the driver's own error is its __cause__.
        """


@runtime_checkable
class Busy(Protocol):
    """A backend that can tell whether a call of its driver's is under way.

    Only for who may have been called in the midst of one: signal handlers and destructors.
    """

    @property
    def busy(self) -> bool:
        """Whether a call on this connection has begun and not ended."""


@runtime_checkable
class NamesConnection(Protocol):
    """A backend that tells which connection it speaks on, however that was wrapped."""

    @property
    def connection(self) -> object:
        """The driver's connection."""


@runtime_checkable
class NamesDatabaseError(Protocol):
    """A backend that names its driver's DatabaseError, for errors that should be one too."""

    @property
    def DatabaseError(self) -> type[Exception]:
        """The driver's ``DatabaseError`` class."""


def plain_fetch(backend: Backend) -> Callable[[], Sequence[Plain]]:
    """Return the quickest way to fetch from a backend: its `fetch_plain` if it has one, else its `fetch`."""
    fetch: Callable[[], Sequence[Plain]] = getattr(backend, "fetch_plain", backend.fetch)  # isinstance() takes 3 µs
    return fetch
