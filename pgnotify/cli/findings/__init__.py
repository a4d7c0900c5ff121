"""The doctor's findings: each judges one fact, without I/O, and has a remedy.

- `finding`: the class of all of them, and their states.
- `client`: the distribution, the driver, the connection.
- `server`: its version, whether it is the primary, encodings, TLS, the search_path.
- `delivery`: poolers, and whether notifications arrive.
- `queue`: how full it is, and which sessions hold it or listen.
- `settings`: those of the server that bite a listener.
- `outbox`: the outboxes of the database.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pgnotify.cli.examination.facts import Facts
from pgnotify.cli.findings.client import Distributions, Driver, Reachable
from pgnotify.cli.findings.delivery import Delivers, Latency, Pooler
from pgnotify.cli.findings.finding import Finding, State, Verdict
from pgnotify.cli.findings.outbox import OutboxStands
from pgnotify.cli.findings.queue import Listeners, OpenTransactions, QueueUsage
from pgnotify.cli.findings.server import Encodings, Primary, Release, Search, Tls
from pgnotify.cli.findings.settings import (
    IdleInTransactionTimeout,
    IdleSessionTimeout,
    Keepalives,
    QueuePages,
    StatementTimeout,
)

FINDINGS: tuple[Finding[Any], ...] = (
    Distributions(),
    Driver(),
    Reachable(),
    Release(),
    Primary(),
    Pooler(),
    Delivers(),
    Latency(),
    QueueUsage(),
    OpenTransactions(),
    Listeners(),
    IdleSessionTimeout(),
    StatementTimeout(),
    IdleInTransactionTimeout(),
    QueuePages(),
    Keepalives(),
    Encodings(),
    Tls(),
    Search(),
    OutboxStands(),
)
"""All findings, in the order of the report."""


__all__ = ["FINDINGS", "Found", "State", "examine", "worst"]


class Found(NamedTuple):
    """One line of the report."""

    name: str
    """The finding's."""
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """Return a dict for JSON."""
        state, text, remedy, facts = self.verdict
        return {"name": self.name, "state": str(state), "text": text, "remedy": remedy, "facts": facts}


def examine(facts: Facts) -> list[Found]:
    """Return the report on all facts."""
    return [Found(finding.name, finding.examine(facts)) for finding in FINDINGS]


def worst(report: list[Found]) -> State:
    """Return the worst state of a report."""
    order = list(State)
    return max((found.verdict.state for found in report), key=order.index)
