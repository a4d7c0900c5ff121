"""The Listener's loop: connect, listen, deliver, check, come back, without any I/O.

Decided here: what is tried when, what a loss means, when a gap opens and when it is announced. How long an attempt
waits, and which errors are final, is said by the settings; whoever is told of it all decides what the user hears.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from pgnotify.errors import ConnectionLost, NotPrimary, SourceError, TransactionError, Unanswered
from pgnotify.listener.events import Checked, Connected, Connecting, Failed, ListenInForce, Lost, Refused
from pgnotify.listener.gap import Gap, Reason, utc
from pgnotify.listener.watch import ListenerWatch
from pgnotify.program.actions import (
    ASK_HEALTH,
    DISCONNECT,
    FETCH,
    WAIT_FOR_EVER,
    Connect,
    Deliver,
    ListenMany,
    Program,
    Tell,
    Unlisten,
    Wait,
)
from pgnotify.program.commands import carry_out
from pgnotify.program.state import Input, State
from pgnotify.protocol import Health

# Whoever accepts a connection, lets us listen and hangs up at once is left alone for a while after so many of them.
SHORT_SECONDS = 1.0
FUTILE_ALLOWED = 20

# Who looks for what is there gets all of it, unless more comes in all the time than is delivered.
BATCHES_BEHIND_THE_DEADLINE = 100


class OnListeningFailed(Exception):
    """on_listening has raised; whoever called it has told the user."""


class Settings(Protocol):
    """What the loop asks for."""

    heartbeat: float | None
    """Seconds between two checks; None for none."""
    can_reconnect: bool
    """Whether a new connection can be had."""
    new_is_fresh: bool
    """Whether a connection that is new cannot have been dead for long."""

    def clock(self) -> float:
        """Return seconds of a monotonic clock."""

    def now(self) -> float:
        """Return seconds since the epoch."""

    def delay(self, attempt: int) -> float:
        """Return the seconds to wait after so many failed attempts."""

    def is_healthy_after(self, seconds: float) -> bool:
        """Whether a connection that has lasted so long makes earlier failures forgotten."""

    def is_permanent(self, error: Exception, at_start: bool) -> bool:
        """Whether trying again cannot help."""


def listener_loop(
    watch: ListenerWatch,
    settings: Settings,
    until: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
) -> Program[bool]:
    """Connect, listen and deliver, and come back after every loss.

    Args:
        watch: over the wanted channels; whoever runs the loop again goes on where it was left.
        settings: see there.
        until: asked before each step; True ends the loop, and all stays as it is.
        deadline: of the monotonic clock, ends the loop likewise, but not before it has looked for what is there.

    Returns:
        Whether it was asked to stop.

    Raises:
        SourceError: the connection that came back is the lost one.
        ConnectionLost: it cannot come back; all that had arrived was delivered.

    And what the first attempt to connect raises, if it is final.
    """
    while not until():
        try:
            if watch.interrupted and (yield from carry_out(watch)):
                return True
            if watch.state is State.CLOSED:
                return True
            if watch.state is State.LISTENING:
                if not (yield from _while_listening(watch, settings, until, deadline)):
                    return False
            elif not (yield from _reconnect(watch, settings, deadline)):
                return False
        except Exception as error:
            yield from _after_failure(watch, settings, error)
    return False


def announce_dropped(watch: ListenerWatch, gap: Gap) -> Program[None]:
    """Announce that a queue of ours has dropped some; if we are not connected, then with the next LISTEN."""
    watch.dropped_gaps.append(gap)
    if watch.state is State.LISTENING and watch.to_announce is None:
        yield from _announce_dropped(watch)


def _while_listening(
    watch: ListenerWatch, settings: Settings, until: Callable[[], bool], deadline: float | None
) -> Program[bool]:
    """Deliver while all is in order; return False when the deadline has passed."""
    batches_left = BATCHES_BEHIND_THE_DEADLINE
    while watch.state is State.LISTENING and not watch.interrupted and not until():
        if watch.channels is not watch.applied and watch.to_announce is None:
            yield from _apply_wanted(watch, settings)
        elif watch.queue:
            watch.nothing_pending = False  # callbacks may use the connection
            yield Deliver(len(watch.queue))
        elif watch.to_announce is not None or watch.dropped_gaps:
            yield from _announce(watch)
        else:
            batch = yield FETCH
            watch.take(batch)
            now = settings.clock()
            check_at = watch.check_at if settings.heartbeat is not None else None
            if check_at is not None and now >= check_at:  # though there be no silence, see the manual
                yield from _check(watch, settings)
            elif deadline is not None and now >= deadline:
                batches_left -= 1
                if not batch or not batches_left:
                    return False
            elif not batch:
                moments = [moment for moment in (check_at, deadline) if moment is not None]
                yield Wait(min(moments) - now) if moments else WAIT_FOR_EVER
    return True


def _reconnect(watch: ListenerWatch, settings: Settings, deadline: float | None) -> Program[bool]:
    """Go one step towards the moment when every LISTEN is in force again; return False when the deadline has passed.

    An attempt to connect goes on behind it: who comes back each now and then for a moment gets there, too.
    """
    now = settings.clock()
    left = None if deadline is None else max(0.0, deadline - now)
    pause = watch.retry_at - now
    if pause > 0 and watch.queue:  # what came before the loss has waited for nothing
        yield Deliver(len(watch.queue))
    elif pause > 0:
        yield Wait(pause if left is None else min(pause, left))
    else:
        if not watch.connecting:
            watch.connecting = True
            yield Tell(Connecting())
        if (yield Connect(left)):
            yield from _listen_again(watch, settings)
            return True
    return deadline is None or settings.clock() < deadline


def _listen_again(watch: ListenerWatch, settings: Settings) -> Program[None]:
    """Bring every LISTEN into force on a new connection."""
    health = yield from _first_check(watch, settings)
    watch.behind_pooler = bool((yield Tell(Connected(health))))
    watch.server_pid = health.server_pid if health is not None else None
    if health is not None and health.in_recovery:
        raise NotPrimary("the server is a standby, where nobody can listen")
    wanted = watch.channels
    watch.in_force.clear()
    channels = yield from _listen_to(watch, settings, wanted)
    watch.applied = wanted
    watch.happened(Input.LISTENED)
    watch.connecting = False
    watch.complete_until = settings.now()
    watch.to_announce = ListenInForce(channels, watch.gap_until(watch.complete_until))
    watch.ever_listened = True
    watch.has_fetched = watch.delivery_proved = watch.nothing_pending = False
    watch.listening_since = settings.clock()
    watch.check_at = watch.listening_since + (settings.heartbeat or 0.0)


def _first_check(watch: ListenerWatch, settings: Settings) -> Program[Health | None]:
    try:
        health: Health | None = yield ASK_HEALTH
    except (ConnectionLost, TransactionError) as error:
        if watch.ever_listened or settings.new_is_fresh or watch.stop_requested or isinstance(error, Unanswered):
            raise
        what = "that is dead already" if isinstance(error, ConnectionLost) else "inside an open transaction"
        raise SourceError(f"the connect function has returned a connection {what}") from error
    return health


def _after_failure(watch: ListenerWatch, settings: Settings, error: Exception) -> Program[None]:
    """Let go of a connection that has failed, or was not even had; say when to try again."""
    if isinstance(error, TransactionError) and not settings.can_reconnect:
        raise error  # nothing is lost: the server keeps all for the end of the transaction
    if isinstance(error, OnListeningFailed) and not settings.can_reconnect:
        # There is no second connection on which to tell it once more.
        if watch.to_announce is None and watch.dropped_gaps:
            watch.dropped_gaps.popleft()
        watch.gap_announced()
        return
    if isinstance(error, TransactionError) and watch.ever_listened:
        what = "a transaction was left open on the listener's connection, by on_listening or by a callback"
        error = TransactionError(f"{what}: no notification arrives there")
    listened = watch.state is State.LISTENING
    reason = _reason(error)
    if listened:
        if watch.to_announce is None:  # else it is newer than what the user knows, and lies in the gap
            yield from _fetch_the_rest(watch)
        watch.open_gap(reason)
    watch.lost()
    watch.connecting = False
    yield DISCONNECT
    if isinstance(error, SourceError):
        raise error
    if not settings.can_reconnect:
        yield Tell(Lost(error, reason, None))
        while watch.queue:
            yield Deliver(len(watch.queue))
            if watch.stop_requested:
                return
        raise error
    if listened and isinstance(error, ConnectionLost):
        delay = _delay_after_loss(watch, settings)
        yield Tell(Lost(error, reason, delay))
        return
    first = not watch.ever_listened and not watch.attempts
    permanent = settings.is_permanent(error, at_start=first)
    if permanent and first:
        raise error
    watch.attempts += 1
    delay = settings.delay(watch.attempts)
    watch.retry_at = settings.clock() + delay
    yield Tell(Lost(error, reason, delay) if listened else Failed(error, watch.attempts, delay, permanent))


def _delay_after_loss(watch: ListenerWatch, settings: Settings) -> float:
    """Return how long to wait before the first attempt: not at all, unless the server does nothing but hang up."""
    now = settings.clock()
    lasted = now - watch.listening_since
    if settings.is_healthy_after(lasted):
        watch.attempts = 0
    watch.futile_connections = watch.futile_connections + 1 if lasted < SHORT_SECONDS and not watch.has_fetched else 0
    delay = settings.delay(1) if watch.futile_connections > FUTILE_ALLOWED else 0.0
    watch.retry_at = now + delay
    return delay


def _fetch_the_rest(watch: ListenerWatch) -> Program[None]:
    """Take what had arrived before the end of the connection."""
    try:
        while batch := (yield FETCH):
            watch.take(batch)
    except Exception:  # of whatever kind: it is why we are here
        return


def _apply_wanted(watch: ListenerWatch, settings: Settings) -> Program[None]:
    """Bring what the server knows into line with what is wanted."""
    wanted = watch.channels
    watch.nothing_pending = False
    in_force = set(watch.in_force)
    for channel in in_force.difference(wanted):
        yield Unlisten(channel)
        watch.in_force.remove(channel)
    added = yield from _listen_to(watch, settings, tuple(each for each in wanted if each not in in_force))
    watch.applied = wanted
    if added:
        yield from _tell_listen_in_force(watch, ListenInForce(added, None))


def _listen_to(watch: ListenerWatch, settings: Settings, channels: tuple[str, ...]) -> Program[tuple[str, ...]]:
    """Listen to channels, but for those that the server will not have; return the others.

    The first ones of all are not tried one by one: whoever asked for them is told at once.
    """
    wanted = tuple(channel for channel in channels if channel not in watch.refused)
    try:
        if wanted:
            yield ListenMany(wanted)
    except Exception as error:
        if not watch.ever_listened or not settings.is_permanent(error, at_start=False):
            raise
        if len(wanted) == 1:
            watch.refused[wanted[0]] = error
            yield Tell(Refused(wanted[0], error))
            return ()
    else:
        watch.in_force.extend(wanted)
        return wanted
    listened: tuple[str, ...] = ()
    for channel in wanted:
        listened += yield from _listen_to(watch, settings, (channel,))
    return listened


def _announce(watch: ListenerWatch) -> Program[None]:
    if watch.to_announce is not None:
        yield from _tell_listen_in_force(watch, watch.to_announce)
    watch.gap_announced()
    yield from _announce_dropped(watch)


def _announce_dropped(watch: ListenerWatch) -> Program[None]:
    while watch.dropped_gaps:
        gap = watch.dropped_gaps[0]
        yield from _tell_listen_in_force(watch, ListenInForce(gap.channels, gap))
        watch.dropped_gaps.popleft()


def _tell_listen_in_force(watch: ListenerWatch, news: ListenInForce) -> Program[None]:
    watch.nothing_pending = False
    if not (yield Tell(news)):
        raise OnListeningFailed("on_listening has failed")


def _check(watch: ListenerWatch, settings: Settings) -> Program[None]:
    """Ask the server whether all is as it should be, and see to it."""
    watch.nothing_pending = False
    complete_until_next, started = settings.now(), settings.clock()
    health: Health | None = yield ASK_HEALTH
    answered = settings.clock()
    watch.check_at = answered + (settings.heartbeat or 0.0)
    yield Tell(Checked(health, answered - started))
    if health is not None:
        if health.in_recovery:
            raise NotPrimary("the server has become a standby, where nobody can listen")
        if health.server_pid != watch.server_pid:  # it is lent for a transaction at a time
            watch.behind_pooler, watch.delivery_proved, watch.server_pid = True, False, health.server_pid
        yield from _listen_to_what_is_missing(watch, settings, health)
    if watch.delivering:
        watch.complete_until_next = complete_until_next


def _listen_to_what_is_missing(watch: ListenerWatch, settings: Settings, health: Health) -> Program[None]:
    missing = tuple(channel for channel in watch.in_force if channel not in health.channels)
    if not missing:
        return
    yield ListenMany(missing)
    restored_at = settings.now()
    gap = Gap(Reason.SUBSCRIPTION_LOST, utc(watch.complete_until), utc(restored_at), missing)
    # What has come on the other channels meanwhile is older than this, or does not matter to it.
    yield from _tell_listen_in_force(watch, ListenInForce(missing, gap))


def _reason(error: Exception) -> Reason:
    if isinstance(error, Unanswered):
        return Reason.HEARTBEAT_MISSED
    if isinstance(error, NotPrimary):
        return Reason.FAIL_OVER
    return Reason.CONNECTION_LOST
