"""Notifications to give to what is tested, and what is asked of those that come out."""

from __future__ import annotations

from collections.abc import Iterable

from pgnotify.notification import Notification


def note(payload: str = "", channel: str = "jobs") -> Notification:
    """Return a notification from process 7."""
    return Notification(channel, payload, 7)


def payloads(notifications: Iterable[Notification]) -> list[str]:
    """Return the payloads, in order."""
    return [each.payload for each in notifications]
