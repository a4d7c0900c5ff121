"""Findings on the delivery: is there a pooler, do notifications arrive, and how soon?"""

from __future__ import annotations

from statistics import median

from pgnotify.cli.examination.facts import Delivery, Route
from pgnotify.cli.findings.finding import Finding, Verdict, broken, note, ok, seconds_shown, sentence, unknown, warning
from pgnotify.cli.findings.server import GO_TO_PRIMARY

SLOW_SECONDS = 0.1
"""A median from which delivery is slow: it takes 1 ms through loopback, and 1 ms and the network's time otherwise."""

GO_PAST_POOLER = (
    "Connect to the server itself, or to a pool with pool_mode = session; only the connections of listeners have to."
)


class Pooler(Finding[Route]):
    """Is a pooler in between, and does it pass notifications on?"""

    name = "pooler"
    about = "route"

    def judge(self, fact: Route) -> Verdict:
        """Judge the process IDs: a pooler reports one of its own, or that of another session."""
        facts = fact._asdict()
        if fact.connected_to is None or fact.answered_by is None:
            return unknown(
                "Not known: the driver or the server does not name the server's process.",
                "See whether `delivery` is ok, which counts.",
                **facts,
            )
        if fact.connected_to == fact.answered_by:
            return ok("There is none.", **facts)
        text = "There is one: the server process that answers is not the one that the driver was told of."
        if fact.arrives is None:
            return unknown(f"{text} Whether it passes notifications on is not known.", GO_PAST_POOLER, **facts)
        if fact.arrives:
            return note(
                f"{text} It passes notifications on, as in session mode.",
                "Each listener keeps one of its server connections: have the pool larger than their number.",
                **facts,
            )
        return broken(
            f"{text} It does not pass notifications on, as in transaction mode: it lends server connections for one "
            "transaction at a time.",
            GO_PAST_POOLER,
            **facts,
        )


class Delivers(Finding[Delivery]):
    """Does a notification of a second session reach an idle listener?"""

    name = "delivery"
    about = "delivery"

    def judge(self, fact: Delivery) -> Verdict:
        """Judge whether all have arrived."""
        facts = {"arrived": len(fact.latencies), "left_behind": fact.left_behind}
        if fact.refusal is not None:
            remedy = GO_TO_PRIMARY if fact.in_recovery else "Connect to a PostgreSQL server that has LISTEN."
            return broken(sentence(f"The server refuses LISTEN: {fact.refusal}"), remedy, **facts)
        if fact.obstacle is not None:
            return unknown(
                sentence(f"Not known, as no notification could be sent: {fact.obstacle}"),
                "The doctor needs two sessions at the same time.",
                **facts,
            )
        if fact.waited:
            text = f"Nothing arrived within {seconds_shown(fact.waited)} of a NOTIFY from a second session"
            if fact.latencies:
                text += f", though {len(fact.latencies)} before it did"
            if fact.left_behind:
                text += ", and a LISTEN to a random channel may have stayed in a session of the pooler's"
            return broken(f"{text}.", GO_PAST_POOLER if fact.behind_pooler else _LOOK_AT_QUEUE, **facts)
        count = len(fact.latencies)
        return ok(f"{count} of {count} notifications from a second session arrived at an idle listener.", **facts)


_LOOK_AT_QUEUE = (
    "See `pooler`, `queue` and `transactions`. A proxy that hides itself, or a server that only looks like PostgreSQL, "
    "does this, too."
)


class Latency(Finding[Delivery]):
    """How soon does it arrive?"""

    name = "latency"
    about = "delivery"

    def judge(self, fact: Delivery) -> Verdict:
        """Judge the median, from the call that sends to the call that fetches."""
        if not fact.latencies:
            return unknown("Not known: nothing has arrived.", "See `delivery`.")
        middle = median(fact.latencies)
        facts = {"median_seconds": middle, "longest_seconds": max(fact.latencies), "rounds": len(fact.latencies)}
        text = (
            f"{seconds_shown(middle)} is the median of {len(fact.latencies)}, {seconds_shown(max(fact.latencies))} the "
            "longest, from the call that sends to the one that fetches."
        )
        if middle >= SLOW_SECONDS:
            return warning(
                text,
                "Look at the network and at the server's load: every NOTIFY takes a lock of the whole server at "
                "commit, and up to PostgreSQL 18 wakes every session that listens.",
                **facts,
            )
        return ok(text, **facts)
