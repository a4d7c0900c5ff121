"""The Listener: it listens to many channels, reconnects after every loss, and reports every gap.

Decided without I/O:

- `loop`: the order in which it connects, listens, delivers, checks and reconnects.
- `channels`: which LISTEN and UNLISTEN it asks for, in which parts.
- `failure`: how it continues after a failure: which gap opens, and when the next attempt follows.
- `watch`: the memory of the loop between its steps.
- `draining`: what it still delivers when it ends.
- `events`: the events that the loop reports.
- `gap`: `Gap` and `Listening`, the values that on_listening receives.
- `flow`: whether a question to the server must wait, because more is arriving than it would pass.
- `policy`: how long the loop waits, and which errors are final.

Performed, on one thread or several:

- `lifecycle`: which thread runs the loop, and how the other threads wait for it.
- `shutdown`: how it ends, from any thread.
- `at_exit`: how the end of the process stops it.
- `runner`: how the loop's actions are performed on one connection after another.
- `clocks`: which clocks of the machine tell the moments of a gap.
- `forked`: how a forked child says that it does not listen.
- `delivery`: which notification goes to a callback, to a worker or to the iteration.
- `timed`: the same, with the duration of each callback, for an observer that wants it.
- `stream`: `Stream`, the notifications of one channel for one consumer.
- `subscriptions`: which callbacks belong to which channel.
- `wanted`: which channels to listen to, and which of them have changed.
- `mailbox`: which notifications are dropped while their consumer is too slow.
- `overflows`: how that consumer waits until the user is told what was dropped.
- `workers`: which thread runs which callback.

Seen by users:

- `listener`: `Listener`, the class that users call.
- `face`: its parts and its state, which are those of the listener on an event loop, too.
- `options`: its options, with their defaults and limits.
- `status`: `Status`, and the counters.
- `hints`: how code that looks for its work itself is told to look at once.
- `snapshot`: how a `Status` is put together.
- `observer`: `Observer`, which feeds a metrics or tracing library.
- `report`: which events on_listening and on_error are called for.
- `log`: the wording of the log, and which warnings are given once.
- `repeats`: how many lines of one kind the log has in a minute.
- `probe`: how to find out whether notifications arrive.
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from pgnotify.listener.listener import Listener as Listener

__all__ = ["Listener"]


def __getattr__(name: str) -> object:
    # On first use: an asyncio front uses only the modules without threads, and need not pay for the others.
    if name != "Listener":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pgnotify.listener.listener import Listener

    return Listener
