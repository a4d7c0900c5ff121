"""The documented handler."""

from pgnotify.handler.handler import NotificationHandler

__all__ = ["NotificationHandler"]
