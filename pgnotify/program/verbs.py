"""The verbs as programs: listen, unlisten, notify, close."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgnotify.errors import ConnectionLost, HandlerClosed, PgNotifyError
from pgnotify.program.actions import Close, Listen, Notify, Program, Unlisten
from pgnotify.program.interruption import is_interruption
from pgnotify.program.state import Input, State
from pgnotify.program.watch import Watch


def listen(watch: Watch) -> Program[None]:
    """Bring the LISTEN of every channel into force, or of none.

    Raises:
        HandlerClosed: the watch is closed.
    """
    _refuse_closed(watch)
    if watch.state is State.LISTENING:
        return
    try:
        with _noticing_loss(watch):
            for channel in watch.channels:
                yield from _listen_to(watch, channel)
    except BaseException as error:
        if not isinstance(error, GeneratorExit):
            yield from unlisten(watch)
        raise
    watch.happened(Input.LISTENED)


def unlisten(watch: Watch) -> Program[None]:
    """Unlisten every channel whose LISTEN is in force."""
    with _noticing_loss(watch):
        while watch.in_force:
            yield from _unlisten(watch, next(iter(watch.in_force)))


def notify(watch: Watch, channel: str, payload: str) -> Program[bool]:
    """Send a notification on the connection that is watched; return whether it waits for the user's commit.

    Raises:
        HandlerClosed: the watch is closed.
    """
    _refuse_closed(watch)
    with _noticing_loss(watch):
        return bool((yield Notify(channel, payload)))


def close(watch: Watch) -> Program[None]:
    """Unlisten if possible, and close the connection. Then the server forgets every LISTEN."""
    if watch.state is State.CLOSED:
        return
    failure: BaseException | None = None
    try:
        yield from unlisten(watch)
    except PgNotifyError:
        # Already lost, or inside a transaction. Closing ends the LISTENs anyway.
        pass
    except GeneratorExit:
        raise
    except BaseException as error:
        failure = error
    try:
        yield Close()
    except Exception as error:
        if not is_interruption(error):  # otherwise the connection may be open
            watch.closed()
        raise
    watch.closed()
    if failure is not None:
        try:
            raise failure
        finally:
            failure = None  # otherwise it would keep this frame alive in a cycle


def _listen_to(watch: Watch, channel: str) -> Program[None]:
    was_in_force = channel in watch.in_force
    watch.in_force[channel] = None
    try:
        yield Listen(channel)
    except Exception as error:
        if not was_in_force and not is_interruption(error):  # otherwise LISTEN may be in force by then
            watch.in_force.pop(channel, None)
        raise


def _unlisten(watch: Watch, channel: str) -> Program[None]:
    try:
        yield Unlisten(channel)
    except BaseException as error:
        if is_interruption(error):  # UNLISTEN may be in force, and then nothing arrives
            _no_longer_listening(watch)
        raise
    watch.in_force.pop(channel, None)
    _no_longer_listening(watch)


def _no_longer_listening(watch: Watch) -> None:
    if watch.state is State.LISTENING:
        watch.happened(Input.UNLISTENED)


def _refuse_closed(watch: Watch) -> None:
    if watch.state is State.CLOSED:
        raise HandlerClosed("the handler was closed in the meantime")


@contextmanager
def _noticing_loss(watch: Watch) -> Iterator[None]:
    try:
        yield
    except ConnectionLost:
        watch.lost()
        raise
