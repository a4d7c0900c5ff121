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
from pgnotify.listener.channels import apply_due, listen_again_to, listen_to, tell_listen_in_force
from pgnotify.listener.events import Checked, Connected, Connecting, ListenIgnored, ListenInForce
from pgnotify.listener.failure import after_failure, disconnect, fetch
from pgnotify.listener.gap import Period, Reason
from pgnotify.listener.policy import Policy
from pgnotify.listener.stored import Stored
from pgnotify.listener.watch import Link, ListenerWatch
from pgnotify.program.actions import (
    ASK_HEALTH,
    WAIT_FOR_EVER,
    Connect,
    Deliver,
    NameSession,
    Opened,
    Program,
    Tell,
    Wait,
)
from pgnotify.program.commands import carry_out
from pgnotify.program.interruption import is_interruption
from pgnotify.program.state import Input, State
from pgnotify.protocol import MOST_CHANNELS, Health

# A run whose deadline has passed still delivers everything that has arrived, and listens to all channels that it is to
# listen to, unless they come faster than that.
BATCHES_AFTER_THE_DEADLINE = 100


class _End:
    """When one run of the loop ends; see the arguments of `listener_loop`."""

    def __init__(self, until: Callable[[], bool], deadline: float | None) -> None:
        self.until = until
        self.moment = self.wakes_at = math.inf if deadline is None else deadline
        self._batches_left = BATCHES_AFTER_THE_DEADLINE

    def comes_after(self, count: int, now: float) -> bool:
        """Return whether the deadline has passed and nothing is left to do. Called after each fetch.

        Args:
            count: how much there was to do: notifications, or otherwise channels to listen to or not.
            now: the present moment.
        """
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
    while_listening = _while_listening if watch.stored is None else _while_reading
    try:
        while not until():
            try:
                if watch.interrupted and (yield from carry_out(watch)):
                    return True
                if watch.state is State.CLOSED:
                    return True
                listening = watch.state is State.LISTENING
                if not (yield from (while_listening if listening else _reconnect)(watch, policy, end)):
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
    if watch.to_announce is None and watch.wanted.due and watch.link.has_looked:
        yield from apply_due(watch, policy)
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
        elif watch.wanted.due:
            return True
    return True


def _while_reading(watch: ListenerWatch, policy: Policy, end: _End) -> Program[bool]:
    """Do the same as `_while_listening`, where notifications are only hints that messages are stored."""
    stored = watch.stored
    assert stored is not None, "the caller has looked"
    if watch.to_announce is None and watch.wanted.due and watch.link.has_looked:
        yield from stored.before_listen()
        yield from apply_due(watch, policy)
        stored.hinted()
        return True
    while watch.state is State.LISTENING and not watch.interrupted:
        if watch.fetched:
            _take_hints(watch, stored)
        if stored.progress is not None:
            yield from stored.store_progress()
            if end.until():
                return False
        elif watch.queue:
            watch.link.nothing_pending = False
            begun_at = policy.clock()
            has_mail = yield Deliver(stored.portion(len(watch.queue)))
            stored.delivered(begun_at, policy.clock())
            if has_mail and end.until():
                return False
        elif watch.to_announce is not None or watch.dropped_gaps:
            yield from announce(watch)
            return True
        elif (yield from stored.step(watch, policy)):
            watch.link.nothing_pending = False
        else:
            end.wakes_at = min(end.moment, stored.next_step_at)
            if not (yield from _look_for_more(watch, policy, end)):
                return False
            if watch.wanted.due:
                return True
    return True


def _take_hints(watch: ListenerWatch, stored: Stored) -> None:
    """Empty the queue of hints. Notifications of the listener itself are delivered."""
    own = [plain for plain in watch.fetched if plain[0] == stored.own_channel]
    if len(own) < len(watch.fetched):
        stored.hinted()
    watch.queue.extend(own)
    watch.fetched.clear()


def _look_for_more(watch: ListenerWatch, policy: Policy, end: _End) -> Program[bool]:
    """Fetch; then check if that is due, or wait if there is nothing to do; return False if the run is to end."""
    count = yield from fetch(watch, policy)
    now, link = policy.clock(), watch.link
    watch.looked_at = now
    link.has_looked = True
    if count:
        watch.arrived(count, now)
        if link.check_at > now + link.soon:
            link.check_at = now + link.soon
    if now >= link.check_at and (yield from _may_ask(watch, policy, count, now)):
        yield from _check(watch, policy)
    elif end.comes_after(count or len(watch.wanted.due), now):
        return False
    elif not count:
        if end.until():
            return False
        if watch.wanted.due:
            return True
        seconds = min(link.check_at, end.wakes_at) - now
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
    changed_from: int | None = None
    if health is not None and health.server_pid not in (None, link.server_pid):
        # A pooler lends a server process for one transaction at a time.
        changed_from, link.server_pid = link.server_pid, health.server_pid
        link.behind_pooler, link.delivery_proved = True, False
        link.missing = ()  # the LISTEN went to another process
    yield Tell(Checked(health, answered_at - asked_at, changed_from, max(0.0, asked_at - due_at)))
    if health is not None:
        if health.in_recovery:
            raise NotPrimary("the server has become a standby, where nobody can listen")
        yield from _compare(watch, health)
    link.soon = _soon(link, policy, health, answered_at - asked_at)
    if link.missing:
        yield from _listen_to_missing(watch, policy)
    if watch.stored is not None:
        watch.stored.hinted()
        link.soon = math.inf  # nothing can be missing between two checks
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


def _plan_check(link: Link, policy: Policy, now: float) -> None:
    link.check_at, link.check_by = policy.next_check(now), policy.latest_check(now)


def _soon(link: Link, policy: Policy, health: Health | None, answer_seconds: float) -> float:
    """Return `Link.soon`, after an answer. Arrivals matter only if such an answer proves that everything arrives."""
    in_order = health is not None and not health.unchecked and not link.behind_pooler and not link.missing
    return policy.soon(answer_seconds) if in_order else math.inf


def _listen_to_missing(watch: ListenerWatch, policy: Policy) -> Program[None]:
    missing = watch.link.missing
    yield from listen_again_to(watch, missing)
    watch.clocks_read(policy.now())
    gap = watch.link.unproved.gap(Reason.SUBSCRIPTION_LOST, missing) if watch.stored is None else None
    # Notifications that have arrived on the other channels are older than this gap, or do not matter to it.
    yield from tell_listen_in_force(watch, missing, gap)


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
    elif watch.still_to_listen is not None:
        yield from _listen_on(watch, policy, watch.still_to_listen)
    else:
        yield from disconnect(watch)
        if not watch.connecting:
            yield Tell(Connecting())
            watch.connecting = True
        opened: Opened | None = yield Connect(None if left == math.inf else left, watch.seeks_primary)
        if opened is not None:
            yield from _begin_to_listen(watch, policy, opened)
            return True
    return watch.state is State.LISTENING or end.moment == math.inf or policy.clock() < end.moment


def _begin_to_listen(watch: ListenerWatch, policy: Policy, opened: Opened) -> Program[None]:
    """Find out whether LISTEN is possible on a new connection."""
    asked_at = policy.clock()
    health = yield from _first_check(watch, policy)
    link = Link(opened)
    if health is not None:
        link.server_pid = answering = health.server_pid
        link.behind_pooler = answering is not None and opened.server_pid not in (None, answering)
    link.soon = _soon(link, policy, health, policy.clock() - asked_at)
    watch.link = link
    yield Tell(Connected(health, opened.server_pid, link.behind_pooler))
    if health is not None and health.in_recovery:
        raise NotPrimary("the server is a standby, where nobody can listen")
    if policy.session_name is not None:
        yield NameSession(policy.session_name())
    if watch.stored is not None:
        yield from watch.stored.begin(watch, policy)
        link.soon = math.inf
    watch.in_force.clear()
    watch.untold.clear()
    watch.still_to_listen = watch.wanted.start_over()  # last: otherwise all of this is done once more


def _listen_on(watch: ListenerWatch, policy: Policy, left: int) -> Program[None]:
    """Listen to some more of the channels on a new connection. After the last ones, LISTEN is in force again.

    Args:
        watch: the loop's memory.
        policy: says how long to wait.
        left: how many channels must still be listened to. Those that are added by then come later.
    """
    part = watch.wanted.take_up(min(left, MOST_CHANNELS))
    if not (yield from listen_to(watch, policy, tuple(filter(watch.wanted.channels.__contains__, part)))):
        return
    watch.wanted.settle(part, watch.in_force)
    watch.still_to_listen = left - len(part)
    if part and watch.still_to_listen:
        return
    restored = policy.now()
    link = watch.link
    link.unproved = Period(restored)
    link.listening_since = watch.looked_at = policy.clock()
    _plan_check(link, policy, link.listening_since)
    gap = None if watch.lost_gap is None else watch.lost_gap.until(restored)
    watch.to_announce = ListenInForce(tuple(watch.untold), gap, link.backend)
    watch.connecting = False
    watch.ever_listened = True
    watch.still_to_listen = None
    if watch.stored is not None:
        watch.stored.hinted()
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


# Telling the user.


def announce(watch: ListenerWatch) -> Program[None]:
    """Tell the user of a LISTEN that is in force, and then of the gaps of our own queues."""
    if watch.to_announce is not None:
        yield from tell_listen_in_force(watch, watch.to_announce.channels, watch.to_announce.gap)
    watch.gap_announced()
    while watch.dropped_gaps:
        dropped = watch.dropped_gaps[0]
        dropped.begun = True
        yield from tell_listen_in_force(watch, dropped.gap.channels, dropped.gap)
        watch.dropped_gaps.popleft()
        dropped.told()
