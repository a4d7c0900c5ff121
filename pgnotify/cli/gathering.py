"""Find out the facts of the doctor: connect as a Listener does, ask the server, and try whether notifications arrive.

Each step has a deadline. One that fails leaves its fact unknown, with the reason, and the next one is made. Nothing is
written, and nobody's privileges are needed: a role that may see little gets to know little.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import datetime, timezone
from types import TracebackType
from typing import Any, TypeVar

from pgnotify.cli import facts as f
from pgnotify.cli.catalog import ENCODINGS, ENCRYPTION, LISTENING, OPEN, OUTBOXES, SEARCH_PATH, SERVER, SETTINGS
from pgnotify.cli.errors import line_of
from pgnotify.connecting.attempt import ConnectAttempt
from pgnotify.connecting.retryable import sqlstate_of
from pgnotify.connecting.source import Source
from pgnotify.errors import OutboxError, Unanswered, UnknownBackend
from pgnotify.listener.runner import prepared_handle
from pgnotify.outbox.outbox import Outbox
from pgnotify.protocol import Backend, Health, health_of, name_session, query, server_pid_of, versions_of

T = TypeVar("T")

NAME = "pgnotify doctor"
ANSWER_SECONDS = 5.0  # as a Listener's answer_timeout
ROUNDS = 5
STATEMENT_SHOWN = 60  # characters


class Deadline:
    """The end of the whole examination.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, at_most: float = ANSWER_SECONDS) -> float:
        """Return how many seconds the next step may take.

        Raises:
            Unanswered: none are left.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise Unanswered(f"the {self._seconds:g} s were over: give more with --timeout")
        return min(left, at_most)


class Link:
    """A connection from a source, opened and guarded as a Listener's is. A context manager.

    Args:
        source: where it comes from.
        deadline: of the examination.

    Raises:
        Unanswered: the attempt took too long. It is abandoned.

    Errors of the driver pass through.
    """

    def __init__(self, source: Source, deadline: Deadline) -> None:
        self._source = source
        self.deadline = deadline
        started = time.monotonic()
        self.backend = _connected(source, deadline)
        self.seconds = time.monotonic() - started
        """How long it took to connect."""
        self._handle = prepared_handle(self.backend, source, None, ANSWER_SECONDS)

    def call(self, function: Callable[[Backend], T], at_most: float = ANSWER_SECONDS) -> T:
        """Call a function with the backend; end it when its time is over.

        Raises:
            Unanswered: it was, and the connection is lost.
        """
        seconds = self.deadline.left(at_most)
        with nullcontext() if self._handle is None else self._handle.deadline(seconds):
            return function(self.backend)

    def rows(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement, all texts or None."""
        return self.call(lambda backend: query(backend, sql, parameters))

    def __enter__(self) -> Link:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(Exception):  # it is lost, and was examined
            self._source.discard(self.backend)
        if self._handle is not None:
            self._handle.close()


def _connected(source: Source, deadline: Deadline) -> Backend:
    seconds = deadline.left(float("inf"))
    done = threading.Event()
    attempt = ConnectAttempt(source, done.set)
    attempt.start()
    if not done.wait(seconds):
        attempt.abandon()
        raise Unanswered(f"no answer within {seconds:.3g} s")
    return attempt.result()


def gather(dsn: str, driver: str | None, timeout: float, is_quick: bool = False) -> f.Facts:
    """Return all facts that can be found out.

    Args:
        dsn: a connection string.
        driver: the name of a driver; None takes the first that is installed.
        timeout: after this many seconds no further step is made, and the current one is ended.
        is_quick: look only whether a notification arrives.
    """
    facts = f.Facts()
    deadline = Deadline(timeout)
    if not is_quick:
        _learn(facts, "installation", installation)
    try:
        source = Source(dsn, driver, NAME, ANSWER_SECONDS)
    except (UnknownBackend, ValueError) as error:
        facts.connection = f.Failure(line_of(error, [dsn]), is_ours=True)
        return facts
    try:
        link = Link(source, deadline)
    except Exception as error:
        facts.connection = f.Failure(line_of(error, [dsn]), sqlstate_of(error))
        return facts
    with link:
        facts.connection = f.Connection(source.place, link.seconds)
        _ask(facts, link, source, 1 if is_quick else ROUNDS, is_quick)
    return facts


def _ask(facts: f.Facts, link: Link, source: Source, rounds: int, is_quick: bool) -> None:
    from pgnotify.cli.delivering import deliver

    with suppress(Exception):  # only a name
        link.call(lambda backend: name_session(backend, NAME))
    _learn(facts, "versions", lambda: versions_of(link.backend) or f.Unknown("the driver does not tell"))
    health = _health(link)
    _learn(facts, "role", lambda: _role(health))
    if not is_quick:
        _learn(facts, "server", lambda: _server(link))
        _learn(facts, "queue", lambda: _queue(health))
        _learn(facts, "sessions", lambda: _sessions(link))
        _learn(facts, "settings", lambda: _settings(link))
        _learn(facts, "encoding", lambda: f.Encoding(*link.rows(ENCODINGS)[0]))
        _learn(facts, "search_path", lambda: _search_path(link))
        _learn(facts, "outboxes", lambda: _outboxes(link))
    told, answering = server_pid_of(link.backend), health.server_pid if isinstance(health, Health) else None
    behind_pooler = None not in (told, answering) and told != answering
    if not is_quick:
        _learn(facts, "encryption", lambda: _encryption(link, behind_pooler))
    _learn(facts, "delivery", lambda: deliver(link, source, rounds, _is_standby(health), behind_pooler))
    facts.route = f.Route(told, answering, _arrives(facts.delivery))


def _learn(facts: f.Facts, name: str, find_out: Callable[[], Any]) -> None:
    """Set a fact, or the reason why it is not known."""
    try:
        fact = find_out()
    except Exception as error:
        fact = f.Unknown(line_of(error).rstrip("."))
    setattr(facts, name, fact)


def installation() -> f.Installation:
    """Return the distributions that own files in the package ``pgnotify``."""
    from importlib.metadata import packages_distributions, version

    owners = dict.fromkeys(packages_distributions().get("pgnotify", ()))
    return f.Installation(tuple(sorted(f"{owner} {version(owner)}" for owner in owners)))


def _health(link: Link) -> Health | f.Unknown:
    try:
        return link.call(health_of) or f.Unknown("the driver's backend cannot ask")
    except Exception as error:
        return f.Unknown(line_of(error).rstrip("."))


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
