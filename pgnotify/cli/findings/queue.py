"""Findings on the server's notification queue, and on the sessions that hold it or listen."""

from __future__ import annotations

from typing import Any

from pgnotify.cli.examination.facts import Queue, Session, Sessions
from pgnotify.cli.findings.finding import Finding, State, Verdict, broken, note, ok, seconds_shown, unknown, warning
from pgnotify.listener.log import QUEUE_USAGES_TO_WARN_OF

LONG_SECONDS = 60.0
"""A transaction that is open for longer is one that somebody has forgotten, or a report."""

MANY_LISTENERS = 50
"""Up to PostgreSQL 18, 80 idle sessions that listen make commits with NOTIFY 8 times slower: see docs/why/."""

SEE_ALL = "Have it granted pg_read_all_stats, and run the doctor again."


class QueueUsage(Finding[Queue]):
    """How full is the server's notification queue?"""

    name = "queue"
    about = "queue"

    def judge(self, fact: Queue) -> Verdict:
        """Judge the usage: when the queue is full, every NOTIFY fails at commit."""
        urgent, soon = QUEUE_USAGES_TO_WARN_OF
        text = f"{fact.usage:.3%} full." if 0 < fact.usage < 0.01 else f"{fact.usage:.0%} full."
        if fact.usage >= urgent:
            return broken(f"{text} When it is full, every NOTIFY fails at commit.", FREE_TAIL, **fact._asdict())
        if fact.usage >= soon:
            return warning(text, FREE_TAIL, **fact._asdict())
        return ok(text, **fact._asdict())


FREE_TAIL = "End the session that holds its tail: a listener inside an old transaction, see `transactions`."


class OpenTransactions(Finding[Sessions]):
    """Which sessions can hold the queue's tail?"""

    name = "transactions"
    about = "sessions"

    def judge(self, fact: Sessions) -> Verdict:
        """Judge the oldest transactions: a listener inside one reads nothing, and the queue is kept for it."""
        facts: dict[str, Any] = {"sessions": [each._asdict() for each in fact.open], "hidden": fact.hidden}
        holders = [each for each in fact.open if each.is_stuck or (each.seconds or 0.0) >= LONG_SECONDS]
        if holders:
            return warning(
                f"If it listens, each of these holds the queue's tail: {'; '.join(map(_described, holders))}.",
                f"End its transaction, or the session: `SELECT pg_catalog.pg_terminate_backend({holders[0].pid})`. "
                "A listener needs autocommit, and has to go on reading.",
                **facts,
            )
        if fact.hidden:
            return unknown(f"Not known: the role may not see {fact.hidden} sessions of others.", SEE_ALL, **facts)
        return ok(f"No transaction is older than {seconds_shown(LONG_SECONDS)}, and no session waits for its client.",
                  **facts)  # fmt: skip


class Listeners(Finding[Sessions]):
    """How many sessions listen?"""

    name = "listeners"
    about = "sessions"

    def judge(self, fact: Sessions) -> Verdict:
        """Judge the number, as far as it is known: the server tells nobody the channels of other sessions."""
        count = fact.count_listening
        facts: dict[str, Any] = {
            "seen": count,
            "sessions": [each._asdict() for each in fact.listening],
            "hidden": fact.hidden,
        }
        text = f"{count or 'No'} other {'session listens' if count == 1 else 'sessions listen'} in this database"
        if fact.listening:
            names = ", ".join(map(_listener, fact.listening))
            text += f": {names}{', …' if count > len(fact.listening) else ''}"
        text += ", as far as the latest statements tell. The server shows nobody the channels of others."
        if count >= MANY_LISTENERS:
            return warning(
                text,
                "Have one session for each process listen to all of its channels: up to PostgreSQL 18 every NOTIFY "
                "wakes every session that listens.",
                **facts,
            )
        if fact.hidden:
            return Verdict(State.UNKNOWN, f"{text} The role may not see {fact.hidden} sessions.", SEE_ALL, facts)
        return note(text, **facts) if count else ok(text, **facts)


def _described(session: Session) -> str:
    what = "waits for its client to read" if session.is_stuck else session.state or "in a transaction"
    since = "" if session.seconds is None else f" for {seconds_shown(session.seconds)}"
    xmin = "" if session.xmin_age is None else f", {session.xmin_age:,} transactions behind"
    return f"process {session.pid}{_by(session)} {what}{since}{xmin}"


def _listener(session: Session) -> str:
    return f"process {session.pid}{_by(session)}{f' {session.statement}' if session.statement else ''}"


def _by(session: Session) -> str:
    names = " of ".join(filter(None, (session.application, session.user)))
    return f" ({names})" if names else ""
