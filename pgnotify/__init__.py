"""PostgreSQL's LISTEN and NOTIFY on whichever driver connection you have."""

from pgnotify.checking import check
from pgnotify.connection import Connection, connect, notify, notify_many, wrap
from pgnotify.errors import (
    ChannelError,
    ConnectionLost,
    HandlerClosed,
    PayloadError,
    PgNotifyError,
    TransactionError,
    UnexpectedNotification,
    UnknownBackend,
)
from pgnotify.handler import NotificationHandler
from pgnotify.notification import Notification
from pgnotify.protocol import Backend
from pgnotify.registry import register

__version__ = "0.1.0"

__all__ = [
    "Backend",
    "ChannelError",
    "Connection",
    "ConnectionLost",
    "HandlerClosed",
    "Notification",
    "NotificationHandler",
    "PayloadError",
    "PgNotifyError",
    "TransactionError",
    "UnexpectedNotification",
    "UnknownBackend",
    "check",
    "connect",
    "notify",
    "notify_many",
    "register",
    "wrap",
]
