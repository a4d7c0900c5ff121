"""The memory of the Listener's loop, between its steps and between its runs."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Container
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from pgnotify.listener.events import ListenInForce
from pgnotify.listener.flow import Flow
from pgnotify.listener.gap import Gap, Moment, Period, Reason
from pgnotify.listener.stored import Stored
from pgnotify.listener.wanted import Wanted
from pgnotify.program.actions import Fetch, Opened
from pgnotify.program.state import State
from pgnotify.program.watch import Watch

_NOTHING_OPENED = Opened(None, None)
_NEVER = Moment(0.0, 0.0)
_channel_of = itemgetter(0)


class Link:
    """The memory of one connection. Each connection gets a new one.

    A listener that was never connected has one, too; nothing was ever listened to on that.
    """

    __slots__ = (
        "backend",
        "behind_pooler",
        "check_at",
        "check_by",
        "complete_until_next",
        "delivery_proved",
        "has_fetched",
        "has_looked",
        "ignored",
        "listening_since",
        "missing",
        "nothing_pending",
        "server_pid",
        "soon",
        "unproved",
    )

    def __init__(self, opened: Opened = _NOTHING_OPENED) -> None:
        self.backend = opened.backend
        self.server_pid: int | None = None
        """The server process that answered last; None if that is not known."""
        self.behind_pooler = False
        """Whether the server process that answers is not the one that was reported to the driver."""
        self.listening_since = 0.0
        """When LISTEN came into force, by the monotonic clock."""
        self.check_at = 0.0
        """When to check next, by the monotonic clock."""
        self.check_by = 0.0
        """When to check at the latest, however much is arriving, by the monotonic clock."""
        self.missing: tuple[str, ...] = ()
        """Channels that the server did not know at the latest check, although we had listened to them."""
        self.ignored: frozenset[str] = frozenset()
        """Channels that were missing at the latest two checks, although LISTEN was sent between them."""
        self.soon = math.inf
        """Seconds after an arrival within which to check; infinite if arrivals do not matter."""
        self.has_fetched = False
        """Whether any notification was fetched from it."""
        self.has_looked = True
        """Whether notifications were looked for since the latest LISTEN or UNLISTEN."""
        self.nothing_pending = False
        """Whether everything was fetched, and no statement has run since. If so, the next batch arrives by itself."""
        self.delivery_proved = False
        """Whether a notification has arrived by itself. One that arrives with the reply to a statement proves nothing
        behind a pooler that lends its server connections for one transaction at a time."""
        self.unproved = Period(_NEVER)
        """The gap's period, if the connection were lost now. What was sent before it was fetched, or lies in an
        earlier gap."""
        self.complete_until_next: Moment | None = None
        """When the next `unproved` begins, as soon as everything that arrived before the server's answer is fetched."""

    def keep_only(self, in_force: Container[str]) -> None:
        """Forget what was found of channels that are no longer listened to."""
        self.missing = tuple(filter(in_force.__contains__, self.missing))
        self.ignored = frozenset(filter(in_force.__contains__, self.ignored))

    @property
    def complete_until(self) -> Moment:
        """Notifications that were sent before this were fetched, or lie in an earlier gap."""
        return self.unproved.start


class OpenGap(NamedTuple):
    """A gap, from the loss until the user is told of it."""

    reason: Reason
    period: Period
    channels: tuple[str, ...]

    def until(self, restored: Moment) -> Gap:
        """Return the gap that ends at a moment."""
        self.period.extend(restored)
        return self.period.gap(self.reason, self.channels)


class DroppedGap:
    """The gap of a full queue of ours. A consumer has reached its place, and waits there until the user is told of it.

    Or the gap of a notification that could not be decoded, for which nobody waits.

    Args:
        gap: the gap.
        changed: called when the user was told; the consumer waits for that.
    """

    __slots__ = ("_changed", "begun", "gap", "is_told")

    def __init__(self, gap: Gap, changed: Callable[[], None]) -> None:
        self.gap = gap
        self.begun = False
        """Whether on_listening is being called with it, or has ended the loop with an error."""
        self.is_told = False
        self._changed = changed

    def told(self) -> None:
        """Record that the user was told of it."""
        self.is_told = True
        self._changed()


class ListenerWatch(Watch):
    """The memory of the loop, between its steps and between its runs.

    Args:
        wanted: the channels to listen to. Interrupt the watch after a change.
    """

    __slots__ = (
        "attempts",
        "connecting",
        "dropped_gaps",
        "ever_listened",
        "fetched",
        "flow",
        "futile_connections",
        "link",
        "looked_at",
        "lost_gap",
        "must_disconnect",
        "queue_complete_until",
        "retry_at",
        "seeks_primary",
        "still_to_listen",
        "stored",
        "to_announce",
        "untold",
        "wanted",
    )

    def __init__(self, wanted: Wanted) -> None:
        super().__init__()
        self.state = State.LOST
        self.wanted = wanted
        self.fetched = self.queue
        """Where notifications are fetched to: the queue, unless they are only hints that something is stored."""
        self.stored: Stored | None = None
        """Reads what the hints are about; None if the notifications themselves are delivered."""
        self.link = Link()
        """The current connection, or the latest one."""
        self.connecting = False
        """Whether an attempt to connect is under way."""
        self.still_to_listen: int | None = None
        """How many channels must be listened to on a new connection until LISTEN is in force; None if there is no new
        connection."""
        self.attempts = 0
        """How many attempts to connect have failed in a row. A connection that has lasted long enough resets it."""
        self.futile_connections = 0
        """How many connections in a row were lost at once, without any notification."""
        self.retry_at = 0.0
        """When to try again, by the monotonic clock."""
        self.seeks_primary = False
        """Whether any connection has led to a standby."""
        self.must_disconnect = False
        """Whether a connection is given up, and not released yet."""
        self.ever_listened = False
        """Whether LISTEN was ever in force."""
        self.flow = Flow()
        """How much is arriving. It outlives a connection, as the next one probably takes the same way."""
        self.looked_at = 0.0
        """When the loop last looked at the connection, by the monotonic clock; infinite while it waits there."""
        self.queue_complete_until = _NEVER
        """The value of `complete_until` when the queue was filled. The notifications in it were sent after that."""
        self.lost_gap: OpenGap | None = None
        """The gap since the loss, until the user is told of it."""
        self.to_announce: ListenInForce | None = None
        """A LISTEN that the user does not know of yet. Queued notifications are older."""
        self.untold: dict[str, None] = {}
        """Channels that the server listens to, and the user does not know of them yet. The values mean nothing."""
        self.dropped_gaps: deque[DroppedGap] = deque()
        """Gaps of our own queues to announce, the oldest first. Any thread appends. The reading thread announces and
        removes them; when the loop is over, the thread that removes one announces it."""

    @property
    def delivering(self) -> bool:
        """Whether a notification that is sent now should arrive."""
        link = self.link
        return self.state is State.LISTENING and (link.delivery_proved or not link.behind_pooler) and not link.ignored

    @property
    def is_settled(self) -> bool:
        """Whether LISTEN is in force, and the user knows."""
        return self.state is State.LISTENING and self.to_announce is None

    @property
    def known_good(self) -> Period | None:
        """The period of the gap that is open, or that a loss would open now; None if nothing was ever listened to."""
        period = self.link.unproved if self.lost_gap is None else self.lost_gap.period
        return None if period.start is _NEVER else period

    def read_stored(self, stored: Stored) -> None:
        """Deliver what is stored. Notifications are only hints from now on."""
        self.stored = stored
        self.fetched = deque()
        self.fetch = Fetch(self.fetched)

    def forget_in_child(self) -> None:
        """Have a loop that runs in this thread find itself closed. Called in the child after a fork."""
        self.state = State.CLOSED
        for each in (self.in_force, self.queue, self.fetched, self.commands, self.dropped_gaps):
            each.clear()
        self.interrupt()

    def seconds_unread(self, now: float) -> float:
        """Return for how long nobody has looked at the connection although LISTEN is in force.

        Any thread may call this, at a moment of the monotonic clock. While the loop waits, it looks; it would end the
        wait for the next check.
        """
        if self.state is not State.LISTENING:
            return 0.0
        return max(0.0, now - (self.link.check_at if self.looked_at == math.inf else self.looked_at))

    def open_gap(self, reason: Reason) -> None:
        """Record that notifications may be missing from the period that is not proved."""
        if self.to_announce is not None:
            # Nothing newer was delivered: the old gap, which the user does not know of, continues.
            self.to_announce = None
        elif self.in_force and self.stored is None:
            self.lost_gap = OpenGap(reason, self.link.unproved, tuple(self.in_force))
        self.link.complete_until_next = None

    def announce(self, dropped: DroppedGap) -> None:
        """Have the reading thread tell the user of the gap of a full queue; any thread may call this."""
        self.dropped_gaps.append(dropped)

    def clocks_read(self, moment: Moment) -> None:
        """Record a reading of the clocks, for the gap that is open or may follow."""
        self.link.unproved.extend(moment)
        if self.lost_gap is not None:
            self.lost_gap.period.extend(moment)

    def gap_announced(self) -> None:
        """Record that the user knows that LISTEN is in force."""
        self.to_announce = self.lost_gap = None
        self.untold.clear()

    def arrived(self, count: int, now: float) -> None:
        """Record that this many notifications were fetched at this moment, of the monotonic clock."""
        if self.fetched:  # otherwise it was one that cannot be decoded
            self.flow.arrived(count, self.fetched[-1], now)

    def take(self, count: int) -> None:
        """Record how many notifications were fetched. 0 means that everything that had arrived is fetched."""
        link = self.link
        if count:
            self.queue_complete_until = link.complete_until
            link.has_fetched = True
            link.delivery_proved = link.delivery_proved or link.nothing_pending
            if link.ignored and link.nothing_pending:
                latest = islice(reversed(self.fetched), count)
                self._hear(link, set(map(_channel_of, latest)))
            return
        link.nothing_pending = True
        if link.complete_until_next is not None:
            link.unproved, link.complete_until_next = Period(link.complete_until_next), None

    def _hear(self, link: Link, channels: set[str]) -> None:
        """Take into account that notifications of these channels have arrived by themselves."""
        if not link.ignored.isdisjoint(channels):
            link.missing = tuple(channel for channel in link.missing if channel not in channels)
            link.ignored = link.ignored - channels
