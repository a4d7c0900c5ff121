"""Which LISTEN and UNLISTEN the Listener's loop asks for, part by part, and when the user is told; without any I/O.

There may be tens of thousands of channels. Each part has an answer of its own, with a deadline of its own, and the loop
may end between two answers.
"""

from __future__ import annotations

from itertools import filterfalse

from pgnotify.listener.events import Applied, ListenInForce, Refused
from pgnotify.listener.failure import OnListeningFailed
from pgnotify.listener.gap import Gap
from pgnotify.listener.policy import Policy
from pgnotify.listener.watch import ListenerWatch
from pgnotify.program.actions import ListenMany, Program, Tell, UnlistenMany
from pgnotify.program.interruption import is_interruption
from pgnotify.protocol import MOST_CHANNELS, parts


def apply_due(watch: ListenerWatch, policy: Policy) -> Program[None]:
    """Have the server listen to some of the wanted channels, or no longer listen to others, in one part of each.

    Notifications are looked for before the next part: thousands of changes keep nobody waiting, and no check.
    """
    watch.link.nothing_pending = watch.link.has_looked = False
    part = watch.wanted.take_up(MOST_CHANNELS)
    in_force, wanted = watch.in_force, watch.wanted.channels
    yield from unlisten(watch, tuple(c for c in part if c in in_force and c not in wanted))
    watch.link.keep_only(in_force)
    yield from listen_to(watch, policy, tuple(c for c in part if c in wanted and c not in in_force))
    try:
        if watch.untold:
            yield from tell_listen_in_force(watch, tuple(watch.untold), None)
    except OnListeningFailed:
        _settle(watch, part)
        raise
    _settle(watch, part)  # after that: otherwise all of this is done once more
    yield Tell(Applied())


def _settle(watch: ListenerWatch, channels: tuple[str, ...]) -> None:
    """Record that nothing more is to be done for channels, unless they have changed again by now."""
    watch.untold.clear()
    watch.wanted.settle(channels, watch.in_force)


def unlisten(watch: ListenerWatch, channels: tuple[str, ...]) -> Program[None]:
    """Stop listening to channels, part by part."""
    for left in parts(channels):
        while left:
            others: tuple[str, ...] = yield UnlistenMany(left)
            for channel in left[: len(left) - len(others)]:
                watch.in_force.pop(channel, None)
            left = others


def listen_to(watch: ListenerWatch, policy: Policy, channels: tuple[str, ...]) -> Program[bool]:
    """Listen to channels, except those that the server refuses. The user does not know of them yet.

    The channels of the very first LISTEN are not tried one by one: its error is raised at once.

    Returns:
        False if the listener was asked to stop before it has listened to all of them.
    """
    left = tuple(filterfalse(watch.wanted.refused.__contains__, channels))
    try:
        while left and not watch.stop_requested:
            others: tuple[str, ...] = yield ListenMany(left)
            done = dict.fromkeys(left[: len(left) - len(others)])
            # First: after an interruption, they are listened to once more, and the user is told of them.
            watch.untold.update(done)
            watch.in_force.update(done)
            left = others
        return not left
    except Exception as error:
        if is_interruption(error) or not watch.ever_listened or not policy.is_permanent(error, at_start=False):
            raise
        if len(left) == 1:
            watch.wanted.refuse(left[0], error)
            yield Tell(Refused(left[0], error))
            return True
    middle = len(left) // 2
    return (yield from listen_to(watch, policy, left[:middle])) and (yield from listen_to(watch, policy, left[middle:]))


def listen_again_to(watch: ListenerWatch, channels: tuple[str, ...]) -> Program[None]:
    """Listen to channels that the server has forgotten, unless the listener is asked to stop."""
    for left in parts(channels):
        while left and not watch.stop_requested:
            left = yield ListenMany(left)


def tell_listen_in_force(watch: ListenerWatch, channels: tuple[str, ...], gap: Gap | None) -> Program[None]:
    """Tell the user that LISTEN is in force, and of the gap if there is one."""
    watch.link.nothing_pending = False
    if not (yield Tell(ListenInForce(channels, gap, watch.link.backend))):
        raise OnListeningFailed("on_listening has failed")
