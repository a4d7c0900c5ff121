"""The states, and which state follows on which input.

This module decides nothing else. It does not know channels, notifications or connections. The
pictures of the states in the documentation are drawn from its two tables.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class State(enum.Enum):
    """The state of one watch over some channels, on one connection."""

    IDLE = "idle"
    """Connected; no LISTEN is in force."""
    LISTENING = "listening"
    """Every LISTEN is in force."""
    LOST = "lost"
    """The connection is gone. The next LISTEN that comes into force ends this state."""
    CLOSED = "closed"
    """Closed by the user, for good."""


class Input(enum.Enum):
    """A fact. It is already true when a program reports it."""

    LISTENED = "LISTEN in force"
    UNLISTENED = "UNLISTEN in force"
    CONNECTION_LOST = "connection lost"
    CLOSED = "closed"


# A missing entry is a step that cannot happen: a program that takes it has a bug (see `advance`).
TRANSITIONS: Mapping[State, Mapping[Input, State]] = MappingProxyType(
    {
        State.IDLE: {
            Input.LISTENED: State.LISTENING,
            Input.CONNECTION_LOST: State.LOST,
            Input.CLOSED: State.CLOSED,
        },
        State.LISTENING: {
            Input.UNLISTENED: State.IDLE,
            Input.CONNECTION_LOST: State.LOST,
            Input.CLOSED: State.CLOSED,
        },
        State.LOST: {
            # The connection may have come back: some drivers reopen it under the same object.
            Input.LISTENED: State.LISTENING,
            Input.CONNECTION_LOST: State.LOST,
            Input.CLOSED: State.CLOSED,
        },
        State.CLOSED: {},
    }
)


def advance(state: State, happened: Input) -> State:
    """Return the state that follows.

    Raises:
        RuntimeError: the input cannot happen in this state, which is a bug of pgnotify.
    """
    try:
        return TRANSITIONS[state][happened]
    except KeyError:
        raise RuntimeError(f"{happened.value!r} cannot happen while {state.value}") from None


class ListenerState(str, enum.Enum):
    """The state of a `Listener`, as its users see it. Each member is also a string: its own value."""

    IDLE = "idle"
    """Not started."""
    CONNECTING = "connecting"
    """An attempt to connect, or to listen on the new connection, is under way."""
    BACKING_OFF = "backing off"
    """A connection, or an attempt to connect, has failed. The next attempt follows after a pause."""
    LISTENING = "listening"
    """Every LISTEN is in force."""
    LOST = "lost"
    """The connection is gone, and the listener cannot make another one."""
    CLOSED = "closed"
    """Stopped, for good."""

    __str__ = str.__str__


# A state that is not in the row cannot follow (see `follow`).
LISTENER_TRANSITIONS: Mapping[ListenerState, frozenset[ListenerState]] = MappingProxyType(
    {
        ListenerState.IDLE: frozenset({ListenerState.CONNECTING, ListenerState.CLOSED}),
        ListenerState.CONNECTING: frozenset(
            {
                ListenerState.LISTENING,
                ListenerState.BACKING_OFF,
                ListenerState.LOST,
                ListenerState.IDLE,  # start() has raised the error of the first attempt, and may be called again
                ListenerState.CLOSED,
            }
        ),
        ListenerState.BACKING_OFF: frozenset({ListenerState.CONNECTING, ListenerState.CLOSED}),
        ListenerState.LISTENING: frozenset(
            {
                ListenerState.CONNECTING,  # the first attempt after a loss is made at once
                ListenerState.BACKING_OFF,
                ListenerState.LOST,
                ListenerState.CLOSED,
            }
        ),
        # The user's connection may have come back under the same object, and the listener is read again.
        ListenerState.LOST: frozenset({ListenerState.CONNECTING, ListenerState.IDLE, ListenerState.CLOSED}),
        ListenerState.CLOSED: frozenset(),
    }
)


def follow(state: ListenerState, following: ListenerState) -> ListenerState:
    """Return ``following``, if that may follow on ``state``. A state may follow on itself.

    Raises:
        RuntimeError: it cannot follow, which is a bug of pgnotify.
    """
    if following is not state and following not in LISTENER_TRANSITIONS[state]:
        raise RuntimeError(f"{following.value!r} cannot follow on {state.value!r}")
    return following
