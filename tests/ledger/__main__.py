"""Keeps the ledger for as long as one likes, on all drivers, and exits with 1 if anything is unaccounted for."""

from __future__ import annotations

import argparse
import logging
import random
import signal
import sys

from pgnotify.registry import ASYNC_DRIVERS, DRIVERS, installed_drivers
from pgnotify.testing import TemporaryPostgreSQL
from tests.ledger import tables
from tests.ledger.faults import FAULTS, plan, possible
from tests.ledger.loops import LOOPS
from tests.ledger.outbox.participant import is_stored
from tests.ledger.trial import CHANNELS, FUNCTIONS, INSTALLED_ASYNC, MODES, STORED_MODES, Outcome, Trial, is_async

LONGEST_PAUSE = 1.5


def main() -> int:
    """Do as the arguments say."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts a job in the background without it
    options = _options()
    if options.verbose:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    else:
        logging.disable()
    runs: list[tuple[str, Outcome]] = []
    _say(f"seed {options.seed}")
    for driver in options.driver:
        for modes in _grouped(options, driver):
            with TemporaryPostgreSQL() as server:
                trial = Trial(server, modes, driver, options.seed, options.loop)
                faults = plan(options.seed, possible(options.faults, modes), CHANNELS, options.pause)
                runs.append((driver, trial.run(faults, options.minutes * 60)))
            outcome = runs[-1][1]
            _say(tables.aligned([tables.row(driver, mode, outcome) for mode in modes]))
            _say(tables.complaints(driver, outcome))
    _say("\n" + tables.table(runs))
    _say("\n" + tables.strikes(runs))
    _say("\n" + tables.recoveries(runs))
    _say("\n" + tables.covered(runs))
    _say("\n" + ("all is accounted for" if all(outcome.holds for _, outcome in runs) else "NOT all is accounted for"))
    return 0 if all(outcome.holds for _, outcome in runs) else 1


def _grouped(options: argparse.Namespace, driver: str) -> list[list[str]]:
    """Return the modes of each trial. Those with an outbox have trials of their own."""
    modes = [mode for mode in options.modes if is_async(mode) or driver not in ASYNC_DRIVERS]
    if not options.together:
        return [[mode] for mode in modes]
    groups = [[mode for mode in modes if is_stored(mode) is stored] for stored in (False, True)]
    return [group for group in groups if group]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.ledger", description=__doc__)
    installed = [*installed_drivers(), *INSTALLED_ASYNC]
    names = [*DRIVERS, *ASYNC_DRIVERS, *FUNCTIONS]
    parser.add_argument("--minutes", type=float, default=2.0, help="for each driver and mode; default: %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the sequence of faults")
    parser.add_argument(
        "--driver",
        action="append",
        choices=names,
        help=f"one of {', '.join(names)}; may be repeated; default: {', '.join(installed)}",
        metavar="NAME",
    )
    parser.add_argument(
        "--modes",
        nargs="+",
        choices=(*MODES, *STORED_MODES),
        default=[*MODES, *STORED_MODES],
        help="how the listener is used",
    )
    parser.add_argument("--loop", choices=LOOPS, default="asyncio", help="the event loops; default: %(default)s")
    parser.add_argument("--together", action="store_true", help="a listener of each mode at once, not in turn")
    parser.add_argument("--faults", nargs="+", choices=list(FAULTS), default=list(FAULTS), help="which ones strike")
    parser.add_argument("--pause", type=float, default=LONGEST_PAUSE, help="seconds between two at most")
    parser.add_argument("--verbose", action="store_true", help="show the listeners' logs")
    options = parser.parse_args()
    options.driver = options.driver or installed
    return options


def _say(text: str) -> None:
    if text:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
