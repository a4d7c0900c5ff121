"""`PrometheusObserver`: the metrics of listeners for Prometheus, which the extra `[prometheus]` installs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pgnotify.contrib._named import NamedChannels
from pgnotify.listener.gap import Gap
from pgnotify.listener.observer import Observer
from pgnotify.program.state import ListenerState

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ModuleNotFoundError:
    raise ImportError('prometheus-client is not installed: pip install "pgnotify-handler[prometheus]"') from None


class PrometheusObserver(Observer):
    """Counts in Prometheus' metrics ``pgnotify_…``, for any number of listeners.

    In prometheus_client's multiprocess mode, ``pgnotify_state`` is the number of processes in a state.

    Args:
        channels: the channels that have a label of their own. All others share the label "", so that channels that are
            made up at run time do not become thousands of time series.
        registry: where the metrics are registered. A second observer needs another one.
    """

    def __init__(self, channels: Iterable[str] = (), registry: CollectorRegistry = REGISTRY) -> None:
        self._label = NamedChannels(channels).label

        def made(kind: Any, name: str, text: str, *labels: str, **options: str) -> Any:
            return kind(f"pgnotify_{name}", text, ["listener", *labels], registry=registry, **options)

        latest, most = {"multiprocess_mode": "livemostrecent"}, {"multiprocess_mode": "livemax"}
        self._received = made(Counter, "notifications_received", "Notifications that have arrived", "channel")
        self._bytes = made(Counter, "received_bytes", "Size of their payloads in UTF-8", "channel")
        self._dropped = made(Counter, "notifications_dropped", "Notifications that were dropped", "channel")
        self._gaps = made(Counter, "gaps", "Periods from which notifications may be missing", "reason")
        self._seconds = made(Histogram, "callback_duration_seconds", "How long callbacks took", "channel")
        self._errors = made(Counter, "callback_errors", "Exceptions that callbacks have raised", "channel")
        self._failures = made(Counter, "connect_failures", "Attempts to connect that have failed")
        self._attempts = made(Gauge, "connect_attempts", "Attempts that have failed in a row", **most)
        self._state = made(Gauge, "state", "1 for the state that it is in", "state", multiprocess_mode="livesum")
        self._round_trip = made(Gauge, "heartbeat_seconds", "How long the server took to answer", **latest)
        self._usage = made(Gauge, "queue_usage_ratio", "How full the server's notification queue is", **latest)
        self._lag = made(Gauge, "heartbeat_lag_seconds", "How late the latest heartbeat was sent", **most)

    def state_changed(self, name: str, state: ListenerState) -> None:
        for each in ListenerState:
            self._state.labels(name, each.value).set(each is state)
        if state is ListenerState.LISTENING:
            self._attempts.labels(name).set(0)

    def connect_failed(self, name: str, error: Exception, attempt: int, delay: float | None) -> None:
        self._failures.labels(name).inc()
        self._attempts.labels(name).set(attempt)

    def channel_received(self, name: str, channel: str, notifications: int, size: int) -> None:
        self._received.labels(name, self._label(channel)).inc(notifications)
        self._bytes.labels(name, self._label(channel)).inc(size)

    def dropped(self, name: str, channel: str | None, notifications: int, subscription: object) -> None:
        self._dropped.labels(name, self._label(channel)).inc(notifications)

    def gap_announced(self, name: str, gap: Gap) -> None:
        self._gaps.labels(name, gap.reason.value).inc()

    def callback_finished(self, name: str, channel: str, seconds: float, error: Exception | None) -> None:
        self._seconds.labels(name, self._label(channel)).observe(seconds)
        self._errors.labels(name, self._label(channel)).inc(error is not None)

    def checked(self, name: str, round_trip: float, queue_usage: float | None) -> None:
        self._round_trip.labels(name).set(round_trip)
        if queue_usage is not None:
            self._usage.labels(name).set(queue_usage)

    def heartbeat_lagged(self, name: str, lag: float) -> None:
        self._lag.labels(name).set(lag)
