"""What the tests without a server share."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from pgnotify.testing.memory import MemoryServer
from tests.helpers.canned import Canned


@pytest.fixture(scope="session", autouse=True)
def _frozen() -> None:
    """Leave out of each collection everything that was made before the first test, so that a full one takes 1 ms."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def canned() -> Iterator[Callable[..., Canned]]:
    """A function that makes backends in memory; they must not have been called as no driver could bear."""
    made: list[Canned] = []

    def make(**settings: float) -> Canned:
        made.append(Canned(**settings))
        return made[-1]

    yield make
    # A handler that a test has left in a cycle, such as that of an error and its traceback, warns if it is collected
    # in another thread than it ran in. That would happen during some later test.
    gc.collect()
    for each in made:
        each.release()
    assert [each.violations for each in made if each.violations] == []


@pytest.fixture
def backend(canned: Callable[..., Canned]) -> Canned:
    """A backend in memory."""
    return canned()


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Only what nothing refers to any more is deleted, and at once."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def server():
    """A PostgreSQL in memory."""
    with MemoryServer() as running:
        yield running


@pytest.fixture
def sender(server):
    """A connection to it."""
    return server.connect()
