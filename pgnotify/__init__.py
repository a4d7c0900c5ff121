"""PostgreSQL's LISTEN and NOTIFY on whichever driver connection you have."""

import typing

from pgnotify.checking import check
from pgnotify.connection import Connection, connect, notify, notify_many, wrap
from pgnotify.errors import (
    ChannelError,
    ConnectionLost,
    HandlerClosed,
    ListenerClosed,
    NotPrimary,
    PayloadError,
    PgNotifyError,
    SourceError,
    TransactionError,
    Unanswered,
    UnexpectedNotification,
    UnknownBackend,
)
from pgnotify.handler import NotificationHandler
from pgnotify.notification import Notification
from pgnotify.protocol import Backend
from pgnotify.registry import register

if typing.TYPE_CHECKING:
    from pgnotify.backoff import Backoff as Backoff
    from pgnotify.gap import Gap as Gap
    from pgnotify.gap import Listening as Listening
    from pgnotify.gap import Reason as Reason
    from pgnotify.listener import Listener as Listener
    from pgnotify.probing import Probe as Probe
    from pgnotify.status import Observer as Observer
    from pgnotify.status import Status as Status
    from pgnotify.subscriptions import Subscription as Subscription

__version__ = "0.1.0"

# What only a Listener needs takes longer to import than all the rest: it is imported when it is asked for.
_LATER = {
    "Backoff": "backoff",
    "Gap": "gap",
    "Listener": "listener",
    "Listening": "gap",
    "Observer": "status",
    "Probe": "probing",
    "Reason": "gap",
    "Status": "status",
    "Subscription": "subscriptions",
}

__all__ = [
    "Backend",
    "Backoff",
    "ChannelError",
    "Connection",
    "ConnectionLost",
    "Gap",
    "HandlerClosed",
    "Listener",
    "ListenerClosed",
    "Listening",
    "NotPrimary",
    "Notification",
    "NotificationHandler",
    "Observer",
    "PayloadError",
    "PgNotifyError",
    "Probe",
    "Reason",
    "SourceError",
    "Status",
    "Subscription",
    "TransactionError",
    "Unanswered",
    "UnexpectedNotification",
    "UnknownBackend",
    "check",
    "connect",
    "notify",
    "notify_many",
    "register",
    "wrap",
]


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
