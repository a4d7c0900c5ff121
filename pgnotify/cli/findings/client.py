"""Findings on this side of the connection: the distribution, the driver, the way to the server."""

from __future__ import annotations

import re
from typing import NamedTuple

from pgnotify.cli.examination.facts import Connection, Failure, Installation
from pgnotify.cli.findings.finding import Finding, Verdict, broken, note, ok, seconds_shown, sentence, warning
from pgnotify.protocol import Versions

SLOW_SECONDS = 1.0
"""A listener that reconnects takes this long at least, and is deaf for that time."""


class Distributions(Finding[Installation]):
    """Does one distribution own the package `pgnotify`?"""

    name = "installation"
    about = "installation"

    def judge(self, fact: Installation) -> Verdict:
        """Judge the owners: another project on PyPI has the name pgnotify, and the same package."""
        owners = ", ".join(fact.owners)
        if len(fact.owners) > 1:
            return warning(
                f"{len(fact.owners)} distributions own files in pgnotify/: {owners}. "
                "Each has overwritten files of the other.",
                "Uninstall both, then install ours alone: pip uninstall pgnotify pgnotify-handler, and "
                'pip install "pgnotify-handler[cli]".',
                **fact._asdict(),
            )
        return ok(f"{owners or 'pgnotify, from its sources'}, on {fact.python}.", **fact._asdict())


class Driver(Finding[Versions]):
    """Which driver, libpq and version of the protocol?"""

    name = "driver"
    about = "versions"

    def judge(self, fact: Versions) -> Verdict:
        """Judge the versions. A libpq of a version that is no longer supported gets no fixes, either."""
        libpq = "without libpq" if fact.libpq is None else f"libpq {fact.libpq}"
        text = f"{fact.driver}, {libpq}, protocol {fact.protocol}."
        facts = fact._asdict()
        if fact.libpq is not None and int(fact.libpq.partition(".")[0]) < OLDEST_LIBPQ:
            return note(text, f"This libpq gets no fixes any more: install one of {OLDEST_LIBPQ} or newer.", **facts)
        return ok(text, **facts)


OLDEST_LIBPQ = 15  # PostgreSQL 14 has reached its end; see `pgnotify.cli.findings.server`


class _Kind(NamedTuple):
    sqlstate: str
    text: str
    remedy: str


# An attempt to connect fails with an SQLSTATE, or, through libpq, with a text only: the server's, which may be in its
# language, libpq's, or Python's. The first kind that fits counts.
_KINDS = (
    _Kind("28P01", "password authentication failed", "Check the user and the password: in the connection string, in "
          "PGPASSWORD, or in ~/.pgpass."),
    _Kind("", "no password (was )?supplied|wants a password", "Give the password in PGPASSWORD or in ~/.pgpass, "
          "rather than in the connection string, which other users of this machine can read."),
    _Kind("28000", "no pg_hba.conf entry|role .* does not exist|no such user",
          "Check the user. The server's pg_hba.conf has to let it in from this address, with or without TLS."),
    _Kind("3D000", "database .* does not exist|no such database", "Check the name of the database: dbname=, or the "
          "last part of the URI."),
    _Kind("42501", "permission denied for database", "Have the database's owner run "
          "`GRANT CONNECT ON DATABASE name TO role`."),
    _Kind("53300", "too many (clients|connections)|remaining connection slots",
          "Wait until sessions have ended, or raise max_connections."),
    _Kind("57P03", "starting up|shutting down|not yet accepting", "Wait until the server has started."),
    _Kind("", "does not support SSL|refuses SSL|SSL was required", "The server has no TLS: set it up, or connect with "
          "sslmode=prefer."),
    _Kind("", "certificate", "Check sslrootcert, and that the certificate is for this host."),
    _Kind("", "translate host name|Name or service not known|resolve host|nodename nor servname",
          "Check the name of the host, and that this machine can resolve it."),
    _Kind("", "refused|No such file or directory", "Start the server, or check host and port."),
    _Kind("", "no answer within|timeout|timed out|unreachable|No route",
          "Check host and port, and that no firewall is in between."),
)  # fmt: skip


class Reachable(Finding["Connection | Failure"]):
    """Does the server let us in?"""

    name = "connection"
    about = "connection"

    def judge(self, fact: Connection | Failure) -> Verdict:
        """Judge how the attempt to connect has ended."""
        if isinstance(fact, Failure):
            return broken(sentence(fact.reason), _remedy(fact), sqlstate=fact.sqlstate)
        facts = fact._asdict()
        text = f"{fact.place}, connected in {seconds_shown(fact.seconds)}."
        if fact.seconds >= SLOW_SECONDS:
            return warning(
                text,
                "To connect takes long, and a listener misses notifications for that time. Check the resolver, and "
                "the addresses before the one that answers.",
                **facts,
            )
        return ok(text, **facts)


def _remedy(failure: Failure) -> str:
    if failure.is_ours:
        return "Check the connection string and --driver; `pgnotify drivers` lists the drivers."
    for sqlstate, text, remedy in _KINDS:
        if (sqlstate and failure.sqlstate == sqlstate) or re.search(text, failure.reason, re.IGNORECASE):
            return remedy
    return "Look into the server's log, which has the reason."
