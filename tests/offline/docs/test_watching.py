"""The examples of the page on watching a listener run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgnotify import Listener, Observer
from tests.helpers.listeners import AT_ONCE, its_connection
from tests.helpers.waiting import IN_MEMORY

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "watching.md").read_text()
HEALTH, PROMETHEUS, OPENTELEMETRY = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def run(code):
    """Run an example; return its names."""
    namespace = {}
    exec(code, namespace)
    return namespace


def deliver(server, observer):
    """Have a callback succeed, fail, and be called again after a gap; yield at the end of that."""

    def callback(notification):
        if notification.payload == "bad":
            raise ZeroDivisionError

    listener = Listener(server.connect, name="shop", heartbeat=None, backoff=AT_ONCE, observer=observer)
    listener.subscribe("orders", callback)
    with listener:
        server.connect().notify_many([("orders", "good"), ("orders", "bad")])
        list(listener.notifications(timeout=0))
        server.drop_connection(server.connections[0])
        assert listener.wait_or_poll(IN_MEMORY, IN_MEMORY) is not None
    return listener


def test_a_listener_is_ready_and_alive_while_it_listens(server):
    health = run(HEALTH)
    listener = Listener(server.connect, "orders", heartbeat=None, backoff=AT_ONCE)

    said = [(health["is_ready"](listener), health["is_alive"](listener))]
    with listener:
        said.append((health["is_ready"](listener), health["is_alive"](listener)))
    said.append((health["is_ready"](listener), health["is_alive"](listener)))

    assert said == [(False, True), (True, True), (False, False)]


def test_a_listener_whose_connection_is_lost_for_good_is_not_alive(server):
    health = run(HEALTH)
    connection = server.connect()
    with Listener(connection, "orders", heartbeat=None) as listener:
        server.drop_connection(its_connection(server))
        with pytest.raises(Exception, match="lost"):
            list(listener)

        assert not health["is_alive"](listener)


def test_prometheus_gets_what_the_observer_is_told(server):
    client = pytest.importorskip("prometheus_client")
    before = {*client.REGISTRY._collector_to_names}
    example = run(PROMETHEUS)
    try:
        listener = deliver(server, example["observer"])
        example["watch"](listener)

        def value(name, **labels):
            return client.REGISTRY.get_sample_value(f"pgnotify_{name}", {"listener": "shop", **labels})

        assert value("notifications_received_total", channel="orders") == 2
        assert value("delivering") == 0
        made = {
            name
            for collector, names in client.REGISTRY._collector_to_names.items()
            if collector not in before
            for name in names
            if not name.endswith(("_created", "_bucket", "_count", "_sum"))
        }
        assert {*re.findall(r"pgnotify_\w+", PAGE)} - {"pgnotify_handler"} <= made
    finally:
        for collector in {*client.REGISTRY._collector_to_names} - before:
            client.REGISTRY.unregister(collector)


def test_opentelemetry_gets_what_the_observer_is_told(server, monkeypatch):
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    export = pytest.importorskip("opentelemetry.sdk.metrics.export")
    reader = export.InMemoryMetricReader()
    provider = sdk.MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr("opentelemetry.metrics._internal._METER_PROVIDER", provider)
    observer = run(OPENTELEMETRY)["observer"]
    deliver(server, observer)
    observer.connect_failed("shop", OSError(), 1, 1.0)
    observer.dropped("shop", "orders", 1, None)
    observer.checked("shop", 0.1, 0.0)
    observer.heartbeat_lagged("shop", 0.0)

    [scope] = reader.get_metrics_data().resource_metrics[0].scope_metrics
    points = {metric.name: list(metric.data.data_points) for metric in scope.metrics}
    provider.shutdown()
    assert [point.value for point in points["messaging.client.consumed.messages"]] == [2]
    rows = re.findall(r"^\| (`(?:messaging|pgnotify)\..*?) \|", PAGE, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([\w.]+)`", row)} == {*points}


def test_the_page_has_each_method_of_an_observer():
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)`(.*?) \|", PAGE, re.MULTILINE)

    methods = {name: vars(Observer)[name].__code__ for name in vars(Observer) if not name.startswith("_")}
    arguments = {name: code.co_varnames[2 : code.co_argcount] for name, code in methods.items()}
    assert {name: (first, *re.findall(r"`(\w+)`", others)) for name, first, others in rows} == arguments
