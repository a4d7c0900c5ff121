"""The finding on the outboxes of the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pgnotify.cli.examination.facts import Outboxes, OutboxState, Unknown
from pgnotify.cli.findings.finding import Finding, State, Verdict, broken, note, ok, seconds_shown, unknown, warning
from pgnotify.outbox.status import OutboxStatus, SubscriptionStatus

STALE_SECONDS = 3600.0
"""A subscription that has unread messages and has not moved for this long has no reader."""


class OutboxStands(Finding[Outboxes]):
    """How do the outboxes stand?"""

    name = "outbox"
    about = "outboxes"

    def judge(self, fact: Outboxes) -> Verdict:
        """Judge each outbox, and return the worst verdict with the texts of all."""
        if not fact.states:
            return ok("There is none in this database.", outboxes=[])
        verdicts = [_judged(state) for state in fact.states]
        order = list(State)
        worst = max(verdicts, key=lambda verdict: order.index(verdict.state))
        return worst._replace(
            text=" ".join(verdict.text for verdict in verdicts),
            facts={"outboxes": [_plain(state) for state in fact.states]},
        )


def _judged(state: OutboxState) -> Verdict:
    name, status = state
    if isinstance(status, Unknown):
        return unknown(f"{name}: {status.reason}.", status.remedy)
    void = [each.name for each in status.subscriptions if each.is_void]
    text = f"{name}: version {status.version}, {status.messages:,} messages{''.join(_lags(status))}."
    if status.is_void or void:
        whose = "all positions" if status.is_void else f"the positions of {', '.join(void)}"
        return broken(f"{text} As this is a copy, {whose} mean nothing.", "Run `pgnotify outbox rebase`.")
    lost = [each.name for each in status.subscriptions if each.expired]
    if lost:
        return warning(
            f"{text} Retention has removed messages before {', '.join(lost)} read them.",
            "Read more often, or keep messages for longer: `pgnotify outbox prune --max-age`.",
        )
    stale = [each.name for each in status.subscriptions if _is_stale(each)]
    if stale:
        return warning(
            f"{text} Nobody has read for {', '.join(stale)} for long.",
            "Start its listener, or remove the subscription: its messages are kept until they are too old.",
        )
    return note(text) if any(each.unread for each in status.subscriptions) else ok(text)


def _is_stale(each: SubscriptionStatus) -> bool:
    return bool(each.unread) and not each.is_active and each.moved.total_seconds() >= STALE_SECONDS


def _lags(status: OutboxStatus) -> Iterator[str]:
    for each in status.subscriptions:
        unread = f"{each.unread:,}{'+' if each.has_more else ''} unread"
        yield f"; {each.name} has {unread}, moved {seconds_shown(each.moved.total_seconds())} ago"


def _plain(state: OutboxState) -> dict[str, Any]:
    name, status = state
    if isinstance(status, Unknown):
        return {"name": name, "problem": status.reason}
    return {
        "name": name,
        "version": status.version,
        "messages": status.messages,
        "is_void": status.is_void,
        "subscriptions": [
            {
                "name": each.name,
                "unread": each.unread,
                "has_more": each.has_more,
                "moved_seconds_ago": each.moved.total_seconds(),
                "expired": each.expired,
                "is_active": each.is_active,
                "is_void": each.is_void,
            }
            for each in status.subscriptions
        ],
    }
