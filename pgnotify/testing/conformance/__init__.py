"""The promises of every backend, as tests for pytest and for `pgnotify.check`. Nothing here imports pytest.

Each of these modules has the tests of one subject:

    subscribing, subscribing_many   listen() and unlisten(); listen_many() and unlisten_many()
    waiting, sending                wait(); notify() and notify_many()
    querying                        query()
    fetching, fetching_ways         fetch(); fetch_plain() and fetch_into(), in which the same holds
    transactions                    what the calls do inside the user's transaction
    losing, ending                  the loss of the connection; fileno() and limit_rest(), which end a call
    releasing                       release(), end() and pool
    health, describing              check() and server_pid; busy, DatabaseError, and a backend that is made
    characters, encodings           each character in names and payloads; other encodings, descriptors above 1,023

`kit` has the methods that a subclass fills in, and the tools of the tests. `running` runs the tests without pytest.
`_tools` compares, waits and words the failures. `_resources` measures time, memory and descriptors. `_statements` runs
a statement on a connection of any driver.
"""

from __future__ import annotations

from pgnotify.testing.conformance.characters import Characters
from pgnotify.testing.conformance.describing import Describing
from pgnotify.testing.conformance.encodings import Encodings
from pgnotify.testing.conformance.ending import Ending
from pgnotify.testing.conformance.fetching import Fetching
from pgnotify.testing.conformance.fetching_ways import FetchingWays
from pgnotify.testing.conformance.health import Checking
from pgnotify.testing.conformance.kit import FEATURES, Kit, Session
from pgnotify.testing.conformance.losing import Losing
from pgnotify.testing.conformance.querying import Querying
from pgnotify.testing.conformance.releasing import Releasing
from pgnotify.testing.conformance.sending import Sending
from pgnotify.testing.conformance.subscribing import Subscribing
from pgnotify.testing.conformance.subscribing_many import SubscribingMany
from pgnotify.testing.conformance.transactions import Transactions
from pgnotify.testing.conformance.waiting import Waiting

__all__ = ["FEATURES", "BackendConformance", "Kit", "Session"]


class BackendConformance(
    Describing,
    Releasing,
    Ending,
    Checking,
    SubscribingMany,
    Querying,
    Encodings,
    Characters,
    Losing,
    Transactions,
    Sending,
    FetchingWays,
    Fetching,
    Waiting,
    Subscribing,
):
    """Tests a backend for every promise of `pgnotify.protocol`, on a real server.

    Derive a test class from it and define `connect`. pytest then runs about 240 tests on each of your
    connections. The server is the one that PGNOTIFY_TEST_DSN names, or a temporary one if it names none. It
    asks for a password, which the address has. Only one run at a time can use a database::

        class TestMyDriver(BackendConformance):
            def connect(self, address):
                return mydriver.connect(address.dsn)

    Override further methods of `Kit` where its guess is wrong for your driver, such as how a transaction
    begins. Declare in `cannot` which features the driver lacks, and why: their tests are skipped, with that
    reason. Install pytest-timeout: without it, a backend that hangs makes pytest hang.
    """
