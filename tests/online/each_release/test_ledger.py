"""The ledger, kept for a few seconds on each driver: every fault once, in all ways to use a listener at once."""

from __future__ import annotations

import logging
import math
from itertools import islice

import pytest

from pgnotify.registry import ASYNC_DRIVERS, DRIVERS
from pgnotify.testing import TemporaryPostgreSQL
from pgnotify.testing.finder import NoPostgreSQL
from tests import kinds
from tests.ledger import tables
from tests.ledger.async_listeners import AsyncParticipant
from tests.ledger.faults import FAULTS, SIGNALS, plan, possible
from tests.ledger.trial import CHANNELS, INSTALLED_ASYNC, MODES, Trial

# Any would do; one that is always the same makes a failure the change's that it came with.
SEED = 5
LONGEST_PAUSE = 0.2

BLOCKING = dict.fromkeys(kind.driver for kind in kinds.selected())
"""The drivers to test; their connections are used on event loops, too."""
ON_LOOPS = [
    name for name in INSTALLED_ASYNC if (module := ASYNC_DRIVERS[name].module) in BLOCKING or module not in DRIVERS
]
"""Those that have event loops only. psycopg's are tested where its others are."""


ALWAYS = ("run", "iterate", "workers", "pull")
"""The ways to use a listener that are tested with each driver that blocks; the main thread uses the first one."""
IN_TURN = dict(
    zip(kinds.FIRST, ("streams", "async run", "async coroutine", "async streams", "async pull"), strict=True)
)
"""One more for each of them. `nox -s soak` has them all."""
NATIVE = ("async iterate", "async visits")
"""Those for each driver that does not block."""


@pytest.fixture(autouse=True)
def no_logging():
    """A time limit may be raised in a handler that has just taken its lock, which all others then wait for."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def server():
    try:
        with TemporaryPostgreSQL() as server:  # one that may be killed
            yield server
    except NoPostgreSQL as error:
        pytest.skip(str(error))


def test_each_way_to_use_a_listener_is_tested_with_some_driver():
    assert {*ALWAYS, *IN_TURN.values(), *NATIVE} == {*MODES}


# The exception of a signal handler may come when the duplicate of a descriptor is made and nobody holds it yet. Python
# closes it, and tells that as a fault.
@pytest.mark.filterwarnings("ignore:unclosed <socket object:ResourceWarning")
@pytest.mark.parametrize("driver", [*BLOCKING, *ON_LOOPS])
def test_each_notification_is_delivered_once_in_order_or_lies_in_a_reported_gap(server, driver):
    modes = (*ALWAYS, IN_TURN[driver]) if driver in BLOCKING else NATIVE
    faults = possible(list(FAULTS), modes)
    trial = Trial(server, modes, kinds.FIRST[driver].name if driver == "wrappers" else driver, SEED)

    outcome = trial.run(islice(plan(SEED, faults, CHANNELS, LONGEST_PAUSE), len(faults)), math.inf)

    print(tables.table([(driver, outcome)]), tables.recoveries([(driver, outcome)]), sep="\n\n")  # noqa: T201
    assert outcome.holds, tables.complaints(driver, outcome)
    assert outcome.struck + outcome.swallowed == SIGNALS * len({"Ctrl-C", "time limit"}.intersection(faults))
    assert {strike.kind for strike in outcome.strikes} == {*faults}
    for mode, verdict in outcome.verdicts.items():
        assert verdict.delivered > 0, mode
        # The stream after one that has just gone may listen again before a lost subscription is noticed.
        unseen = {"subscription lost"} if mode == AsyncParticipant.VISITS else set()
        assert set(verdict.gaps) >= {"connection lost", "heartbeat missed", "subscription lost"} - unseen, mode
