"""The states of whoever listens, and which state follows on which input.

This module decides nothing else: it knows no channel, no notification and no connection. The
picture of the states in the documentation is drawn from `TRANSITIONS`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class State(enum.Enum):
    """Where a listener stands."""

    IDLE = "idle"
    """Connected; no LISTEN is in force."""
    LISTENING = "listening"
    """Every LISTEN is in force."""
    LOST = "lost"
    """The connection is gone; a LISTEN that comes into force ends this."""
    CLOSED = "closed"
    """Closed by the user, for good."""


class Input(enum.Enum):
    """What has happened; each is a fact that is true already."""

    LISTENED = "LISTEN in force"
    UNLISTENED = "UNLISTEN in force"
    CONNECTION_LOST = "connection lost"
    CLOSED = "closed"


# A missing row is a step that cannot happen: a program that takes it has a bug (see `advance`).
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
