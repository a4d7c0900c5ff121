"""The two fronts of the Listener, which share their tests: `pgnotify.Listener`, and `AsyncListener` on an event loop.

A module with ``pytestmark = both_fronts`` takes `Listener` from here. Its tests run on both fronts, except those that
are marked as `blocking_only`.

Offline, each test runs on both fronts. Of the tests on a real server, each runs on asyncio once, with the newest
release of one driver, and the drivers take turns: the fronts share everything that depends on the driver. With
``PGNOTIFY_TEST_FRONTS=all`` they run on all drivers, and with ``blocking`` on none.
"""

from __future__ import annotations

import os
import zlib
from typing import Any

import pytest

import pgnotify
from pgnotify.registry import DRIVERS
from tests import kinds
from tests.helpers.async_front import AsyncFront, LoopThread

FRONTS = ("blocking", "asyncio")

both_fronts = pytest.mark.both_fronts

REASONS = {
    "who reads": "an AsyncListener always reads in a task of its own, so no caller reads, or is refused",
    "threads": "several threads use it; an AsyncListener belongs to one event loop",
    "shared connection": "it uses the connection in another thread than the one that reads",
    "held loop": "a function blocks its thread while others call methods; an event loop would stand still",
    "workers": "it looks into the threads of workers, which an AsyncListener does not have",
    "signals": "a signal handler interrupts a call; on an event loop it only runs between two steps",
    "fork": "the child goes on with the parent's call; an event loop does not run in it",
    "no listener": "it makes no listener",
    "inside": "it looks into an object that the other front does not have",
    "deleted": "it is about references from threads; tests/offline/aio has the same for tasks",
}
"""Why a test is for the blocking front only."""

_current: LoopThread | None = None
"""Where an AsyncListener runs, while a test of asyncio runs."""


def blocking_only(reason: str) -> pytest.MarkDecorator:
    """Return a mark for a test that makes sense on the blocking front only, for one of `REASONS`."""
    assert reason in REASONS, reason
    return pytest.mark.blocking_only(reason)


def Listener(*arguments: Any, **options: Any) -> Any:
    """Return a listener of the front that the test runs on."""
    if _current is None:
        return pgnotify.Listener(*arguments, **options)
    return AsyncFront(_current, *arguments, **options)


def use(thread: LoopThread | None) -> None:
    """Make listeners of this event loop from now on; blocking ones if it is None."""
    global _current
    _current = thread


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked with `both_fronts` on both."""
    definition = metafunc.definition
    if definition.get_closest_marker("both_fronts") and not definition.get_closest_marker("blocking_only"):
        metafunc.parametrize("front", FRONTS, indirect=True)


def is_wanted(item: pytest.Item) -> bool:
    """Return whether to run a test that is collected. On asyncio, each test with a real server runs on one driver."""
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if parameters.get("front") != "asyncio":
        return True
    wanted = os.environ.get("PGNOTIFY_TEST_FRONTS")
    if wanted is not None:
        return wanted == "all"
    kind = parameters.get("kind")
    driver = parameters.get("driver") if kind is None else kind.driver
    if driver is None:
        return True
    marker = item.get_closest_marker("drivers")
    possible = [name for name in DRIVERS if marker is None or kind is None or name in marker.args] or list(DRIVERS)
    turn = possible[zlib.crc32(getattr(item, "originalname", item.name).encode()) % len(possible)]
    return driver == turn and kind in (None, kinds.FIRST[driver])
