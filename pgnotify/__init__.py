"""PostgreSQL's LISTEN and NOTIFY, on a connection of any supported driver.

- `connect`, `wrap`: a `Connection` that listens and notifies, one call at a time.
- `notify`, `notify_many`: for a caller that only sends.
- `NotificationHandler`: a loop over one channel, as PyGreSQL documents it.
- `Listener`: many channels; it reconnects after every loss, and reports each `Gap`.
- `Outbox`: stores messages, so that a listener that was away still gets them, whatever their size.
- `Backend`, `register`, `check`: to add a driver, and to check that its backend keeps every promise.
"""

import typing

from pgnotify.connection import Connection, connect, notify, notify_many, wrap
from pgnotify.errors import (
    ChannelError,
    ConnectionLost,
    HandlerClosed,
    ListenerClosed,
    NotPrimary,
    OutboxError,
    PayloadError,
    PgNotifyError,
    SourceError,
    Superseded,
    TransactionError,
    Unanswered,
    UnexpectedNotification,
    UnknownBackend,
    VoidPosition,
)
from pgnotify.handler.handler import NotificationHandler
from pgnotify.notification import Notification
from pgnotify.protocol import Backend
from pgnotify.registry import register, register_async

if typing.TYPE_CHECKING:
    from pgnotify.aio.connection import AsyncConnection as AsyncConnection
    from pgnotify.aio.connection import connect_async as connect_async
    from pgnotify.aio.connection import notify_async as notify_async
    from pgnotify.aio.connection import notify_many_async as notify_many_async
    from pgnotify.aio.connection import wrap_async as wrap_async
    from pgnotify.aio.handler import AsyncNotificationHandler as AsyncNotificationHandler
    from pgnotify.aio.listener import AsyncListener as AsyncListener
    from pgnotify.aio.listener import AsyncSubscription as AsyncSubscription
    from pgnotify.aio.stream import AsyncStream as AsyncStream
    from pgnotify.async_protocol import AsyncBackend as AsyncBackend
    from pgnotify.connecting.backoff import Backoff as Backoff
    from pgnotify.listener.gap import Gap as Gap
    from pgnotify.listener.gap import Listening as Listening
    from pgnotify.listener.gap import Reason as Reason
    from pgnotify.listener.listener import Listener as Listener
    from pgnotify.listener.observer import Observer as Observer
    from pgnotify.listener.probe import Probe as Probe
    from pgnotify.listener.status import Status as Status
    from pgnotify.listener.stream import Stream as Stream
    from pgnotify.listener.subscriptions import Subscription as Subscription
    from pgnotify.message import AsyncBatch as AsyncBatch
    from pgnotify.message import Batch as Batch
    from pgnotify.message import Message as Message
    from pgnotify.outbox.outbox import Outbox as Outbox
    from pgnotify.program.state import ListenerState as ListenerState
    from pgnotify.testing.check import check as check

__version__ = "0.1.0"

# These names take longer to import than all the others together, so each is imported on first use.
_LATER = {
    "AsyncBackend": "async_protocol",
    "AsyncBatch": "message",
    "AsyncConnection": "aio.connection",
    "AsyncListener": "aio.listener",
    "AsyncNotificationHandler": "aio.handler",
    "AsyncStream": "aio.stream",
    "AsyncSubscription": "aio.listener",
    "Backoff": "connecting.backoff",
    "Batch": "message",
    "Gap": "listener.gap",
    "Listener": "listener.listener",
    "ListenerState": "program.state",
    "Listening": "listener.gap",
    "Message": "message",
    "Observer": "listener.observer",
    "Outbox": "outbox.outbox",
    "Probe": "listener.probe",
    "Reason": "listener.gap",
    "Status": "listener.status",
    "Stream": "listener.stream",
    "Subscription": "listener.subscriptions",
    "check": "testing.check",
    "connect_async": "aio.connection",
    "notify_async": "aio.connection",
    "notify_many_async": "aio.connection",
    "wrap_async": "aio.connection",
}

__all__ = [
    "AsyncBackend",
    "AsyncBatch",
    "AsyncConnection",
    "AsyncListener",
    "AsyncNotificationHandler",
    "AsyncStream",
    "AsyncSubscription",
    "Backend",
    "Backoff",
    "Batch",
    "ChannelError",
    "Connection",
    "ConnectionLost",
    "Gap",
    "HandlerClosed",
    "Listener",
    "ListenerClosed",
    "ListenerState",
    "Listening",
    "Message",
    "NotPrimary",
    "Notification",
    "NotificationHandler",
    "Observer",
    "Outbox",
    "OutboxError",
    "PayloadError",
    "PgNotifyError",
    "Probe",
    "Reason",
    "SourceError",
    "Status",
    "Stream",
    "Subscription",
    "Superseded",
    "TransactionError",
    "Unanswered",
    "UnexpectedNotification",
    "UnknownBackend",
    "VoidPosition",
    "check",
    "connect",
    "connect_async",
    "notify",
    "notify_async",
    "notify_many",
    "notify_many_async",
    "register",
    "register_async",
    "wrap",
    "wrap_async",
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
