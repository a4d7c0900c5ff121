"""Forked children: which objects forget the parent's connection there, and what is never deleted in a child.

A child shares its parent's sockets. Whatever it sends there, a goodbye included, the server takes for the parent's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from pgnotify.atomic import WeakSet
from pgnotify.errors import PgNotifyError
from pgnotify.notification import Notification
from pgnotify.protocol import Backend


class Owner(Protocol):
    """Something that uses a connection."""

    def forget_in_child(self) -> None:
        """Make sure that nothing here uses the connection again. Called in the child, right after the fork.

        Other threads of the parent may have held any lock at that moment, so no lock may be waited for.
        """


_owners: WeakSet[Owner] = WeakSet()

# Where references cannot be leaked, this is the best that can be done: it lives until the interpreter ends.
_kept: list[object] = []


_in_child: list[Callable[[], object]] = []
_process = os.getpid()


def in_each_child(function: Callable[[], object]) -> None:
    """Have a function called in each child, after the fork. Functions are called in the order of these calls."""
    _in_child.append(function)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def notice_fork() -> None:
    """Do now in a child what is done after a fork, if the program that forked has told Python nothing.

    uWSGI forks its workers in C, and calls Python's functions for that only with ``--py-call-osafterfork`` (2.0.30).
    """
    if os.getpid() != _process:
        for function in _in_child:
            function()


def forget_after_fork(owner: Owner) -> None:
    """Have an object forget its connection in each child that is forked while it exists."""
    notice_fork()  # of a fork before: the owner is this process's
    _owners.add(owner)


def keep_for_ever(*objects: object) -> None:
    """Keep objects until the process is gone, even while the interpreter deletes everything at its end.

    Some drivers say goodbye to the server when the object of a connection is deleted, in whichever process.
    """
    _kept.append(objects)
    try:
        import ctypes

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(objects))  # is never undone
    except (ImportError, AttributeError):  # not CPython, or built without it
        return


class Parents(Backend):
    """A backend in a forked child: the connection is the parent's, and every verb raises an error that says so.

    Args:
        refusal: returns the error.
    """

    def __init__(self, refusal: Callable[[], PgNotifyError]) -> None:
        self._refusal = refusal

    def listen(self, channel: str) -> None:
        """Refuse."""
        raise self._refusal()

    def unlisten(self, channel: str) -> None:
        """Refuse."""
        raise self._refusal()

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        """Refuse."""
        raise self._refusal()

    def fetch(self) -> list[Notification]:
        """Refuse."""
        raise self._refusal()

    def notify(self, channel: str, payload: str = "") -> None:
        """Refuse."""
        raise self._refusal()

    def close(self) -> None:
        """Do nothing: the parent closes it."""


def _forget_in_child() -> None:
    global _process
    _process = os.getpid()
    failure: Exception | None = None
    for owner in _owners:
        try:
            owner.forget_in_child()
        except Exception as error:  # the others must still forget theirs
            failure = failure or error
    if failure is not None:
        raise failure  # Python prints it; a fork cannot fail any more


in_each_child(_forget_in_child)
