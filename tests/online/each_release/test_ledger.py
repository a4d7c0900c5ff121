"""The ledger, kept for a few seconds on each driver: every fault once, in all ways to use a listener at once."""

from __future__ import annotations

import math
from itertools import islice

import pytest

from pgnotify.registry import DRIVERS
from pgnotify.testing import TemporaryPostgreSQL
from pgnotify.testing.finder import NoPostgreSQL
from tests import kinds
from tests.ledger import tables
from tests.ledger.faults import FAULTS, SIGNALS, plan
from tests.ledger.listeners import MODES
from tests.ledger.trial import CHANNELS, Trial

# Any would do; one that is always the same makes a failure the change's that it came with.
SEED = 5
MAIN = "run"  # what signals strike; `nox -s soak` has them strike each way
LONGEST_PAUSE = 0.2


@pytest.fixture
def server():
    try:
        with TemporaryPostgreSQL() as server:  # one that may be killed
            yield server
    except NoPostgreSQL as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("driver", dict.fromkeys(kind.driver for kind in kinds.selected()))
def test_each_notification_is_delivered_once_in_order_or_lies_in_a_reported_gap(server, driver):
    modes = sorted(MODES, key=lambda mode: mode != MAIN)
    trial = Trial(server, modes, driver if driver in DRIVERS else kinds.FIRST[driver].name, SEED)

    outcome = trial.run(islice(plan(SEED, list(FAULTS), CHANNELS, LONGEST_PAUSE), len(FAULTS)), math.inf)

    print(tables.table([(driver, outcome)]), tables.recoveries([(driver, outcome)]), sep="\n\n")  # noqa: T201
    assert outcome.holds, tables.complaints(driver, outcome)
    assert outcome.struck + outcome.swallowed == 2 * SIGNALS
    assert {strike.kind for strike in outcome.strikes} == {*FAULTS}
    for mode, verdict in outcome.verdicts.items():
        assert verdict.delivered > 0, mode
        assert set(verdict.gaps) >= {"connection lost", "heartbeat missed", "subscription lost"}, mode
