"""What the Listener's loop remembers between its steps, and between one run of it and the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from pgnotify.listener.events import ListenInForce
from pgnotify.listener.gap import Gap, Reason, utc
from pgnotify.notification import Plain
from pgnotify.program.state import State
from pgnotify.program.watch import Watch


class ListenerWatch(Watch):
    """What is remembered between the steps of the loop, and between one run of it and the next.

    `channels` is what is wanted: replace it from any thread, and interrupt.
    """

    __slots__ = (
        "applied",
        "attempts",
        "behind_pooler",
        "check_at",
        "complete_until",
        "complete_until_next",
        "connecting",
        "delivery_proved",
        "dropped_gaps",
        "ever_listened",
        "futile_connections",
        "has_fetched",
        "listening_since",
        "lost_gap",
        "nothing_pending",
        "queue_complete_until",
        "refused",
        "retry_at",
        "server_pid",
        "to_announce",
    )

    def __init__(self, *channels: str) -> None:
        super().__init__(*channels)
        self.state = State.LOST
        self.applied: tuple[str, ...] = ()
        """The value of `channels` that the server was told last."""
        self.attempts = 0
        """How many have failed in a row; a connection that has lasted sets it back."""
        self.refused: dict[str, Exception] = {}
        """Channels that are wanted, and that the server will not have; each with its error."""
        self.connecting = False
        """Whether an attempt is under way."""
        self.retry_at = 0.0
        """When to try again, by the monotonic clock."""
        self.check_at = 0.0
        """When to check, by the monotonic clock."""
        self.listening_since = 0.0
        self.ever_listened = False
        self.has_fetched = False
        """Whether this connection has brought anything."""
        self.futile_connections = 0
        """How many connections in a row were lost at once and brought nothing."""
        self.nothing_pending = False
        """Whether all was fetched, and no statement has run since: what is fetched now came by itself."""
        self.delivery_proved = False
        """Whether something has come by itself on this connection. What comes along with a statement proves nothing
        behind a pooler that lends its server connections for a transaction at a time."""
        self.behind_pooler = False
        """Whether another process of the server answers than the one that was connected to."""
        self.server_pid: int | None = None
        """The process of the server that has answered last."""
        self.complete_until = 0.0
        """What was sent before this, in seconds since the epoch, was fetched, or lies in an earlier gap."""
        self.queue_complete_until = 0.0
        """The `complete_until` of when the queue was filled: what is in there was sent after that."""
        self.complete_until_next: float | None = None
        """The next `complete_until`, as soon as all is fetched that came before the server's answer."""
        self.lost_gap: tuple[Reason, float, tuple[str, ...]] | None = None
        """Why, since when and for which channels notifications may be missing, until that is announced."""
        self.to_announce: ListenInForce | None = None
        """A LISTEN that the user does not know of yet; what is queued is older."""
        self.dropped_gaps: deque[Gap] = deque()
        """Gaps of our own queues that could not be announced when the user came to them."""

    @property
    def delivering(self) -> bool:
        """Whether what is sent now should arrive."""
        return self.state is State.LISTENING and (self.delivery_proved or not self.behind_pooler)

    def want(self, channels: tuple[str, ...]) -> None:
        """Listen to these from now on; the running loop comes to it when it is woken."""
        for channel in self.refused.keys() - set(channels):
            self.refused.pop(channel, None)  # who wants it again tries again
        self.channels = channels

    def open_gap(self, reason: Reason) -> None:
        """Take note that from `complete_until` on notifications may be missing."""
        if self.to_announce is not None:
            # Nothing newer was delivered: the old gap, which the user does not know of, goes on.
            self.to_announce = None
        elif self.lost_gap is None and self.in_force:
            self.lost_gap = (reason, self.complete_until, tuple(self.in_force))
        self.complete_until_next = None

    def take(self, batch: Sequence[Plain]) -> None:
        """Take in what was fetched; nothing means that all is fetched that had come in."""
        if batch:
            self.queue.extend(batch)
            self.queue_complete_until = self.complete_until
            self.has_fetched = True
            self.delivery_proved = self.delivery_proved or self.nothing_pending
            return
        self.nothing_pending = True
        if self.complete_until_next is not None:
            self.complete_until, self.complete_until_next = self.complete_until_next, None

    @property
    def is_settled(self) -> bool:
        """Whether LISTEN is in force, and the user knows."""
        return self.state is State.LISTENING and self.to_announce is None

    def gap_announced(self) -> None:
        """Take note that the user knows that LISTEN is in force."""
        self.to_announce = self.lost_gap = None

    def gap_until(self, restored_at: float) -> Gap | None:
        """Return the gap that ends now, None if nothing was listened to before."""
        if self.lost_gap is None:
            return None
        reason, lost_at, channels = self.lost_gap
        return Gap(reason, utc(lost_at), utc(restored_at), channels)
