"""What a backend is: five verbs and close(), and what it may offer beyond them.

A backend makes one kind of connection speak these verbs; it is written once for each driver.
Nothing above this floor knows which driver it talks to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from pgnotify.errors import ConnectionLost
from pgnotify.notification import Notification, Plain

_NEVER_LISTENED_TO = "pgnotify heartbeat"


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
class ListensMany(Protocol):
    """A backend that listens to any number of channels in one round trip."""

    def listen_many(self, channels: Sequence[str]) -> None:
        """Listen to channels; all are in force on return, or none of them that was not before.

        Raises:
            TransactionError, ConnectionLost: as `Backend.listen` does.
        """


@runtime_checkable
class UnlistensMany(Protocol):
    """A backend that stops listening to any number of channels in one round trip."""

    def unlisten_many(self, channels: Sequence[str]) -> None:
        """Stop listening to channels; in force for all of them on return, or for none.

        Does nothing for unknown ones. What has arrived before stays, for `Backend.fetch` to return.

        Raises:
            TransactionError, ConnectionLost: as `Backend.unlisten` does.
        """


class Health(NamedTuple):
    """What a server says of itself and of the session that asks; see `ChecksHealth.check`."""

    in_recovery: bool
    """Whether it is a standby, where nobody can listen: pg_is_in_recovery()."""
    queue_usage: float
    """How full the server's notification queue is, from 0 to 1: pg_notification_queue_usage()."""
    server_pid: int
    """The process that has answered: pg_backend_pid()."""
    channels: frozenset[str]
    """What that process listens to: pg_listening_channels()."""


@runtime_checkable
class ChecksHealth(Protocol):
    """A backend that asks the server how it stands, in one round trip."""

    def check(self) -> Health:
        """Ask the server.

        What was sent to a channel of this session before the call is there for `Backend.fetch` on
        return: a server hands out what is due before it says that it is ready again.

        Raises:
            TransactionError: the connection is inside a transaction of the user's.
            ConnectionLost: the server is gone; the driver's own error is its __cause__.
        """


@runtime_checkable
class NamesServerPid(Protocol):
    """A backend that tells which server process it was connected to, as its *driver* was told.

    Behind a pooler that is another one than the process that answers.
    """

    @property
    def server_pid(self) -> int:
        """The process ID that came with the connection; no I/O."""


@runtime_checkable
class HasDescriptor(Protocol):
    """A backend that tells its socket's descriptor.

    A shutdown() of it, or of a duplicate, from any thread, ends every call that waits for the server.
    """

    def fileno(self) -> int:
        """Return the descriptor, as it is now.

        Raises:
            ConnectionLost: there is none any more.
        """


@runtime_checkable
class LimitsRest(Protocol):
    """A backend whose driver reads whole messages only, so that `fetch` waits for the rest of one that has begun."""

    def limit_rest(self, seconds: float) -> None:
        """Wait for it so long at most; after that the connection is lost, with an `Unanswered`."""


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


def listen_to_all(backend: Backend, channels: Sequence[str]) -> None:
    """Listen to channels: in one round trip if the backend can, else one by one."""
    if isinstance(backend, ListensMany):
        try:
            return backend.listen_many(channels)
        except NotImplementedError:  # what a backend around another one says for that
            pass
    for channel in channels:
        backend.listen(channel)
    return None


def unlisten_all(backend: Backend, channels: Sequence[str]) -> None:
    """Stop listening to channels: in one round trip if the backend can, otherwise one by one."""
    if isinstance(backend, UnlistensMany):
        try:
            return backend.unlisten_many(channels)
        except NotImplementedError:  # raised by a backend around another one that cannot
            pass
    for channel in channels:
        backend.unlisten(channel)
    return None


def health_of(backend: Backend) -> Health | None:
    """Ask the server how it stands; of a backend that cannot ask, None says that the server has answered at least."""
    if isinstance(backend, ChecksHealth):
        try:
            return backend.check()
        except NotImplementedError:
            pass
    backend.unlisten(_NEVER_LISTENED_TO)  # does nothing, but has the server say so
    return None


def server_pid_of(backend: Backend) -> int | None:
    """Return which server process the driver was told that it is connected to; None if that is not to be had."""
    try:
        pid: int | None = getattr(backend, "server_pid", None)
    except (ConnectionLost, NotImplementedError):
        return None
    return pid


def connection_of(backend: Backend) -> object:
    """Return the driver's connection that a backend speaks on; the backend itself if it does not say."""
    return getattr(backend, "connection", backend)


def plain_fetch(backend: Backend) -> Callable[[], Sequence[Plain]]:
    """Return the quickest way to fetch from a backend: its `fetch_plain` if it has one, else its `fetch`."""
    fetch: Callable[[], Sequence[Plain]] = getattr(backend, "fetch_plain", backend.fetch)  # isinstance() takes 3 µs
    return fetch
