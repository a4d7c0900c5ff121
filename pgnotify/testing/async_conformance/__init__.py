"""The promises of every asynchronous backend, as tests for pytest and for `pgnotify.check`.

The tests of `pgnotify.testing.conformance` run on it through `_blocking_view`, with an event loop in a thread
(`_loop_thread`). Each of these modules has further tests, of what only an asynchronous backend promises:

    cancelling      each coroutine may be cancelled at any time
    looping         no call holds up the event loop, and all of them belong to it

`kit` has the methods that a subclass fills in, and the tools of the tests. `_statements` runs a statement on a
connection of any driver.
"""

from __future__ import annotations

from pgnotify.testing.async_conformance.cancelling import Cancelling
from pgnotify.testing.async_conformance.kit import AsyncKit
from pgnotify.testing.async_conformance.looping import Looping
from pgnotify.testing.conformance import BackendConformance

__all__ = ["AsyncBackendConformance", "AsyncKit"]


class AsyncBackendConformance(Cancelling, Looping, BackendConformance):
    """Tests an asynchronous backend for every promise of `pgnotify.async_protocol`, on a real server.

    It is used as `BackendConformance`, and has the same tests, and those of a few promises more. The methods to fill in
    have the same names. They are coroutine functions where the driver needs that, and run on an event loop of the
    test, which is not pytest's. So no plugin of pytest is needed::

        class TestMyDriver(AsyncBackendConformance):
            async def connect(self, address):
                return await mydriver.connect(address.dsn)
    """
