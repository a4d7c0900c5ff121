"""What the tests of the documented handler share: a handler on a backend in memory, on each front."""

from __future__ import annotations

import pytest

from tests.helpers.handlers import Recorder
from tests.helpers.threads import Running


@pytest.fixture
def handler_on(handler_front):
    """A function that makes a handler on a backend."""
    return lambda backend, callback=print, **settings: handler_front.make(backend, "jobs", callback, **settings)


@pytest.fixture
def received():
    return Recorder()


@pytest.fixture
def poll(backend, received, handler_on):
    """A handler that polls."""
    return handler_on(backend, received, timeout=0)


@pytest.fixture
def handler(backend, received, handler_on):
    """A handler that waits for ever."""
    made = handler_on(backend, received)
    yield made
    made.close()


@pytest.fixture
def waiting(handler, backend):
    """The loop of `handler`, waiting in another thread."""
    loop = Running(handler)
    assert backend.waiting.wait(10)
    yield loop
    handler.stop()
    loop.ended()
