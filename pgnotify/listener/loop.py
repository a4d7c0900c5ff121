"""The Listener's loop: connect, listen, deliver, check and reconnect, without any I/O.

This module decides the order of the steps, and when a gap is announced. `failure` decides how to continue after a loss.
The policy says how long to wait before an attempt, and which errors are final. The reporter decides which events the
user hears of.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import filterfalse

from pgnotify.errors import ConnectionLost, NotPrimary, SourceError, TransactionError, Unanswered
from pgnotify.listener.events import Applied, Checked, Connected, Connecting, ListenIgnored, ListenInForce, Refused
from pgnotify.listener.failure import OnListeningFailed, after_failure, disconnect, fetch
from pgnotify.listener.gap import Gap, Period, Reason
from pgnotify.listener.policy import Policy
from pgnotify.listener.watch import Link, ListenerWatch
from pgnotify.program.actions import (
    ASK_HEALTH,
    WAIT_FOR_EVER,
    Connect,
    Deliver,
    ListenMany,
    NameSession,
    Opened,
    Program,
    Tell,
    UnlistenMany,
    Wait,
)
from pgnotify.program.commands import carry_out
from pgnotify.program.interruption import is_interruption
from pgnotify.program.state import Input, State
from pgnotify.protocol import Health

# A run whose deadline has passed still delivers everything that has arrived, unless notifications arrive faster than
# they are delivered.
BATCHES_AFTER_THE_DEADLINE = 100


class _End:
    """When one run of the loop ends; see the arguments of `listener_loop`."""

    def __init__(self, until: Callable[[], bool], deadline: float | None) -> None:
        self.until = until
        self.moment = math.inf if deadline is None else deadline
        self._batches_left = BATCHES_AFTER_THE_DEADLINE

    def comes_after(self, count: int, now: float) -> bool:
        """Return whether the deadline has passed and everything that arrived is fetched. Called after each batch."""
        if now < self.moment:
            return False
        self._batches_left -= 1
        return not count or not self._batches_left


def listener_loop(
    watch: ListenerWatch,
    policy: Policy,
    until: Callable[[], bool] = lambda: False,
    deadline: float | None = None,
) -> Program[bool]:
    """Connect, listen and deliver, and reconnect after every loss.

    Args:
        watch: over the wanted channels. A further run of the loop continues where this one has ended.
        policy: how long to wait, and which errors are final.
        until: True ends the loop, and everything stays as it is. It is called at first, after each delivery whose
            outcome is true, before a wait, after each LISTEN and loss, and after an interruption.
        deadline: of the monotonic clock. It ends the loop too, but not before everything that has arrived is fetched.

    Returns:
        Whether the loop was asked to stop.

    Raises:
        SourceError: the source has returned the lost connection, or at first one that is dead or in a transaction.
        ConnectionLost: the connection cannot be replaced; every notification that had arrived was delivered.
        TransactionError: the connection cannot be replaced, and is inside a transaction.

    It also raises the error of the first attempt to connect, if that is final, and errors of the front.
    """
    end = _End(until, deadline)
    try:
        while not until():
            try:
                if watch.interrupted and (yield from carry_out(watch)):
                    return True
                if watch.state is State.CLOSED:
                    return True
                listening = watch.state is State.LISTENING
                if not (yield from (_while_listening if listening else _reconnect)(watch, policy, end)):
                    return False
            except Exception as error:
                if is_interruption(error):
                    raise
                yield from after_failure(watch, policy, error)
        return False
    finally:
        if watch.looked_at == math.inf:  # it no longer waits
            watch.looked_at = policy.clock()


# While LISTEN is in force.


def _while_listening(watch: ListenerWatch, policy: Policy, end: _End) -> Program[bool]:
    """Deliver and look for more, until there is something else to do; return False if the run is to end."""
    if watch.to_announce is None and watch.wanted() is not watch.applied:
        yield from _apply_wanted(watch, policy)
        return True
    while watch.state is State.LISTENING and not watch.interrupted:
        if watch.queue:
            watch.link.nothing_pending = False  # callbacks may use the connection
            if (yield Deliver(len(watch.queue))) and end.until():
                return False
        elif watch.to_announce is not None or watch.dropped_gaps:
            yield from announce(watch)
            return True
        elif not (yield from _look_for_more(watch, policy, end)):
            return False
    return True


def _look_for_more(watch: ListenerWatch, policy: Policy, end: _End) -> Program[bool]:
    """Fetch; then check if that is due, or wait if nothing has arrived; return False if the run is to end."""
    count = yield from fetch(watch, policy)
    now, link = policy.clock(), watch.link
    watch.looked_at = now
    if count:
        watch.arrived(count, now)
        if link.check_at > now + link.soon:
            link.check_at = now + link.soon
    if now >= link.check_at and (yield from _may_ask(watch, policy, count, now)):
        yield from _check(watch, policy)
    elif end.comes_after(count, now):
        return False
    elif not count:
        if end.until():
            return False
        seconds = min(link.check_at, end.moment) - now
        watch.looked_at = math.inf
        yield WAIT_FOR_EVER if seconds == math.inf else Wait(max(0.0, seconds))
    return True


def _may_ask(watch: ListenerWatch, policy: Policy, count: int, now: float) -> Program[bool]:
    """Return whether a question now would be answered at once; if not because of a flow, put it off.

    On top of a backlog the answer would come behind it, and the driver would collect all of it first. So everything
    that arrived must be fetched. If the latest fetch has brought something, look once more: beside a callback that
    takes longer than notifications need to arrive, each first look finds something.
    """
    if count and (more := (yield from fetch(watch, policy))):
        watch.arrived(more, now)
        return False
    link = watch.link
    seconds = watch.flow.seconds_to_calm(now)
    if seconds and now < link.check_by:
        link.check_at = min(now + seconds, link.check_by)
        return False
    return True


def _apply_wanted(watch: ListenerWatch, policy: Policy) -> Program[None]:
    """Have the server listen to the wanted channels, and to no others."""
    wanted = watch.wanted()
    watch.link.nothing_pending = False
    # There may be thousands of channels: every pass over them is made in C.
    in_force = set(watch.in_force)
    if cancelled := in_force.difference(wanted):
        yield UnlistenMany(tuple(filter(cancelled.__contains__, watch.in_force)))
        watch.in_force[:] = filterfalse(cancelled.__contains__, watch.in_force)
        watch.link.keep_only(in_force - cancelled)
    yield from _listen_to(watch, policy, tuple(filterfalse(in_force.__contains__, wanted)))
    try:
        if watch.untold:
            yield from _tell_listen_in_force(watch, watch.untold, None)
    except OnListeningFailed:
        watch.untold, watch.applied = (), wanted
        raise
    watch.untold, watch.applied = (), wanted  # after that: otherwise all of this is done once more
    yield Tell(Applied())


def _check(watch: ListenerWatch, policy: Policy) -> Program[None]:
    """Ask the server whether everything is in order, and listen again to channels that it has forgotten."""
    link = watch.link
    link.nothing_pending = False
    complete_until_next, asked_at, due_at = policy.now(), policy.clock(), link.check_at
    watch.clocks_read(complete_until_next)
    health: Health | None = yield ASK_HEALTH
    answered_at = policy.clock()
    _plan_check(link, policy, answered_at)
    watch.flow.answered(asked_at, answered_at - asked_at)
    changed = health is not None and health.server_pid not in (None, link.server_pid)
    changed_from = link.server_pid if changed else None
    yield Tell(Checked(health, answered_at - asked_at, changed_from, max(0.0, asked_at - due_at)))
    if health is not None:
        if health.in_recovery:
            raise NotPrimary("the server has become a standby, where nobody can listen")
        if changed:  # a pooler lends a server process for one transaction at a time
            link.behind_pooler, link.delivery_proved, link.server_pid = True, False, health.server_pid
            link.missing = ()  # the LISTEN went to another process
            watch.interrupt()  # a thread may wait for `delivering` to change
        yield from _compare(watch, health)
    link.soon = _soon(link, policy, health, answered_at - asked_at)
    if link.missing:
        yield from _listen_to_missing(watch, policy)
    if watch.delivering:
        link.complete_until_next = complete_until_next


def _compare(watch: ListenerWatch, health: Health) -> Program[None]:
    """Find channels that the server has forgotten, and those that it has forgotten twice in a row."""
    link = watch.link
    before, ignored = link.missing, link.ignored
    if health.channels is None:
        link.missing = ()
        return
    link.missing = tuple(filterfalse(health.channels.__contains__, watch.in_force))
    link.ignored = frozenset(before).intersection(link.missing)
    if link.ignored != ignored:
        yield Tell(ListenIgnored(tuple(filter(link.ignored.__contains__, link.missing))))
        watch.interrupt()  # a thread may wait for `delivering` to change


def _plan_check(link: Link, policy: Policy, now: float) -> None:
    link.check_at, link.check_by = policy.next_check(now), policy.latest_check(now)


def _soon(link: Link, policy: Policy, health: Health | None, answer_seconds: float) -> float:
    """Return `Link.soon`, after an answer. Arrivals matter only if such an answer proves that everything arrives."""
    in_order = health is not None and not health.unchecked and not link.behind_pooler and not link.missing
    return policy.soon(answer_seconds) if in_order else math.inf


def _listen_to_missing(watch: ListenerWatch, policy: Policy) -> Program[None]:
    missing = watch.link.missing
    yield ListenMany(missing)
    watch.clocks_read(policy.now())
    gap = watch.link.unproved.gap(Reason.SUBSCRIPTION_LOST, missing)
    # Notifications that have arrived on the other channels are older than this gap, or do not matter to it.
    yield from _tell_listen_in_force(watch, missing, gap)
    watch.interrupt()  # a thread may wait for a gap


# From one connection to the next.


def _reconnect(watch: ListenerWatch, policy: Policy, end: _End) -> Program[bool]:
    """Take one step towards a LISTEN that is in force again; return False if the deadline has passed.

    An attempt to connect continues after the deadline, so that runs with short deadlines succeed, too.
    """
    now = policy.clock()
    left = max(0.0, end.moment - now)
    pause = watch.retry_at - now
    if watch.queue:  # notifications from before the loss wait neither for a pause nor for a connection
        yield Deliver(len(watch.queue))
    elif pause > 0:
        yield Wait(min(pause, left))
    else:
        yield from disconnect(watch)
        if not watch.connecting:
            yield Tell(Connecting())
            watch.connecting = True
        opened: Opened | None = yield Connect(None if left == math.inf else left, watch.seeks_primary)
        if opened is not None:
            yield from _listen_again(watch, policy, opened)
            return True
    return end.moment == math.inf or policy.clock() < end.moment


def _listen_again(watch: ListenerWatch, policy: Policy, opened: Opened) -> Program[None]:
    """Bring every LISTEN into force on a new connection."""
    asked_at = policy.clock()
    health = yield from _first_check(watch, policy)
    answer_seconds, link = policy.clock() - asked_at, Link(opened)
    if health is not None:
        link.server_pid = answering = health.server_pid
        link.behind_pooler = answering is not None and opened.server_pid not in (None, answering)
    watch.link = link
    yield Tell(Connected(health, opened.server_pid, link.behind_pooler))
    if health is not None and health.in_recovery:
        raise NotPrimary("the server is a standby, where nobody can listen")
    if policy.session_name is not None:
        yield NameSession(policy.session_name())
    wanted = watch.wanted()
    watch.in_force.clear()
    watch.untold = ()
    yield from _listen_to(watch, policy, wanted)
    restored = policy.now()
    link.unproved = Period(restored)
    link.listening_since = watch.looked_at = policy.clock()
    _plan_check(link, policy, link.listening_since)
    link.soon = _soon(link, policy, health, answer_seconds)
    gap = None if watch.lost_gap is None else watch.lost_gap.until(restored)
    watch.to_announce = ListenInForce(watch.untold, gap, link.backend)
    watch.untold, watch.applied = (), wanted
    watch.connecting = False
    watch.ever_listened = True
    watch.happened(Input.LISTENED)  # last: otherwise all of this is done once more


def _first_check(watch: ListenerWatch, policy: Policy) -> Program[Health | None]:
    try:
        health: Health | None = yield ASK_HEALTH
    except (ConnectionLost, TransactionError) as error:
        if watch.ever_listened or policy.new_is_fresh or watch.stop_requested or isinstance(error, Unanswered):
            raise
        what = "that is already dead" if isinstance(error, ConnectionLost) else "inside an open transaction"
        raise SourceError(f"the connect function has returned a connection {what}") from error
    return health


def _listen_to(watch: ListenerWatch, policy: Policy, channels: tuple[str, ...]) -> Program[None]:
    """Listen to channels, except those that the server refuses. The user does not know of them yet.

    The channels of the very first LISTEN are not tried one by one: its error is raised at once.
    """
    wanted = tuple(channel for channel in channels if channel not in watch.refused)
    try:
        if wanted:
            yield ListenMany(wanted)
    except Exception as error:
        if is_interruption(error) or not watch.ever_listened or not policy.is_permanent(error, at_start=False):
            raise
        if len(wanted) == 1:
            watch.refused[wanted[0]] = error
            yield Tell(Refused(wanted[0], error))
            return
    else:
        # First: after an interruption, they are listened to once more, and the user is told of them.
        watch.untold = tuple(dict.fromkeys((*watch.untold, *wanted)))
        watch.in_force.extend(wanted)
        return
    for channel in wanted:
        yield from _listen_to(watch, policy, (channel,))


# Telling the user.


def announce(watch: ListenerWatch) -> Program[None]:
    """Tell the user of a LISTEN that is in force, and then of the gaps of our own queues."""
    if watch.to_announce is not None:
        yield from _tell_listen_in_force(watch, watch.to_announce.channels, watch.to_announce.gap)
    watch.gap_announced()
    while watch.dropped_gaps:
        dropped = watch.dropped_gaps[0]
        dropped.begun = True
        yield from _tell_listen_in_force(watch, dropped.gap.channels, dropped.gap)
        watch.dropped_gaps.popleft()
        dropped.told()


def _tell_listen_in_force(watch: ListenerWatch, channels: tuple[str, ...], gap: Gap | None) -> Program[None]:
    watch.link.nothing_pending = False
    if not (yield Tell(ListenInForce(channels, gap, watch.link.backend))):
        raise OnListeningFailed("on_listening has failed")
