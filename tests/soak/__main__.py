"""Proves the outbox for as long as one likes: interleavings and crashes; it exits with 1 if anything is wrong."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from typing import Any

from hypothesis.statistics import collector, describe_statistics

from pgnotify.testing import TemporaryPostgreSQL
from tests.online.servers.test_outbox_interleavings import play
from tests.soak.crashes import SETTINGS, Counts, Crashes
from tests.soak.promotions import promote_one

EXAMPLES = 100
ROUND_SECONDS = 30.0


def main() -> int:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser("python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all; default: %(default)s")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the crashes")
    options = parser.parse_args()
    logging.disable()
    _say(f"seed {options.seed}")
    ends_at = time.monotonic() + options.minutes * 60
    all_counts: list[Counts] = []
    refused = 0
    interleaved = time.monotonic()
    with TemporaryPostgreSQL(settings={"max_prepared_transactions": 20}) as server:
        while time.monotonic() < interleaved + (ends_at - interleaved) / 3:
            with collector.with_value(_say_statistics):  # type: ignore[arg-type]  # hypothesis declares None
                play(server.dsn, EXAMPLES, steps=60)
    while time.monotonic() < ends_at:
        with TemporaryPostgreSQL(settings=SETTINGS) as server:
            round_ends = min(ends_at, time.monotonic() + ROUND_SECONDS)
            crashes = Crashes(server, options.seed + len(all_counts))
            all_counts.append(crashes.run(lambda _, end=round_ends: time.monotonic() >= end))  # type: ignore[misc]
        _say(str(all_counts[-1]))
        refused += promote_one(options.seed + len(all_counts))
    _say(f"promotions: {len(all_counts)}, late batches that were refused: {refused}")
    _say(
        f"crashes: {sum(each.crashes for each in all_counts)}, ids again: {sum(each.ids_again for each in all_counts)}"
    )
    _say(f"messages: {sum(each.committed for each in all_counts)}, late: {sum(each.late for each in all_counts)}")
    holds = all(each.holds for each in all_counts)
    _say("nothing is missing or doubled" if holds else "SOMETHING is missing or doubled")
    return 0 if holds else 1


def _say_statistics(statistics: Any) -> None:
    lines = describe_statistics(statistics).splitlines()
    _say("\n".join(line for line in lines if "sampled_from" not in line))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
