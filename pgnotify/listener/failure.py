"""Failures of the Listener's connection: whether they end the loop, which gap they open, and when to try again."""

from __future__ import annotations

from pgnotify.errors import ConnectionLost, NotPrimary, PayloadError, SourceError, TransactionError, Unanswered
from pgnotify.listener.events import Failed, FailedForGood, Lost, Undecodable
from pgnotify.listener.gap import Reason
from pgnotify.listener.policy import Policy
from pgnotify.listener.watch import DroppedGap, ListenerWatch
from pgnotify.program.actions import DISCONNECT, Deliver, Program, Tell
from pgnotify.program.interruption import is_interruption
from pgnotify.program.state import State

# If a server or a proxy accepts a connection, lets us listen and hangs up within a second, this many times in a row,
# it is left alone for a while.
SHORT_SECONDS = 1.0
FUTILE_ALLOWED = 20


class OnListeningFailed(Exception):
    """on_listening has raised, and the reporter has told the user of that."""


def after_failure(watch: ListenerWatch, policy: Policy, error: Exception) -> Program[None]:
    """Release a connection, or an attempt to connect, that has failed; plan the next attempt, if there is one."""
    if not policy.can_reconnect and isinstance(error, (TransactionError, OnListeningFailed)):
        _keep_the_only_connection(watch, error)
        return
    if watch.dropped_gaps:
        watch.dropped_gaps[0].begun = False  # if on_listening has failed, it is called with the same gap again
    error, reason, listened = _explained(watch, error), _reason(error), watch.state is State.LISTENING
    watch.seeks_primary = watch.seeks_primary or isinstance(error, NotPrimary)
    yield from _release(watch, policy, reason)
    watch.clocks_read(policy.now())
    if isinstance(error, SourceError):
        yield Tell(FailedForGood(error, watch.attempts + 1))
        raise error
    if not policy.can_reconnect:
        yield Tell(Lost(error, reason, None))
        yield from _deliver_the_rest(watch)
        if not watch.stop_requested:
            raise error
    elif listened and isinstance(error, ConnectionLost):
        yield Tell(Lost(error, reason, _delay_after_loss(watch, policy)))
    else:
        event = _next_attempt(watch, policy, error, reason, listened)
        yield Tell(event)
        if isinstance(event, FailedForGood):
            raise error


def _keep_the_only_connection(watch: ListenerWatch, error: Exception) -> None:
    """Continue on a connection that still works, as there is no other; raise an error that the caller must mend."""
    if isinstance(error, TransactionError):
        raise error  # nothing is lost: the server keeps everything until the end of the transaction
    # on_listening has failed, and no further LISTEN will announce the same again.
    if watch.to_announce is None and watch.dropped_gaps and watch.dropped_gaps[0].begun:
        watch.dropped_gaps.popleft().told()
    watch.gap_announced()


def _explained(watch: ListenerWatch, error: Exception) -> Exception:
    if isinstance(error, TransactionError) and watch.ever_listened:
        what = "a transaction was left open on the listener's connection, by on_listening or by a callback"
        return TransactionError(f"{what}: no notification arrives there")
    return error


def _release(watch: ListenerWatch, policy: Policy, reason: Reason) -> Program[None]:
    """Take the last notifications from a connection that was listened on, open the gap, and disconnect."""
    if watch.state is State.LISTENING:
        if watch.to_announce is None:  # otherwise they are newer than the user's last event, and lie in the gap
            yield from _fetch_the_rest(watch, policy)
        watch.open_gap(reason)
    watch.must_disconnect = True
    if watch.stored is not None:
        watch.stored.session_lost()
    watch.lost()
    watch.connecting = False
    watch.still_to_listen = None
    yield from disconnect(watch)


def disconnect(watch: ListenerWatch) -> Program[None]:
    """Release a connection that is given up, unless that is done. A signal handler may have interrupted it."""
    if watch.must_disconnect:
        yield DISCONNECT
        watch.must_disconnect = False


def _fetch_the_rest(watch: ListenerWatch, policy: Policy) -> Program[None]:
    """Fetch the notifications that had arrived before the end of the connection."""
    try:
        while (yield from fetch(watch, policy)):
            pass
    except Exception as error:  # of any kind: it is the reason why the connection is released
        if is_interruption(error):
            raise


def fetch(watch: ListenerWatch, policy: Policy) -> Program[int]:
    """Fetch a batch; return how many notifications it has, one that cannot be decoded included."""
    before = len(watch.fetched)
    try:
        yield watch.fetch
        count = len(watch.fetched) - before
    except PayloadError as error:
        count = len(watch.fetched) - before + 1
        yield from miss(watch, policy, error)
    watch.take(count)
    return count


def miss(watch: ListenerWatch, policy: Policy, error: PayloadError) -> Program[None]:
    """Record that one notification cannot be decoded. Its gap is announced when the queued ones are delivered."""
    if watch.stored is not None:  # a hint needs no payload
        watch.stored.hinted()
        return
    channel: str | None = getattr(error, "channel", None)
    size = len(getattr(error, "undecodable", None) or b"")
    watch.clocks_read(policy.now())
    channels = tuple(watch.in_force) if channel is None else (channel,)
    gap = watch.link.unproved.gap(Reason.UNDECODABLE, channels, 1)
    watch.dropped_gaps.append(DroppedGap(gap, lambda: None))  # nobody waits for it
    yield Tell(Undecodable(error, size))


def _deliver_the_rest(watch: ListenerWatch) -> Program[None]:
    while watch.queue and not watch.stop_requested:
        yield Deliver(len(watch.queue))


def _delay_after_loss(watch: ListenerWatch, policy: Policy) -> float:
    """Return how many seconds to wait before the first attempt: 0, unless the server hangs up at once every time."""
    now, link = policy.clock(), watch.link
    lasted = now - link.listening_since
    if policy.is_healthy_after(lasted):
        watch.attempts = 0
    futile = lasted < SHORT_SECONDS and not link.has_fetched
    watch.futile_connections = watch.futile_connections + 1 if futile else 0
    delay = policy.delay(1) if watch.futile_connections > FUTILE_ALLOWED else 0.0
    watch.retry_at = now + delay
    return delay


def _next_attempt(
    watch: ListenerWatch, policy: Policy, error: Exception, reason: Reason, listened: bool
) -> Lost | Failed | FailedForGood:
    """Plan the next attempt, unless this is the first one and final; return the event of this failure."""
    first = not watch.ever_listened and not watch.attempts
    permanent = policy.is_permanent(error, at_start=first)
    if permanent and first:
        return FailedForGood(error, 1)
    watch.attempts += 1
    delay = policy.delay(watch.attempts)
    watch.retry_at = policy.clock() + delay
    return Lost(error, reason, delay) if listened else Failed(error, watch.attempts, delay, permanent)


def _reason(error: Exception) -> Reason:
    if isinstance(error, Unanswered):
        return Reason.HEARTBEAT_MISSED
    if isinstance(error, NotPrimary):
        return Reason.FAIL_OVER
    return Reason.CONNECTION_LOST
