"""Findings on the server: its version, its role, encodings, TLS, the search_path."""

from __future__ import annotations

import re
from datetime import date
from ipaddress import ip_address
from typing import NamedTuple

from pgnotify.cli.examination.facts import Encoding, Encryption, Role, SearchPath, Server
from pgnotify.cli.findings.finding import Finding, Verdict, broken, note, ok, unknown, warning
from pgnotify.outbox.tables import quoted

# https://www.postgresql.org/support/versioning/
END_OF_LIFE = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
OLDEST_TESTED = 14


class _Fix(NamedTuple):
    bug: str
    minor_of: dict[int, int]
    """The minor release of each version that has it first. Those that are not here have had it from the beginning."""


# Both are in the notes of the releases of 2026-02-12 (18.2, 17.8, 16.12, 15.16 and 14.21), such as
# https://www.postgresql.org/docs/release/15.16/: "Prevent truncation of CLOG that is still needed by unread NOTIFY
# messages" and "Escalate errors occurring during NOTIFY message processing to FATAL". The commit of the first is
# 8eeb4a0f7 of 2025-11-12, after 18.1 and the last release of 13.
_OF_FEBRUARY_2026 = {14: 21, 15: 16, 16: 12, 17: 8, 18: 2}
FIXES = (
    _Fix('LISTEN, or a listener, fails with "could not access status of transaction" after VACUUM', _OF_FEBRUARY_2026),
    _Fix("a listener whose notification cannot be read loses it without a word", _OF_FEBRUARY_2026),
)


class Release(Finding[Server]):
    """Is the server's version supported, and without known bugs of LISTEN?"""

    name = "server"
    about = "server"

    def judge(self, fact: Server) -> Verdict:
        """Judge its release."""
        version, minor = divmod(fact.number, 10_000)
        text = f"PostgreSQL {fact.release}."
        bugs = [fix.bug for fix in FIXES if minor < fix.minor_of.get(version, 0) or version < min(fix.minor_of)]
        end = END_OF_LIFE.get(version, date.min if version < min(END_OF_LIFE) else date.max)
        facts = {"release": fact.release, "number": fact.number, "bugs": bugs}
        if not fact.product.startswith("PostgreSQL "):
            return note(f"{fact.product}. It is not quite PostgreSQL.", "See whether `delivery` is ok.", **facts)
        if version < OLDEST_TESTED:
            return warning(f"{text} pgnotify is tested from {OLDEST_TESTED} on.", _UPGRADE, **facts)
        if bugs:
            fixed_in = f"{version}.{max(fix.minor_of[version] for fix in FIXES)}"
            return warning(f"{text} It has bugs: {'; '.join(bugs)}.", f"Update to {fixed_in} or newer.", **facts)
        if end < fact.today:
            return warning(f"{text} It has had no fixes since {end}.", _UPGRADE, **facts)
        return ok(text, **facts)


_UPGRADE = "Upgrade to a version that is supported."


class Primary(Finding[Role]):
    """Is the server the primary?"""

    name = "primary"
    about = "role"

    def judge(self, fact: Role) -> Verdict:
        """Judge its role: a standby refuses LISTEN, and has no notifications of its primary's."""
        facts = fact._asdict()
        if fact.in_recovery is None:
            return unknown(
                "Not known: the role may not call pg_is_in_recovery().",
                "Have it granted: `GRANT EXECUTE ON FUNCTION pg_catalog.pg_is_in_recovery() TO name`.",
                **facts,
            )
        if fact.in_recovery:
            return broken("It is a standby, which refuses LISTEN.", GO_TO_PRIMARY, **facts)
        return ok("It is the primary.", **facts)


GO_TO_PRIMARY = (
    "Connect to the primary. With several hosts, as in host=a,b, a listener finds it by itself "
    "(target_session_attrs=read-write)."
)


class Encodings(Finding[Encoding]):
    """Can every payload be sent to this client?"""

    name = "encoding"
    about = "encoding"

    def judge(self, fact: Encoding) -> Verdict:
        """Judge the encodings: a server ends a session that it cannot send a notification to."""
        server, client = fact
        facts = fact._asdict()
        text = f"The server stores {server}, the client gets {client}."
        if "SQL_ASCII" in fact:
            return warning(
                f"{text} Nobody converts or checks bytes, so some may not be text.",
                "Make the database with ENCODING UTF8 and set client_encoding=UTF8; until then, send ASCII only.",
                **facts,
            )
        if client not in (server, "UTF8"):
            return warning(
                f"{text} The server ends the session of a listener when a payload has a letter that {client} lacks.",
                "Set client_encoding=UTF8 in the connection string, or for the role: "
                "`ALTER ROLE name SET client_encoding = 'UTF8'`.",
                **facts,
            )
        return ok(text, **facts)


class Tls(Finding[Encryption]):
    """Can others on the way read along?"""

    name = "tls"
    about = "encryption"

    def judge(self, fact: Encryption) -> Verdict:
        """Judge the encryption, of which a connection on one machine has no need."""
        facts = fact._asdict()
        if fact.behind_pooler:
            return unknown(
                "Not known: the server sees the pooler's connection only.",
                "Look at the pooler's own settings.",
                **facts,
            )
        if fact.version is not None:
            return ok(f"{fact.version}, {fact.cipher}.", **facts)
        if fact.client_address is None:
            return ok("None, and the Unix socket needs none.", **facts)
        if ip_address(re.sub(r"[/%].*", "", fact.client_address)).is_loopback:
            return ok("None, and the connection does not leave this machine.", **facts)
        return warning(
            f"None: from {fact.client_address} to the server, payloads can be read and changed on the way.",
            "Set up TLS on the server, and connect with sslmode=verify-full.",
            **facts,
        )


class Search(Finding[SearchPath]):
    """Can other roles put functions in the way of your statements?"""

    name = "search_path"
    about = "search_path"

    def judge(self, fact: SearchPath) -> Verdict:
        """Judge the schemas: see CVE-2018-1058. pgnotify's own statements name every schema."""
        facts = fact._asdict()
        path = ", ".join(fact.schemas) or "empty"
        if fact.writable_by_all:
            names = ", ".join(fact.writable_by_all)
            return warning(
                f"Every role may create objects in {names}, which is in the search_path. A function there can take the "
                "place of one that a statement of yours calls. pgnotify's statements name every schema.",
                f"Run REVOKE CREATE ON SCHEMA {', '.join(map(quoted, fact.writable_by_all))} FROM PUBLIC; "
                "and give the roles that need it the right by name.",
                **facts,
            )
        return ok(f"{path}: no schema in which every role may create objects.", **facts)
