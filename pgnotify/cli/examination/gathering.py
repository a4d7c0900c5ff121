"""Find out the facts of the doctor: connect as a Listener does, ask the server, and try whether notifications arrive.

Each step has a deadline. One that fails leaves its fact unknown, with the reason, and the next one is made. Nothing is
written, and nobody's privileges are needed: a role that may see little gets to know little.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from pgnotify.cli.errors import line_of
from pgnotify.cli.examination import facts as f
from pgnotify.cli.examination.catalog import (
    ENCODINGS,
    ENCRYPTION,
    LISTENING,
    OPEN,
    OUTBOXES,
    SEARCH_PATH,
    SERVER,
    SETTINGS,
)
from pgnotify.cli.examination.delivering import deliver
from pgnotify.cli.examination.link import ANSWER_SECONDS, Deadline, Link
from pgnotify.connecting.retryable import sqlstate_of
from pgnotify.connecting.source import Source
from pgnotify.errors import OutboxError, UnknownBackend
from pgnotify.outbox.outbox import Outbox
from pgnotify.protocol import Health, health_of, name_session, server_pid_of, versions_of

NAME = "pgnotify doctor"
ROUNDS = 5
STATEMENT_SHOWN = 60  # characters


def gather(dsn: str, driver: str | None, timeout: float, is_quick: bool = False) -> f.Facts:
    """Return all facts that can be found out.

    Args:
        dsn: a connection string.
        driver: the name of a driver; None takes the first that is installed.
        timeout: this many seconds after it begins to connect, the current step is ended, and no further one is made.
        is_quick: look only whether a notification arrives.
    """
    facts = f.Facts()
    if not is_quick:
        _learn(facts, "installation", installation)
    try:
        source = Source(dsn, driver, NAME, ANSWER_SECONDS)
    except (UnknownBackend, ValueError, ImportError) as error:
        facts.connection = f.Failure(line_of(error, [dsn]), is_ours=True)
        return facts
    try:
        link = Link(source, Deadline(timeout), dsn)
    except Exception as error:
        facts.connection = f.Failure(line_of(error, [dsn]), sqlstate_of(error))
        return facts
    with link:
        facts.connection = f.Connection(source.place, link.seconds)
        _ask(facts, link, is_quick)
    return facts


def _ask(facts: f.Facts, link: Link, is_quick: bool) -> None:
    def learn(name: str, find_out: Callable[[], Any]) -> None:
        _learn(facts, name, find_out, link.reason_of)

    with suppress(Exception):  # only a name
        link.call(lambda backend: name_session(backend, NAME))
    learn("versions", lambda: versions_of(link.backend) or f.Unknown("the driver does not tell"))
    health = _health(link)
    learn("role", lambda: _role(health))
    if not is_quick:
        learn("server", lambda: _server(link))
        learn("queue", lambda: _queue(health))
        learn("sessions", lambda: _sessions(link))
        learn("settings", lambda: _settings(link))
        learn("encoding", lambda: f.Encoding(*link.rows(ENCODINGS)[0]))
        learn("search_path", lambda: _search_path(link))
        learn("outboxes", lambda: _outboxes(link))
    told, answering = server_pid_of(link.backend), health.server_pid if isinstance(health, Health) else None
    behind_pooler = None not in (told, answering) and told != answering
    if not is_quick:
        learn("encryption", lambda: _encryption(link, behind_pooler))
    learn("delivery", lambda: deliver(link, 1 if is_quick else ROUNDS, _is_standby(health), behind_pooler))
    facts.route = f.Route(told, answering, _arrives(facts.delivery))


def _learn(
    facts: f.Facts, name: str, find_out: Callable[[], Any], reason_of: Callable[[Exception], str] = line_of
) -> None:
    """Set a fact, or the reason why it is not known."""
    try:
        fact = find_out()
    except Exception as error:
        fact = f.Unknown(reason_of(error).rstrip("."))
    setattr(facts, name, fact)


def installation() -> f.Installation:
    """Return the distributions that own files in the package ``pgnotify``, and the Python that runs."""
    from importlib.metadata import packages_distributions, version

    owners = dict.fromkeys(packages_distributions().get("pgnotify", ()))
    python = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
    return f.Installation(tuple(sorted(f"{owner} {version(owner)}" for owner in owners)), python)


def _health(link: Link) -> Health | f.Unknown:
    try:
        return link.call(health_of) or f.Unknown("the driver's backend cannot ask")
    except Exception as error:
        return f.Unknown(link.reason_of(error))


def _role(health: Health | f.Unknown) -> f.Role | f.Unknown:
    return health if isinstance(health, f.Unknown) else f.Role(health.in_recovery)


def _is_standby(health: Health | f.Unknown) -> bool | None:
    return None if isinstance(health, f.Unknown) else health.in_recovery


def _queue(health: Health | f.Unknown) -> f.Queue | f.Unknown:
    if isinstance(health, f.Unknown):
        return health
    if health.queue_usage is None:
        return f.Unknown(
            "the role may not call pg_notification_queue_usage()",
            "Have it granted: `GRANT EXECUTE ON FUNCTION pg_catalog.pg_notification_queue_usage() TO name`.",
        )
    return f.Queue(health.queue_usage)


def _server(link: Link) -> f.Server:
    ((release, number, product),) = link.rows(SERVER)
    return f.Server(release, int(number), product, datetime.now(timezone.utc).date())


def _sessions(link: Link) -> f.Sessions:
    open_now = tuple(_open_session(*row) for row in link.rows(OPEN, str(f.MOST_SHOWN)))
    rows = link.rows(LISTENING, str(f.MOST_SHOWN))
    listening, hidden = rows[0][:2]
    return f.Sessions(
        open_now,
        tuple(_listening_session(*row[2:]) for row in rows if row[2] is not None),
        int(listening),
        int(hidden),
    )


def _open_session(
    pid: str,
    user: str | None,
    application: str | None,
    state: str | None,
    seconds: str | None,
    age: str | None,
    is_stuck: str,
) -> f.Session:
    return f.Session(
        int(pid),
        user or "",
        application or "",
        state or "",
        None if seconds is None else float(seconds),
        None if age is None else int(age),
        is_stuck == "true",
    )


def _listening_session(pid: str, user: str | None, application: str | None, statement: str | None) -> f.Session:
    shown = " ".join((statement or "").split())[:STATEMENT_SHOWN]
    return f.Session(int(pid), user or "", application or "", statement=shown)


def _settings(link: Link) -> f.Settings:
    return {name: f.Setting(value, unit or "", source) for name, value, unit, source in link.rows(SETTINGS)}


def _encryption(link: Link, behind_pooler: bool) -> f.Encryption:
    ((version, cipher, client_address),) = link.rows(ENCRYPTION)
    return f.Encryption(version, cipher, client_address, behind_pooler)


def _search_path(link: Link) -> f.SearchPath:
    rows = link.rows(SEARCH_PATH)
    return f.SearchPath(tuple(name for name, _ in rows), tuple(name for name, is_open in rows if is_open == "true"))


def _outboxes(link: Link) -> f.Outboxes:
    return f.Outboxes(tuple(_outbox(link, *row) for row in link.rows(OUTBOXES)))


def _outbox(link: Link, schema: str, name: str) -> f.OutboxState:
    shown = f"{schema}.{name}"
    try:
        return f.OutboxState(shown, link.call(Outbox(name, schema).status))
    except (OutboxError, ValueError) as error:
        reason, _, remedy = str(error).partition(": ")
        return f.OutboxState(shown, f.Unknown(reason, f"{remedy[:1].upper()}{remedy[1:]}." if remedy else ""))


def _arrives(delivery: f.Delivery | f.Unknown) -> bool | None:
    if isinstance(delivery, f.Unknown) or delivery.obstacle is not None or delivery.refusal is not None:
        return None
    return not delivery.waited
