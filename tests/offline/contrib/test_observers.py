"""The ready-made observers: their libraries hold all that the listener has told, in the names that are documented."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

import pytest

import pgnotify
from pgnotify import ChannelError, Gap, Listener, ListenerState, Observer, Reason
from tests.helpers.listeners import AT_ONCE
from tests.helpers.waiting import IN_MEMORY

CONTRIB = Path(pgnotify.__file__).parent / "contrib"
NOW = datetime.now(timezone.utc)

# One of each kind. The channel "user_17" is not among those that are named.
FACTS = [
    ("state_changed", ListenerState.CONNECTING),
    ("connect_failed", ConnectionRefusedError("hunter"), 1, 0.5),
    ("connect_failed", TimeoutError(), 2, None),
    ("channel_received", "orders", 2, 11),
    ("channel_received", "user_17", 1, 4),
    ("dropped", "orders", 3, None),
    ("dropped", None, 1, None),
    ("gap_announced", Gap(Reason.FAIL_OVER, NOW, NOW, ("orders",))),
    ("callback_finished", "orders", 0.003, None),
    ("callback_finished", "orders", 0.007, ZeroDivisionError()),
    ("checked", 0.25, 0.5),
    ("checked", 0.125, None),
    ("heartbeat_lagged", 1.5),
]


class Prometheus:
    """Prometheus' library, with one observer."""

    def __init__(self):
        self.library = pytest.importorskip("prometheus_client")
        self.registry = self.library.CollectorRegistry()
        self.observer = self.make(["orders"], self.registry)

    def make(self, *arguments):
        from pgnotify.contrib.prometheus import PrometheusObserver

        return PrometheusObserver(*arguments)

    def value(self, name, **labels):
        return self.registry.get_sample_value(f"pgnotify_{name}", {"listener": "shop", **labels})

    def received(self, channel):
        return self.value("notifications_received_total", channel=channel)


class OpenTelemetry:
    """OpenTelemetry's library, with one observer."""

    def __init__(self):
        sdk = pytest.importorskip("opentelemetry.sdk.metrics")
        self.reader = pytest.importorskip("opentelemetry.sdk.metrics.export").InMemoryMetricReader()
        self.provider = sdk.MeterProvider([self.reader], shutdown_on_exit=False)
        self.observer = self.make(["orders"], self.provider.get_meter("tests"))

    def make(self, *arguments):
        from pgnotify.contrib.opentelemetry import OpenTelemetryObserver

        return OpenTelemetryObserver(*arguments)

    def metrics(self):
        [resource] = self.reader.get_metrics_data().resource_metrics
        return {metric.name: metric for scope in resource.scope_metrics for metric in scope.metrics}

    def points(self, name):
        """Return the value of each point by its attributes, without those that all points have."""
        return {
            tuple(value for key, value in point.attributes.items() if key != "pgnotify.listener"): point
            for point in self.metrics()[name].data.data_points
        }

    def value(self, name, *attributes):
        return self.points(name)[attributes].value

    def received(self, channel):
        found = {
            point.attributes.get("messaging.destination.name", ""): point.value
            for point in self.metrics()["messaging.client.consumed.messages"].data.data_points
        }
        return found[channel]


def tell(observer, facts=FACTS):
    for method, *arguments in facts:
        getattr(observer, method)("shop", *arguments)


@pytest.fixture(params=[Prometheus, OpenTelemetry])
def library(request):
    """Either of the two."""
    made = request.param()
    yield made
    if hasattr(made, "provider"):
        made.provider.shutdown()


def test_prometheus_has_all_that_it_was_told():
    prometheus = Prometheus()
    tell(prometheus.observer)

    value = prometheus.value
    assert [value("notifications_received_total", channel=channel) for channel in ("orders", "", "user_17")] == [
        2,
        1,
        None,
    ]
    assert [value("received_bytes_total", channel=channel) for channel in ("orders", "")] == [11, 4]
    assert [value("notifications_dropped_total", channel=channel) for channel in ("orders", "")] == [3, 1]
    assert value("gaps_total", reason="fail-over") == 1
    assert value("callback_duration_seconds_count", channel="orders") == 2
    assert value("callback_errors_total", channel="orders") == 1
    assert (value("connect_failures_total"), value("connect_attempts")) == (2, 2)
    assert (value("heartbeat_seconds"), value("queue_usage_ratio"), value("heartbeat_lag_seconds")) == (0.125, 0.5, 1.5)
    assert {str(state): value("state", state=str(state)) for state in ListenerState} == {
        str(state): float(state is ListenerState.CONNECTING) for state in ListenerState
    }


def test_opentelemetry_has_all_that_it_was_told():
    telemetry = OpenTelemetry()
    tell(telemetry.observer)

    value = telemetry.value
    received = ("postgresql", "receive", "receive")
    assert value("messaging.client.consumed.messages", *received, "orders") == 2
    assert value("messaging.client.consumed.messages", *received) == 1
    assert value("pgnotify.received", *received, "orders") == 11
    assert (value("pgnotify.dropped", *received, "orders"), value("pgnotify.dropped", *received)) == (3, 1)
    assert value("pgnotify.gaps", "fail-over") == 1
    assert [value("pgnotify.connect.failures", each) for each in ("ConnectionRefusedError", "TimeoutError")] == [1, 1]
    assert value("pgnotify.connect.attempts") == 2
    assert (value("pgnotify.heartbeat.duration"), value("pgnotify.queue.usage")) == (0.125, 0.5)
    assert value("pgnotify.heartbeat.lag") == 1.5
    assert [value("pgnotify.state", str(state)) for state in ListenerState] == [
        int(state is ListenerState.CONNECTING) for state in ListenerState
    ]


def test_the_duration_of_callbacks_is_in_the_buckets_and_attributes_of_the_conventions():
    telemetry = OpenTelemetry()
    tell(telemetry.observer)

    processed = ("postgresql", "process", "process", "orders")
    points = telemetry.points("messaging.process.duration")
    assert {key: (point.sum, point.explicit_bounds[0]) for key, point in points.items()} == {
        processed: (0.003, 0.005),
        (*processed, "ZeroDivisionError"): (0.007, 0.005),
    }
    assert {*points[(*processed, "ZeroDivisionError")].attributes} == {
        "messaging.system",
        "messaging.operation.name",
        "messaging.operation.type",
        "messaging.destination.name",
        "pgnotify.listener",
        "error.type",
    }


def test_a_gauge_of_opentelemetry_has_its_value_in_every_export():
    telemetry = OpenTelemetry()
    tell(telemetry.observer)
    before = telemetry.metrics()

    assert {*telemetry.metrics()} == {*before}
    assert telemetry.value("pgnotify.state", "connecting") == 1


def test_the_attempts_in_a_row_are_none_while_it_listens(library):
    tell(library.observer, [*FACTS, ("state_changed", ListenerState.LISTENING)])

    name = "connect_attempts" if isinstance(library, Prometheus) else "pgnotify.connect.attempts"
    assert library.value(name) == 0


def test_a_thousand_channels_that_nobody_has_named_are_one_time_series(library):
    tell(library.observer, [("channel_received", f"user_{number}", 1, 0) for number in range(1000)])

    assert library.received("") == 1000


def test_threads_lose_no_count(library):
    facts = [("channel_received", "orders", 1, 2)] * 500
    threads = [threading.Thread(target=tell, args=(library.observer, facts)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert library.received("orders") == 2000


def test_a_listener_feeds_it(server, library):
    def callback(notification):
        if notification.payload == "bad":
            raise ZeroDivisionError

    listener = Listener(server.connect, name="shop", heartbeat=None, backoff=AT_ONCE, observer=library.observer)
    listener.subscribe("orders", callback)
    with listener:
        server.connect().notify_many([("orders", "good"), ("orders", "bad")])
        list(listener.notifications(timeout=0))
        server.drop_connection(server.connections[0])
        assert listener.wait_or_poll(IN_MEMORY, IN_MEMORY) is not None

    assert library.received("orders") == 2


def test_neither_has_a_method_that_an_observer_has_not(library):
    methods = {name for name in vars(type(library.observer)) if not name.startswith("_")}

    assert methods == {name for name in vars(Observer) if not name.startswith("_")} - {"received"}


@pytest.mark.parametrize(("channels", "error"), [("orders", TypeError), ([""], ChannelError), ([5], TypeError)])
def test_channels_that_cannot_be_are_refused(library, channels, error):
    with pytest.raises(error):
        library.make(channels)


@pytest.mark.parametrize(
    ("module", "library", "told"),
    [
        (
            "prometheus",
            "prometheus_client",
            'prometheus-client is not installed: pip install "pgnotify-handler[prometheus]"',
        ),
        ("opentelemetry", "opentelemetry", 'opentelemetry-api is not installed: pip install "pgnotify-handler[otel]"'),
    ],
)
def test_without_its_library_each_says_in_one_line_what_to_install(module, library, told):
    code = f"import sys; sys.modules[{library!r}] = None; import pgnotify.contrib.{module}"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.stderr.splitlines()[-1] == f"ImportError: {told}"
    assert "During handling" not in done.stderr


@pytest.mark.parametrize("name", ["prometheus", "opentelemetry"])
def test_each_can_be_read_on_one_screen(name):
    assert len((CONTRIB / f"{name}.py").read_text().splitlines()) <= 80
