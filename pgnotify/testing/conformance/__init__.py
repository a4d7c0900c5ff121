"""What every backend promises, as tests: for pytest, and for `pgnotify.check`. Nothing here imports pytest."""

from __future__ import annotations

from pgnotify.testing.conformance.encodings import Encodings
from pgnotify.testing.conformance.ending import Ending
from pgnotify.testing.conformance.fetching import Fetching
from pgnotify.testing.conformance.health import Checking
from pgnotify.testing.conformance.kit import FEATURES, Kit, Session
from pgnotify.testing.conformance.losing import Losing
from pgnotify.testing.conformance.sending import Sending
from pgnotify.testing.conformance.subscribing import Subscribing
from pgnotify.testing.conformance.subscribing_many import SubscribingMany
from pgnotify.testing.conformance.transactions import Transactions
from pgnotify.testing.conformance.waiting import Waiting

__all__ = ["FEATURES", "BackendConformance", "Kit", "Session"]


class BackendConformance(
    Ending, Checking, SubscribingMany, Encodings, Losing, Transactions, Sending, Fetching, Waiting, Subscribing
):
    """Holds a backend to every promise of `pgnotify.protocol`, on a real server.

    Derive a test class from it and define `connect`; pytest then runs some hundred tests on each of
    your connections. The server is the one of PGNOTIFY_TEST_DSN, which must trust loopback, or else
    a temporary one; one run at a time in one database::

        class TestMyDriver(BackendConformance):
            def connect(self, address):
                return mydriver.connect(host=address.host, port=address.port)

    Further methods tell what cannot be guessed, such as how the driver begins a transaction: see
    `Kit`. What the driver cannot do is declared in `cannot`, with the reason, and skipped with it.
    Have pytest-timeout installed: what hangs in a backend hangs pytest else.
    """
