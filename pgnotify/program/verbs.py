"""The verbs as programs: listen, unlisten, notify, close."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgnotify.errors import ConnectionLost, HandlerClosed, PgNotifyError
from pgnotify.program.actions import Close, Listen, Notify, Program, Unlisten
from pgnotify.program.state import Input, State
from pgnotify.program.watch import Watch


def listen(watch: Watch) -> Program[None]:
    """Bring the LISTENs of all channels into force, or of none."""
    _refuse_closed(watch)
    if watch.state is State.LISTENING:
        return
    try:
        with _noticing_loss(watch):
            for channel in watch.channels:
                yield from _listen_to(watch, channel)
    except (Exception, KeyboardInterrupt):
        yield from unlisten(watch)
        raise
    watch.happened(Input.LISTENED)


def unlisten(watch: Watch) -> Program[None]:
    """Bring the UNLISTENs of all channels into force whose LISTENs are."""
    with _noticing_loss(watch):
        while watch.in_force:
            yield from _unlisten(watch, watch.in_force[0])


def notify(watch: Watch, channel: str, payload: str) -> Program[None]:
    """Send a notification on the connection that is watched."""
    _refuse_closed(watch)
    with _noticing_loss(watch):
        yield Notify(channel, payload)


def close(watch: Watch) -> Program[None]:
    """Unlisten if that is possible, and close the connection; the server forgets the rest."""
    if watch.state is State.CLOSED:
        return
    try:
        yield from unlisten(watch)
    except PgNotifyError:
        # Lost already, or inside a transaction: closing ends the LISTENs all the same.
        pass
    finally:
        watch.closed()
        yield Close()


def _listen_to(watch: Watch, channel: str) -> Program[None]:
    before = list(watch.in_force)
    if channel not in before:
        watch.in_force.append(channel)
    try:
        yield Listen(channel)
    except Exception:  # and not after a Ctrl-C, which may have come when all was done
        watch.in_force[:] = before
        raise


def _unlisten(watch: Watch, channel: str) -> Program[None]:
    try:
        yield Unlisten(channel)
    except KeyboardInterrupt:  # it may be in force, so that we may be deaf
        _no_longer_listening(watch)
        raise
    watch.in_force.remove(channel)
    _no_longer_listening(watch)


def _no_longer_listening(watch: Watch) -> None:
    if watch.state is State.LISTENING:
        watch.happened(Input.UNLISTENED)


def _refuse_closed(watch: Watch) -> None:
    if watch.state is State.CLOSED:
        raise HandlerClosed("the handler was closed meanwhile")


@contextmanager
def _noticing_loss(watch: Watch) -> Iterator[None]:
    try:
        yield
    except ConnectionLost:
        watch.lost()
        raise
