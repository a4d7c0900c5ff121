"""Findings on the server's settings that bite a listener, as they hold for this role in this database."""

from __future__ import annotations

import abc
from typing import ClassVar

from pgnotify.cli.examination.facts import Setting, Settings
from pgnotify.cli.findings.finding import Finding, Verdict, note, ok, seconds_shown, warning
from pgnotify.listener.options import Options

HEARTBEAT_SECONDS = Options.heartbeat or 0.0
"""How often a Listener says something, by default."""

SHORT_STATEMENT_SECONDS = 5.0
"""A LISTEN to a thousand channels takes 0.4 s at most (see `pgnotify.protocol.MOST_CHANNELS`), on a server at ease."""

QUEUE_PAGES = 1_048_576
"""The default of max_notify_queue_pages: 8 GB in pages of 8 kB, as every server up to PostgreSQL 16 has."""

SLOW_KEEPALIVE_SECONDS = 900


_WHERE = {
    "configuration file": "in postgresql.conf",
    "command line": "on the server's command line",
    "environment variable": "in the server's environment",
    "global": "for all roles and databases",
    "database": "for the database",
    "user": "for the role",
    "database user": "for the role in this database",
    "client": "by this client: in options=, PGOPTIONS, or the connection string",
}
"""Where a setting was set, by the words of pg_settings.source."""


class SettingFinding(Finding[Settings]):
    """Judges one setting, if this version of the server has it."""

    about = "settings"
    key: ClassVar[str]
    """The setting's name."""
    since: ClassVar[str]
    """The first version of PostgreSQL that has it."""

    def judge(self, fact: Settings) -> Verdict:
        """Judge the setting, or say that there is none."""
        setting = fact.get(self.key)
        if setting is None:
            return ok(f"This server has none; it is new in PostgreSQL {self.since}.")
        verdict = self.judge_setting(setting)
        where = _WHERE.get(setting.source)
        return verdict._replace(
            text=f"{verdict.text} It is set {where}." if where else verdict.text, facts=setting._asdict()
        )

    @abc.abstractmethod
    def judge_setting(self, setting: Setting) -> Verdict:
        """Return the verdict on the setting."""


class IdleSessionTimeout(SettingFinding):
    """Does the server end idle sessions, as listeners are?"""

    name = key = "idle_session_timeout"
    since = "14"

    def judge_setting(self, setting: Setting) -> Verdict:
        """Judge the time: a Listener's heartbeat keeps a session alive if it is more frequent."""
        seconds = setting.milliseconds / 1000
        if not seconds:
            return ok("Off.")
        shown = seconds_shown(seconds)
        remedy = "For roles that listen: `ALTER ROLE name SET idle_session_timeout = 0`."
        if seconds <= HEARTBEAT_SECONDS:
            return warning(
                f"{shown}: the server ends a listener's session before its heartbeat, which is due each "
                f"{seconds_shown(HEARTBEAT_SECONDS)}. Each time is a gap.",
                f"{remedy} Or give the Listener a shorter heartbeat.",
            )
        return note(f"{shown}: a Listener's heartbeat keeps its session alive; that of a handler is ended.", remedy)


class StatementTimeout(SettingFinding):
    """Does the server cancel the statements of a listener?"""

    name = key = "statement_timeout"
    since = "7.3"

    def judge_setting(self, setting: Setting) -> Verdict:
        """Judge the time: to wait for notifications is no statement, so only a short one matters."""
        seconds = setting.milliseconds / 1000
        if not seconds:
            return ok("Off.")
        shown = seconds_shown(seconds)
        if seconds < SHORT_STATEMENT_SECONDS:
            return warning(
                f"{shown}: a LISTEN to many channels, or a heartbeat behind a backlog, may take longer, and fails.",
                f"For roles that listen: `ALTER ROLE name SET statement_timeout = '{SHORT_STATEMENT_SECONDS:g}s'`.",
            )
        return ok(f"{shown}, which a listener's statements never need.")


class IdleInTransactionTimeout(SettingFinding):
    """Does the server end sessions that hold the queue's tail?"""

    name = key = "idle_in_transaction_session_timeout"
    since = "9.6"

    def judge_setting(self, setting: Setting) -> Verdict:
        """Judge the time."""
        seconds = setting.milliseconds / 1000
        if not seconds:
            return note(
                "Off: a listener that stays inside a transaction holds the queue until it is full.",
                "For roles that listen: `ALTER ROLE name SET idle_in_transaction_session_timeout = '10min'`.",
            )
        return ok(f"{seconds_shown(seconds)}: a session cannot hold the queue's tail for longer while it does nothing.")


class QueuePages(SettingFinding):
    """How large may the notification queue become?"""

    name = key = "max_notify_queue_pages"
    since = "17"

    def judge_setting(self, setting: Setting) -> Verdict:
        """Judge the number of pages."""
        pages = int(setting.value)
        size = f"{pages:,} pages, {pages * 8 / 1024:,.0f} MB"
        if pages < QUEUE_PAGES:
            return warning(
                f"{size}, less than the default of {QUEUE_PAGES:,}: it is full sooner, and then every NOTIFY fails.",
                f"Set max_notify_queue_pages = {QUEUE_PAGES} in postgresql.conf, and restart the server.",
            )
        return ok(f"{size}.")


class Keepalives(SettingFinding):
    """Does the server notice a listener that has vanished?"""

    name = "tcp_keepalives"
    key = "tcp_keepalives_idle"
    since = "8.1"

    def judge(self, fact: Settings) -> Verdict:
        """Judge all three settings; they say nothing about a Unix socket."""
        verdict = super().judge(fact)
        named = {name: each.value for name, each in fact.items() if name.startswith("tcp_")}
        return verdict._replace(facts=named)

    def judge_setting(self, setting: Setting) -> Verdict:
        """Judge the time until the first probe. The server reports the one that holds for this connection."""
        seconds = int(setting.value)
        if not seconds:
            return ok("A Unix socket has none, and needs none.")
        if seconds > SLOW_KEEPALIVE_SECONDS:
            return note(
                f"The server asks after {seconds_shown(seconds)} whether a silent client is still there. Until then a "
                "listener that has vanished keeps its session.",
                "Set tcp_keepalives_idle = 60 in postgresql.conf. On its side, a Listener has keepalives of its own.",
            )
        return ok(f"The server asks after {seconds_shown(seconds)} whether a silent client is still there.")
