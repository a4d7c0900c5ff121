"""What users rely on of the types. Checked by mypy, never run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from typing_extensions import assert_type

import pgnotify
from pgnotify.async_protocol import AsyncBackend
from pgnotify.testing import (
    Address,
    AsyncBackendConformance,
    AsyncNotifications,
    BackendConformance,
    MemoryServer,
    TemporaryPostgreSQL,
)


def the_documented_handler(db: object, callback_of_mine: Any) -> None:
    handler = pgnotify.NotificationHandler(db, "jobs", callback_of_mine, {"a": 1}, 0.5, "stop")
    assert_type(handler(), None)
    assert_type(handler.listening, bool)
    assert_type(handler.event, str)
    assert_type(handler.stop_event, str)
    assert_type(handler.timeout, float | None)
    assert_type(handler.arg_dict, dict[str, Any])
    handler.timeout = None
    handler.notify(db, stop=True, payload="x")
    with pgnotify.NotificationHandler(db, event="jobs", callback=print) as same:
        assert_type(same, pgnotify.NotificationHandler)


def an_outbox(db: object) -> None:
    outbox = pgnotify.Outbox("messages", schema="shop", max_age=timedelta(days=1))
    outbox.notify(db, "orders", "payload")
    outbox.notify_many(db, [("orders", "a"), ("orders", "b")])
    assert_type(outbox.install_sql(senders=["shop"], readers=["billing"]), str)
    assert_type(outbox.uninstall_sql(), str)
    assert_type(outbox.publication_sql(), str)
    assert_type(outbox.subscription_sql("host=first", name="east"), str)
    with pgnotify.Listener("", "orders", outbox=outbox, durable="billing", start="all") as listener:
        for batch in listener.batches(500, timeout=1.0):
            assert_type(batch[0], pgnotify.Message)
            assert_type(batch.acknowledge(db), None)
    pgnotify.AsyncListener("", outbox=outbox)


def a_wrapped_connection(db: object) -> None:
    connection = pgnotify.wrap(db)
    assert_type(connection, pgnotify.Connection)
    assert_type(connection.wait(0.5), bool)
    assert_type(connection.fetch(), list[pgnotify.Notification])
    assert_type(connection.notification_handler("jobs", print), pgnotify.NotificationHandler)
    assert_type(connection.connection_handler("jobs", print, {}, 0.5, "stop"), pgnotify.NotificationHandler)
    for channel, payload, pid in connection.fetch():
        assert_type(channel, str)
        assert_type(payload, str)
        assert_type(pid, int)


def a_listener(connect: Any) -> None:
    def taken_in(event: pgnotify.Listening) -> None:
        assert_type(event.channels, tuple[str, ...])
        assert_type(event.gap, pgnotify.Gap | None)

    def failed(error: Exception, notification: pgnotify.Notification | None) -> None: ...

    with pgnotify.Listener("postgresql://", "orders", on_listening=taken_in, on_error=failed, workers=2) as listener:
        assert_type(listener, pgnotify.Listener)
        for notification in listener:
            assert_type(notification, pgnotify.Notification)
        assert_type(listener.run(), None)
        assert_type(listener.start(), None)
        assert_type(listener.stop(timeout=1.0, drain=True), bool)
        assert_type(listener.status(), pgnotify.Status)
        assert_type(listener.status().as_dict(), dict[str, Any])
        assert_type(listener.probe(), pgnotify.Probe)
        assert_type(listener.wait_or_poll(), pgnotify.Notification | pgnotify.Gap | None)
        subscription = listener.subscribe("cache", print)
        assert_type(subscription, pgnotify.Subscription)
        assert_type(subscription.wait_listening(1.0), bool)
    pgnotify.Listener(connect, on_error="raise", heartbeat=None, backoff=pgnotify.Backoff(maximum=5.0))


class Gaps(pgnotify.Observer):
    """An observer that overrides one method; there must be no need for more."""

    def gap_announced(self, name: str, gap: pgnotify.Gap) -> None:
        assert_type(gap.reason, pgnotify.Reason)


class Everything(pgnotify.Observer):
    def state_changed(self, name: str, state: pgnotify.ListenerState) -> None: ...
    def connect_failed(self, name: str, error: Exception, attempt: int, delay: float | None) -> None: ...
    def received(self, name: str, notifications: int, size: int) -> None: ...
    def channel_received(self, name: str, channel: str, notifications: int, size: int) -> None: ...
    def dropped(
        self, name: str, channel: str | None, notifications: int, subscription: pgnotify.Subscription | None
    ) -> None: ...
    def gap_announced(self, name: str, gap: pgnotify.Gap) -> None:
        super().gap_announced(name, gap)

    def callback_finished(self, name: str, channel: str, seconds: float, error: Exception | None) -> None: ...
    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None: ...
    def heartbeat_lagged(self, name: str, lag: float) -> None: ...


def an_observer(connect: Any) -> None:
    pgnotify.Listener(connect, "orders", observer=Gaps())
    pgnotify.Listener(connect, "orders", observer=Everything())
    pgnotify.Listener(connect, "orders", observer=pgnotify.Observer())


def a_status(status: pgnotify.Status) -> bool:
    assert_type(status.state, pgnotify.ListenerState)
    assert_type(status.delivering, bool)
    assert_type(status.unread, float)
    assert_type(status.known_good_at, datetime | None)
    assert_type(status.last_error_at, datetime | None)
    assert_type(status.callback_errors, int)
    return status.state == "listening" and status.state not in ("lost", "closed")


def connecting_and_sending() -> None:
    with pgnotify.connect("postgresql://localhost", driver="psycopg", application_name="x") as connection:
        assert_type(connection, pgnotify.Connection)
        pgnotify.notify(connection, "jobs", "payload")
        pgnotify.notify_many(connection, [("jobs", "a"), ("jobs", "b")])


class MyBackend:
    """All that a backend must have."""

    def listen(self, channel: str) -> None: ...
    def unlisten(self, channel: str) -> None: ...
    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        return True

    def fetch(self) -> list[pgnotify.Notification]:
        return []

    def notify(self, channel: str, payload: str = "") -> None: ...
    def close(self) -> None: ...


def a_backend_of_ones_own() -> None:
    backend: pgnotify.Backend = MyBackend()
    assert_type(backend.fetch(), list[pgnotify.Notification])
    pgnotify.register("mydriver", lambda connection: MyBackend())


def a_temporary_server() -> None:
    with TemporaryPostgreSQL() as server:
        assert_type(server, TemporaryPostgreSQL)
        assert_type(server.dsn, str)


class TestMine(BackendConformance):
    cannot: ClassVar = {"network": "it has its own"}

    def connect(self, address: Address) -> Any:
        assert_type(address.dsn, str)
        assert_type(address.password, str | None)
        return address

    def execute(self, connection: Any, statement: str) -> list[tuple[Any, ...]]:
        return []


class TestMineOnALoop(AsyncBackendConformance):
    async def connect(self, address: Address) -> Any:
        return address

    async def execute(self, connection: Any, statement: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = await super().execute(connection, statement)
        return rows

    async def begin(self, connection: Any) -> None:
        await self.execute(connection, "BEGIN")

    def make_backend(self, connection: Any) -> AsyncBackend:
        backend: AsyncBackend = super().make_backend(connection)
        return backend


def a_quick_look(address: Address) -> None:
    assert_type(pgnotify.check(lambda: object()), bool)
    assert_type(pgnotify.check(lambda to: to.dsn, tell=print), bool)


async def a_server_in_memory_on_a_loop(async_notifications: AsyncNotifications) -> None:
    with MemoryServer() as server:
        connection = await server.connect_async("other")
        backend: AsyncBackend = connection
        assert_type(backend.fetch(), list[pgnotify.Notification])
        server.drop_connection(connection)
        await async_notifications.listen("x")
        assert_type(await async_notifications.expect("x"), pgnotify.Notification)
        assert_type(async_notifications.received, list[pgnotify.Notification])


def a_server_in_memory() -> None:
    with MemoryServer() as server:
        connection = server.connect("other")
        backend: pgnotify.Backend = connection
        assert_type(backend.fetch(), list[pgnotify.Notification])
        assert_type(connection.pid, int)
        server.drop_connection(connection)
