"""The ledger of listeners with an outbox, kept for a few seconds."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import islice

from pgnotify.testing import TemporaryPostgreSQL
from tests.ledger import tables
from tests.ledger.faults import plan, possible
from tests.ledger.trial import CHANNELS, Trial

SEED = 5
LONGEST_PAUSE = 0.1
FAULTS = ("reset", "kill -9", "reader killed", "time limit")
"""Those that the position has to survive; `nox -s soak` has all."""


def check_stored(driver: str, modes: Sequence[str]) -> None:
    """Have listeners in these modes read an outbox while faults strike, and each message delivered once."""
    logging.disable()  # a time limit may be raised in a handler that has just taken its lock
    try:
        with TemporaryPostgreSQL() as server:  # one that may be killed
            faults = possible(FAULTS, modes)
            outcome = Trial(server, modes, driver, SEED).run(
                islice(plan(SEED, faults, CHANNELS, LONGEST_PAUSE), len(faults)), math.inf
            )
    finally:
        logging.disable(logging.NOTSET)
    print(tables.table([(driver, outcome)]))  # noqa: T201
    assert outcome.holds, tables.complaints(driver, outcome)
    assert {strike.kind for strike in outcome.strikes} == {*faults}
    for mode, verdict in outcome.verdicts.items():
        assert verdict.delivered > 0, mode
        assert verdict.doubled == 0, mode
