"""Who is called for which channel."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from types import TracebackType

from pgnotify.listener.mailbox import Mailbox
from pgnotify.notification import Notification


class Subscription:
    """A callback for a channel, until `cancel`; `Listener.subscribe` makes it. Also a context manager.

    Attributes:
        channel: its channel.
        callback: called with each `Notification`.
    """

    def __init__(
        self,
        channel: str,
        callback: Callable[[Notification], object],
        wait_listening: Callable[[Subscription, float | None], bool],
        cancel: Callable[[Subscription], None],
        size: int,
        internal: bool = False,
    ) -> None:
        self.channel = channel
        self.callback = callback
        self.cancelled = False
        """Whether `cancel` was called: then the callback is not called any more."""
        self.internal = internal
        """Whether it is the listener's own, and none of the user's business."""
        self.mailbox = Mailbox(size)
        """What waits for a worker."""
        self.scheduled = False
        """Whether a worker has it, or will; guarded by `lock`."""
        self.lock = threading.Lock()
        self._wait_listening = wait_listening
        self._cancel = cancel

    def wait_listening(self, timeout: float | None = None) -> bool:
        """Wait until LISTEN is in force.

        If no thread reads, this one connects and reads meanwhile.

        Args:
            timeout: seconds; None waits for ever.

        Returns:
            False if the timeout passed first, or the subscription was cancelled.

        Raises:
            ListenerClosed: the listener was stopped.

        And the driver's error, if the server refuses the channel: such as a name that its encoding has no letters for.
        """
        return not self.cancelled and self._wait_listening(self, timeout)

    def cancel(self) -> None:
        """Call the callback no more; UNLISTEN follows if nobody else wants the channel. A second call does nothing.

        From the callback's own thread, or another one; a call that is under way is not waited for.
        """
        self._cancel(self)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<{'cancelled ' if self.cancelled else ''}{type(self).__name__} to {self.channel!r}>"


class Routes:
    """Which subscriptions each channel has. Copied at each change, so that who delivers takes no lock.

    Args:
        channels: to be listened to whatever subscriptions there are.
        publish: called with all channels to listen to, at each change of them, one call at a time.
    """

    def __init__(
        self, channels: tuple[str, ...], publish: Callable[[tuple[str, ...]], None] = lambda wanted: None
    ) -> None:
        self._publish = publish
        self._own = dict.fromkeys(channels)
        self._lock = threading.RLock()  # for signal handlers
        self.of: dict[str, tuple[Subscription, ...]] = {}
        """The subscriptions of each channel that has any."""
        self.wanted: tuple[str, ...] = tuple(self._own)
        """All channels to listen to, each once."""
        self.wanted_set = frozenset(self.wanted)
        """The same, for looking up."""
        self.internal_channel = f"pgnotify_probe_{secrets.token_hex(8)}"
        """Of the listener's own, and none of the user's business."""

    def add(self, subscription: Subscription) -> None:
        """Have a subscription called from now on."""
        with self._lock:
            self._replace({**self.of, subscription.channel: (*self.of.get(subscription.channel, ()), subscription)})

    def remove(self, subscription: Subscription) -> None:
        """Have it called no more."""
        with self._lock:
            subscription.cancelled = True
            left = tuple(each for each in self.of.get(subscription.channel, ()) if each is not subscription)
            others = {channel: those for channel, those in self.of.items() if channel != subscription.channel}
            self._replace({**others, subscription.channel: left} if left else others)

    def _replace(self, of: dict[str, tuple[Subscription, ...]]) -> None:
        self.of = of
        wanted = tuple(dict.fromkeys((*self._own, *of)))
        if wanted != self.wanted:
            self.wanted, self.wanted_set = wanted, frozenset(wanted)
            self._publish(wanted)
