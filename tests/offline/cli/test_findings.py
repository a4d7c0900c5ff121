"""Each finding of the doctor, with both of its answers: all is well, and something is not."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from pgnotify.cli import findings
from pgnotify.cli.examination import facts as f
from pgnotify.cli.findings import FINDINGS, State, examine, worst
from pgnotify.cli.findings.client import Distributions, Driver, Reachable
from pgnotify.cli.findings.delivery import GO_PAST_POOLER, Delivers, Latency, Pooler
from pgnotify.cli.findings.finding import seconds_shown
from pgnotify.cli.findings.outbox import OutboxStands
from pgnotify.cli.findings.queue import SEE_ALL, Listeners, OpenTransactions, QueueUsage
from pgnotify.cli.findings.server import GO_TO_PRIMARY, Encodings, Primary, Release, Search, Tls
from pgnotify.cli.findings.settings import (
    IdleInTransactionTimeout,
    IdleSessionTimeout,
    Keepalives,
    QueuePages,
    StatementTimeout,
)
from pgnotify.outbox.status import OutboxStatus, SubscriptionStatus
from pgnotify.protocol import Versions

TODAY = date(2026, 11, 27)


def server(number, product="PostgreSQL x on y"):
    return f.Server(f"{number // 10_000}.{number % 10_000}", number, product, TODAY)


def settings(**values):
    units = {"tcp_keepalives_idle": "s", "max_notify_queue_pages": ""}
    return {name: f.Setting(str(value), units.get(name, "ms"), "user") for name, value in values.items()}


def subscription(**changes):
    normal = {"unread": 0, "has_more": False, "moved": timedelta(seconds=2), "expired": 0}
    return SubscriptionStatus(
        **{"name": "billing", "channels": ("jobs",), "is_active": True, "is_void": False, **normal, **changes}
    )


def outbox(*subscriptions, **changes):
    status = OutboxStatus(1, 3, 8192, None, 0, False, subscriptions)
    return f.Outboxes((f.OutboxState("public.pgnotify_outbox", replace(status, **changes)),))


LISTENER = f.Session(7, "app", "worker", statement='LISTEN "jobs"')
FORGOTTEN = f.Session(8, "ann", "psql", "idle in transaction", 7200.0, 1234)
STUCK = f.Session(9, "", "", is_stuck=True)

# Each finding with a fact, the state that it is in, and what the text or the remedy has to say.
CASES = [
    (Distributions, f.Installation(("pgnotify-handler 0.1.0",)), "ok", "pgnotify-handler 0.1.0"),
    (Distributions, f.Installation(()), "ok", "from its sources"),
    (Distributions, f.Installation(("pgnotify 0.1.1", "pgnotify-handler 0.1.0")), "warning", "pip uninstall"),
    (Driver, Versions("mydriver 1.2", "18.6", "3.2"), "ok", "mydriver 1.2, libpq 18.6, protocol 3.2"),
    (Driver, Versions("mydriver 1.2", None, "3.0"), "ok", "without libpq"),
    (Driver, Versions("mydriver 1.2", "14.9", "3.0"), "note", "gets no fixes any more"),
    (Reachable, f.Connection("db:5432/app", 0.012), "ok", "db:5432/app, connected in 12 ms"),
    (Reachable, f.Connection("db:5432/app", 2.5), "warning", "takes long"),
    (Reachable, f.Failure("no driver is installed", is_ours=True), "broken", "pgnotify drivers"),
    (Reachable, f.Failure('FATAL:  password authentication failed for user "ann"'), "broken", "PGPASSWORD"),
    (Reachable, f.Failure("Passwort-Authentifizierung fehlgeschlagen", "28P01"), "broken", "PGPASSWORD"),
    (Reachable, f.Failure('database "x" does not exist'), "broken", "name of the database"),
    (Reachable, f.Failure("Connection refused. Is the server running?"), "broken", "Start the server"),
    (Reachable, f.Failure("could not translate host name"), "broken", "resolve it"),
    (Reachable, f.Failure("no answer within 5 s"), "broken", "firewall"),
    (Reachable, f.Failure("sorry, too many clients already"), "broken", "max_connections"),
    (Reachable, f.Failure("server does not support SSL, but SSL was required"), "broken", "sslmode=prefer"),
    (Reachable, f.Failure("42"), "broken", "server's log"),
    (Release, server(180006), "ok", "PostgreSQL 18.6."),
    (Release, server(180001), "warning", "Update to 18.2 or newer"),
    (Release, server(150015), "warning", "could not access status of transaction"),
    (Release, server(140024), "warning", "no fixes since 2026-11-12"),
    (Release, server(130023), "warning", "tested from 14 on"),
    (Release, server(190000), "ok", "PostgreSQL 19.0"),
    (Release, server(130000, "CockroachDB CCL v25"), "note", "not quite PostgreSQL"),
    (Primary, f.Role(False), "ok", "primary"),
    (Primary, f.Role(True), "broken", GO_TO_PRIMARY),
    (Primary, f.Role(None), "unknown", "GRANT EXECUTE ON FUNCTION"),
    (Pooler, f.Route(7, 7, True), "ok", "There is none"),
    (Pooler, f.Route(7, 8, True), "note", "session mode"),
    (Pooler, f.Route(7, 8, False), "broken", GO_PAST_POOLER),
    (Pooler, f.Route(7, 8, None), "unknown", "is not known"),
    (Pooler, f.Route(None, 8, True), "unknown", "does not name"),
    (Delivers, f.Delivery((0.1, 0.2)), "ok", "2 of 2 notifications"),
    (Delivers, f.Delivery((0.1,), waited=2.0), "broken", "though 1 before it did"),
    (Delivers, f.Delivery((), waited=2.0, behind_pooler=True), "broken", GO_PAST_POOLER),
    (Delivers, f.Delivery((), waited=2.0, behind_pooler=True, left_behind=True), "broken", "may have stayed"),
    (Delivers, f.Delivery((), refusal="cannot execute LISTEN", in_recovery=True), "broken", GO_TO_PRIMARY),
    (Delivers, f.Delivery((), refusal="unimplemented"), "broken", "that has LISTEN"),
    (Delivers, f.Delivery((), obstacle="too many clients"), "unknown", "needs two sessions"),
    (Latency, f.Delivery((0.001, 0.0012, 0.5)), "ok", "1.2 ms is the median of 3, 500 ms the longest"),
    (Latency, f.Delivery((0.2, 0.3, 0.4)), "warning", "load"),
    (Latency, f.Delivery((), waited=2.0), "unknown", "nothing has arrived"),
    (QueueUsage, f.Queue(0.0), "ok", "0% full"),
    (QueueUsage, f.Queue(0.00002), "ok", "0.002% full"),
    (QueueUsage, f.Queue(0.1), "warning", "holds its tail"),
    (QueueUsage, f.Queue(0.5), "broken", "every NOTIFY fails"),
    (OpenTransactions, f.Sessions((FORGOTTEN._replace(seconds=59.0),), (), 0, 0), "ok", "older than 1 min"),
    (OpenTransactions, f.Sessions((FORGOTTEN,), (), 0, 0), "warning",
     "process 8 (psql of ann) idle in transaction for 2 h, 1,234 transactions behind"),
    (OpenTransactions, f.Sessions((FORGOTTEN,), (), 0, 0), "warning", "pg_terminate_backend(8)"),
    (OpenTransactions, f.Sessions((STUCK,), (), 0, 3), "warning", "process 9 waits for its client to read"),
    (OpenTransactions, f.Sessions((), (), 0, 3), "unknown", SEE_ALL),
    (Listeners, f.Sessions((), (), 0, 0), "ok", "No other sessions listen"),
    (Listeners, f.Sessions((), (LISTENER,), 1, 0), "note", '1 other session listens in this '
     'database: process 7 (worker of app) LISTEN "jobs"'),
    (Listeners, f.Sessions((), (LISTENER,), 2, 0), "note", ", …"),
    (Listeners, f.Sessions((), (LISTENER,), 50, 0), "warning", "all of its channels"),
    (Listeners, f.Sessions((), (), 0, 3), "unknown", "may not see 3 sessions"),
    (IdleSessionTimeout, settings(idle_session_timeout=0), "ok", "Off."),
    (IdleSessionTimeout, settings(idle_session_timeout=300_000), "note", "5 min: a Listener's heartbeat keeps"),
    (IdleSessionTimeout, settings(idle_session_timeout=30_000), "warning", "SET idle_session_timeout = 0"),
    (IdleSessionTimeout, {}, "ok", "new in PostgreSQL 14"),
    (StatementTimeout, settings(statement_timeout=0), "ok", "Off."),
    (StatementTimeout, settings(statement_timeout=60_000), "ok", "1 min"),
    (StatementTimeout, settings(statement_timeout=500), "warning", "500 ms: a LISTEN to many channels"),
    (IdleInTransactionTimeout, settings(idle_in_transaction_session_timeout=600_000), "ok", "10 min"),
    (IdleInTransactionTimeout, settings(idle_in_transaction_session_timeout=0), "note", "until it is full"),
    (QueuePages, settings(max_notify_queue_pages=1_048_576), "ok", "1,048,576 pages, 8,192 MB"),
    (QueuePages, settings(max_notify_queue_pages=64), "warning", "full sooner"),
    (QueuePages, {}, "ok", "new in PostgreSQL 17"),
    (Keepalives, settings(tcp_keepalives_idle=60), "ok", "after 1 min"),
    (Keepalives, settings(tcp_keepalives_idle=0), "ok", "Unix socket"),
    (Keepalives, settings(tcp_keepalives_idle=7200), "note", "tcp_keepalives_idle = 60"),
    (Encodings, f.Encoding("UTF8", "UTF8"), "ok", "UTF8"),
    (Encodings, f.Encoding("LATIN1", "UTF8"), "ok", "the client gets UTF8"),
    (Encodings, f.Encoding("LATIN1", "LATIN1"), "ok", "the client gets LATIN1"),
    (Encodings, f.Encoding("UTF8", "LATIN1"), "warning", "SET client_encoding = 'UTF8'"),
    (Encodings, f.Encoding("SQL_ASCII", "UTF8"), "warning", "Nobody converts"),
    (Encodings, f.Encoding("UTF8", "SQL_ASCII"), "warning", "Nobody converts"),
    (Tls, f.Encryption("TLSv1.3", "AES", "10.0.0.1"), "ok", "TLSv1.3, AES"),
    (Tls, f.Encryption(None, None, None), "ok", "Unix socket"),
    (Tls, f.Encryption(None, None, "::1"), "ok", "does not leave this machine"),
    (Tls, f.Encryption(None, None, "10.0.0.1"), "warning", "sslmode=verify-full"),
    (Tls, f.Encryption("TLSv1.3", "AES", "10.0.0.1", True), "unknown", "pooler"),
    (Search, f.SearchPath(("app", "public"), ()), "ok", "app, public"),
    (Search, f.SearchPath(('a"b', "public"), ('a"b',)), "warning", 'REVOKE CREATE ON SCHEMA "a""b" FROM PUBLIC;'),
    (OutboxStands, f.Outboxes(()), "ok", "There is none"),
    (OutboxStands, outbox(subscription()), "ok", "version 1, 3 messages; billing has 0 unread, moved 2 s ago"),
    (OutboxStands, outbox(subscription(unread=10_000, has_more=True)), "note", "10,000+ unread"),
    (OutboxStands, outbox(subscription(unread=1, is_active=False, moved=timedelta(days=2))), "warning", "Nobody has"),
    (OutboxStands, outbox(subscription(expired=4)), "warning", "removed messages before billing read them"),
    (OutboxStands, outbox(subscription(is_void=True)), "broken", "the positions of billing mean nothing"),
    (OutboxStands, outbox(is_void=True), "broken", "pgnotify outbox rebase"),
    (OutboxStands, f.Outboxes((f.OutboxState("a.b", f.Unknown("it may not be read")),)), "unknown", "a.b: it may not"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("finding", "fact", "state", "says"),
    [pytest.param(*case, id=f"{case[0].name}-{case[2]}-{number}") for number, case in enumerate(CASES)],
)
def test_a_finding(finding, fact, state, says):
    facts = f.Facts()
    setattr(facts, finding.about, fact)

    verdict = finding().examine(facts)

    assert str(verdict.state) == state
    assert says in f"{verdict.text} {verdict.remedy}"
    if verdict.state in (State.WARNING, State.BROKEN):
        assert verdict.remedy
    for text in filter(None, (verdict.text, verdict.remedy)):
        assert re.search(r"[.?;\"]$", text)
        assert ".." not in text
        assert text[0].isupper() or not text[0].isalpha() or text[0] in verdict.text
    json.dumps(verdict.facts, default=_refuse)


def _refuse(value):
    raise TypeError(f"{value!r} is not for JSON")


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.name)
def test_each_finding_is_tested_with_both_of_its_answers(finding):
    states = {state for case, _, state, _ in CASES if case is type(finding)}

    assert "ok" in states
    assert states - {"ok", "unknown"}


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.name)
def test_a_fact_that_is_not_known_is_never_taken_for_a_good_one(finding):
    facts = f.Facts()
    setattr(facts, finding.about, f.Unknown("the server is silent", "Wake it."))

    assert finding.examine(facts) == (State.UNKNOWN, "Not known: the server is silent.", "Wake it.", {})


def test_the_names_are_unique_and_each_is_about_a_fact():
    assert len({finding.name for finding in FINDINGS}) == len(FINDINGS)
    assert {finding.about for finding in FINDINGS} == set(f.NAMES)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.name)
def test_each_finding_answers_a_question(finding):
    assert type(finding).__doc__.splitlines()[0].endswith("?")


def test_the_report_has_a_line_for_each_finding_and_its_worst_state():
    facts = f.Facts(queue=f.Queue(0.2), role=f.Role(False))

    report = examine(facts)

    assert [found.name for found in report] == [finding.name for finding in FINDINGS]
    assert worst(report) is State.WARNING
    assert report[4].as_dict() == {
        "name": "primary",
        "state": "ok",
        "text": "It is the primary.",
        "remedy": "",
        "facts": {"in_recovery": False},
    }


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (0.00123, "1.23 ms"), (1, "1 s"), (59.9, "59.9 s"), (90, "1.5 min"), (7200, "2 h"), (86_400, "1 d")],
)
def test_a_time_is_shown_in_its_largest_unit(seconds, shown):
    assert seconds_shown(seconds) == shown


def test_judging_needs_neither_typer_nor_rich_nor_a_connection():
    folder = Path(findings.__file__).parent
    for path in [*folder.glob("*.py"), folder.parent / "examination" / "facts.py"]:
        tree = ast.parse(path.read_text())
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not {name.partition(".")[0] for name in modules if name} & {"typer", "rich", "socket", "time"}
        assert not any("gathering" in name or "connecting" in name for name in modules if name)
