"""Who is told of the notifications that are sent through pgnotify: a recorder of tests, and usually nobody.

Each function and method that sends for a user calls `sent` after that. What pgnotify sends for itself, such as a probe,
does not come here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

Recorder: TypeAlias = Callable[[object, Sequence[tuple[str, str]], bool], None]
"""Called with the connection that the user has passed, the pairs of channel and payload, and whether an outbox stored
them. In any thread."""

recorders: list[Recorder] = []


def sent(connection: object, pairs: Sequence[tuple[str, str]], stored: bool = False) -> None:
    """Tell the recorders of notifications that were sent without an error; perhaps they wait for a commit."""
    for record in tuple(recorders):
        record(connection, pairs, stored)
