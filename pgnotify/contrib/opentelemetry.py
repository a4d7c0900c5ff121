"""`OpenTelemetryObserver`: the metrics of listeners for OpenTelemetry, which the extra `[otel]` installs."""

from __future__ import annotations

from collections.abc import Iterable

from pgnotify.contrib._lasting_gauge import LastingGauge
from pgnotify.contrib._named import NamedChannels
from pgnotify.listener.gap import Gap
from pgnotify.listener.observer import Observer
from pgnotify.program.state import ListenerState

try:
    from opentelemetry.metrics import Meter, get_meter
except ModuleNotFoundError:
    raise ImportError('opentelemetry-api is not installed: pip install "pgnotify-handler[otel]"') from None

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)  # as the conventions have it


class OpenTelemetryObserver(Observer):
    """Counts in OpenTelemetry's metrics, by the names of its conventions for messaging where they have one.

    Args:
        channels: the channels that ``messaging.destination.name`` names. All others are counted without a name.
        meter: of a provider of your own; None takes the global one's.
    """

    def __init__(self, channels: Iterable[str] = (), meter: Meter | None = None) -> None:
        self._named = NamedChannels(channels, "messaging.destination.name").attributes
        made = get_meter("pgnotify") if meter is None else meter
        self._consumed = made.create_counter("messaging.client.consumed.messages", "{message}")
        self._process = made.create_histogram(
            "messaging.process.duration", "s", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._bytes = made.create_counter("pgnotify.received", "By", "Size of payloads in UTF-8")
        self._dropped = made.create_counter("pgnotify.dropped", "{message}", "Notifications that were dropped")
        self._gaps = made.create_counter("pgnotify.gaps", "{gap}", "Periods from which notifications may be missing")
        self._failures = made.create_counter("pgnotify.connect.failures", "{attempt}", "Attempts that have failed")
        self._attempts = LastingGauge(made, "pgnotify.connect.attempts", "{attempt}", "Failed attempts in a row")
        self._state = LastingGauge(made, "pgnotify.state", "1", "1 for the state that the listener is in")
        self._round_trip = LastingGauge(made, "pgnotify.heartbeat.duration", "s", "How long the server took to answer")
        self._usage = LastingGauge(made, "pgnotify.queue.usage", "1", "How full the server's queue is, from 0 to 1")
        self._lag = LastingGauge(made, "pgnotify.heartbeat.lag", "s", "How late the latest heartbeat was sent")

    def state_changed(self, name: str, state: ListenerState) -> None:
        for each in ListenerState:
            self._state.set(int(each is state), {"pgnotify.listener": name, "pgnotify.state": each.value})
        if state is ListenerState.LISTENING:
            self._attempts.set(0, {"pgnotify.listener": name})

    def connect_failed(self, name: str, error: Exception, attempt: int, delay: float | None) -> None:
        self._failures.add(1, {"pgnotify.listener": name, "error.type": type(error).__qualname__})
        self._attempts.set(attempt, {"pgnotify.listener": name})

    def channel_received(self, name: str, channel: str, notifications: int, size: int) -> None:
        self._consumed.add(notifications, self._about(name, channel, "receive"))
        self._bytes.add(size, self._about(name, channel, "receive"))

    def dropped(self, name: str, channel: str | None, notifications: int, subscription: object) -> None:
        self._dropped.add(notifications, self._about(name, channel, "receive"))

    def gap_announced(self, name: str, gap: Gap) -> None:
        self._gaps.add(1, {"pgnotify.listener": name, "pgnotify.gap.reason": gap.reason.value})

    def callback_finished(self, name: str, channel: str, seconds: float, error: Exception | None) -> None:
        failed = {} if error is None else {"error.type": type(error).__qualname__}
        self._process.record(seconds, {**self._about(name, channel, "process"), **failed})

    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None:
        self._round_trip.set(round_trip, {"pgnotify.listener": name})
        if queue_usage is not None:
            self._usage.set(queue_usage, {"pgnotify.listener": name})

    def heartbeat_lagged(self, name: str, lag: float) -> None:
        self._lag.set(lag, {"pgnotify.listener": name})

    def _about(self, name: str, channel: str | None, operation: str) -> dict[str, str]:
        operated = {"messaging.operation.name": operation, "messaging.operation.type": operation}
        return {"messaging.system": "postgresql", "pgnotify.listener": name, **operated, **self._named(channel)}
