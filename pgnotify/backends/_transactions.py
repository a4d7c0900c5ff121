"""Transactions on the user's connection: their states, the refusal inside one, and a way around an automatic one."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pgnotify.errors import TransactionError


class TransactionStatus(enum.IntEnum):
    """The state of a connection's transaction; the numbers are libpq's PQTRANS_…."""

    IDLE = 0
    ACTIVE = 1
    IN_TRANSACTION = 2
    IN_FAILED_TRANSACTION = 3
    UNKNOWN = 4


STATUS_OF = {int(status): status for status in TransactionStatus}
"""The status by its number, in a third of the time that calling the class takes."""


@contextmanager
def in_autocommit(connection: Any, has_ended: Callable[[], bool]) -> Iterator[None]:
    """Put an idle DB-API connection into autocommit mode, and back unless it has ended; this sends nothing."""
    try:
        connection.autocommit = True
        yield
        connection.autocommit = False
    except BaseException:  # of a signal handler, too, also during one of the two assignments
        if not has_ended():
            with suppress(Exception):  # refused where a signal handler has left a statement half done
                connection.autocommit = False
        raise


def in_open_transaction(what: str) -> TransactionError:
    """Return the error for a call that is not possible inside the user's transaction."""
    return TransactionError(
        f"{what} is not possible inside an open transaction: no notification would arrive before it ends. "
        "Commit or roll back first, or listen on a connection of its own"
    )
