"""The tools for users' tests: the collector of notifications, the fixtures, and the page about them.

No driver is needed: the collector listens on the server in memory.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pgnotify import Backend, ChannelError, ConnectionLost, TransactionError, UnknownBackend, registry
from pgnotify.testing import NoPostgreSQL, server
from pgnotify.testing import notifications as module
from pgnotify.testing.memory import MemoryConnection, MemoryServer
from pgnotify.testing.notifications import Notifications
from tests.helpers.threads import Background, functions_of, is_in
from tests.helpers.waiting import PATIENCE, eventually

pytest_plugins = ["pytester"]

FOR_EVER = 3600.0  # seconds; a test that waits for this long runs into its timeout
PLUGIN = ("-p", "pgnotify.testing.plugin", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the pytest runs inside this one from importing plugins that they do not use."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def connection(memory_server: MemoryServer) -> MemoryConnection:
    """The connection of the collector."""
    return memory_server.connect()


@pytest.fixture
def sender(memory_server: MemoryServer) -> MemoryConnection:
    """The connection of the code under test."""
    return memory_server.connect()


@pytest.fixture
def collector(connection: MemoryConnection) -> Iterator[Notifications]:
    """A collector that listens to "orders" and "bills"."""
    with Notifications(connection) as opened:
        opened.listen("orders", "bills")
        yield opened


class Relay(Backend):
    """A backend in front of another one, to record the calls or to change them."""

    def __init__(self, behind: Backend) -> None:
        self.behind = behind
        self.callers: set[int] = set()
        """The identifiers of the threads that have called."""
        self.timeouts: list[float | None] = []
        """The timeouts of all waits."""

    def listen(self, channel: str) -> None:
        self.callers.add(threading.get_ident())
        self.behind.listen(channel)

    def unlisten(self, channel: str) -> None:
        self.callers.add(threading.get_ident())
        self.behind.unlisten(channel)

    def wait(self, timeout: float | None, wakeup: int | None = None) -> bool:
        self.callers.add(threading.get_ident())
        self.timeouts.append(timeout)
        return self.behind.wait(timeout, wakeup)

    def fetch(self) -> list[Any]:
        self.callers.add(threading.get_ident())
        return self.behind.fetch()

    def notify(self, channel: str, payload: str = "") -> None:
        self.callers.add(threading.get_ident())
        self.behind.notify(channel, payload)

    def close(self) -> None:
        self.behind.close()


def failure(background: Background) -> str:
    """Return the failure of an expectation in another thread."""
    with pytest.raises(AssertionError) as caught:
        background.ended()
    return str(caught.value)


# Expectations.


def test_what_was_sent_before_is_expected_at_once(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify("orders", "42")

    assert collector.expect("orders", "42", within=FOR_EVER) == ("orders", "42", sender.pid)


def test_an_expectation_ends_as_soon_as_it_is_met(collector: Notifications, sender: MemoryConnection) -> None:
    expecting = Background(collector.expect, "orders", "42", within=FOR_EVER)
    eventually(lambda: is_in(expecting, "_search", "wait"))

    sender.notify("orders", "41")
    sender.notify("orders", "42")

    expecting.ended()


def test_a_second_equal_notification_is_needed_for_a_second_equal_expectation(
    collector: Notifications, sender: MemoryConnection
) -> None:
    sender.notify("orders", "42")
    collector.expect("orders", "42", within=PATIENCE)
    with pytest.raises(AssertionError):
        collector.expect("orders", "42", within=0)

    sender.notify("orders", "42")

    collector.expect("orders", "42", within=PATIENCE)


def test_the_first_that_fits_is_returned(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify_many([("bills", "1"), ("orders", "2"), ("orders", "3")])
    eventually(lambda: len(collector.received) == 3)

    assert collector.expect("orders").payload == "2"
    assert collector.expect("orders").payload == "3"


def test_notifications_may_be_expected_in_another_order(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify_many([("orders", "1"), ("bills", "2"), ("orders", "3")])

    assert collector.expect("orders", "3", within=PATIENCE).payload == "3"
    assert collector.expect("bills").payload == "2"
    assert collector.expect("orders").payload == "1"


@pytest.mark.parametrize(
    "payload", ["", None, re.compile("^$"), lambda payload: not payload], ids=["str", "any", "pattern", "function"]
)
def test_an_empty_payload_is_expected_as_any_other(
    collector: Notifications, sender: MemoryConnection, payload: Any
) -> None:
    sender.notify("orders")

    assert collector.expect("orders", payload, within=PATIENCE).payload == ""


def test_an_empty_payload_is_not_any(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify("orders", "42")

    collector.expect_none("orders", "")


@pytest.mark.parametrize(
    "payload", ["42", re.compile("2$"), lambda payload: int(payload) > 41], ids=["str", "pattern", "function"]
)
def test_what_does_not_fit_is_left_for_others(collector: Notifications, sender: MemoryConnection, payload: Any) -> None:
    sender.notify_many([("bills", "42"), ("orders", "41"), ("orders", "42")])

    assert collector.expect("orders", payload, within=PATIENCE) == ("orders", "42", sender.pid)

    assert collector.expect("orders").payload == "41"


def test_a_function_is_asked_once_for_each(collector: Notifications, sender: MemoryConnection) -> None:
    asked: list[str] = []

    def accepts(payload: str) -> bool:
        asked.append(payload)
        if len(asked) < 5:
            sender.notify("orders", str(len(asked)))
        return payload == "4"

    sender.notify("orders", "0")
    collector.expect("orders", accepts, within=PATIENCE)

    assert asked == ["0", "1", "2", "3", "4"]


def test_a_payload_of_another_type_is_refused(collector: Notifications) -> None:
    with pytest.raises(TypeError, match=r"^payload must be a str, a compiled pattern, a function or None, not int$"):
        collector.expect("orders", 42, within=FOR_EVER)  # type: ignore[arg-type]


def test_what_was_received_is_kept_in_order(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify_many([("orders", "1"), ("bills", "2"), ("orders", "3")])
    collector.expect("orders", "3", within=PATIENCE)

    collector.expect_none("orders", "4")

    assert [(each.channel, each.payload) for each in collector.received] == [
        ("orders", "1"),
        ("bills", "2"),
        ("orders", "3"),
    ]


# The messages of failed expectations.


def test_what_is_missing_is_told_with_all_that_arrived(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify_many([("orders", "41"), ("bills", "42"), ("orders", "it's")])
    collector.expect("orders", "it's", within=PATIENCE)

    with pytest.raises(AssertionError) as caught:
        collector.expect("orders", "42", within=0.01)

    assert str(caught.value) == (
        "no notification on 'orders' with payload '42' arrived within 0.01 s; received:\n"
        "  'orders': '41'\n"
        "  'bills': '42'\n"
        "  'orders': \"it's\" (expected before)"
    )


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (None, "'orders'"),
        (re.compile("^4.$"), "'orders' with a payload that matches '^4.$'"),
        (str.isdigit, "'orders' with a payload that isdigit accepts"),
    ],
    ids=["any", "pattern", "function"],
)
def test_what_was_wanted_is_told(collector: Notifications, payload: Any, told: str) -> None:
    with pytest.raises(AssertionError) as caught:
        collector.expect("orders", payload, within=0)

    assert str(caught.value) == f"no notification on {told} arrived within 0 s; nothing was received"


def test_long_payloads_and_many_notifications_are_shortened(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify_many([("orders", f"{number:04d}{'x' * 5000}") for number in range(1000)])
    collector.expect("orders", re.compile("^0999"), within=PATIENCE)

    with pytest.raises(AssertionError) as caught:
        collector.expect("orders", "42", within=0)

    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 21
    assert lines[0] == f"  'orders': '0000{'x' * 55}…'"
    assert lines[9].startswith("  'orders': '0009")
    assert lines[10] == "  … 980 more …"
    assert lines[-1].startswith("  'orders': '0999")


def test_nobody_listening_is_told_at_once(collector: Notifications) -> None:
    told = r"^not listening to 'jobs': call notifications\.listen\('jobs'\) before the code that sends to it$"

    with pytest.raises(AssertionError, match=told):
        collector.expect("jobs", within=FOR_EVER)
    with pytest.raises(AssertionError, match=told):
        collector.expect_none("jobs", within=FOR_EVER)


def test_none_on_any_channel_cannot_be_expected_by_who_listens_to_none(connection: MemoryConnection) -> None:
    with Notifications(connection) as collector, pytest.raises(AssertionError, match=r"^not listening to any channel"):
        collector.expect_none()


# Expecting none.


def test_none_is_true_of_another_channel_another_payload_and_what_was_expected(
    collector: Notifications, sender: MemoryConnection
) -> None:
    sender.notify("orders", "42")

    collector.expect_none("bills")
    collector.expect_none("orders", "41")
    collector.expect("orders", "42", within=PATIENCE)
    collector.expect_none()


@pytest.mark.parametrize("arguments", [(), ("orders",), ("orders", "42"), ("orders", re.compile("4"))])
def test_none_fails_if_one_was_sent_before(
    collector: Notifications, sender: MemoryConnection, arguments: tuple[Any, ...]
) -> None:
    sender.notify("orders", "42")

    with pytest.raises(AssertionError, match=r"^a notification on .* arrived; received:\n  'orders': '42'$"):
        collector.expect_none(*arguments)


def test_none_fails_if_one_was_sent_before_and_is_still_under_way(
    collector: Notifications, sender: MemoryConnection, memory_server: MemoryServer, connection: MemoryConnection
) -> None:
    memory_server.blackhole(connection)
    sender.notify("orders", "42")

    expecting = Background(collector.expect_none)
    memory_server.heal(connection)

    assert failure(expecting) == "a notification on any channel arrived; received:\n  'orders': '42'"


def test_none_fails_if_one_is_sent_within_the_time(collector: Notifications, sender: MemoryConnection) -> None:
    expecting = Background(collector.expect_none, "orders", within=FOR_EVER)
    eventually(lambda: collector._last_fence_back)  # the following are sent later than the call

    sender.notify("bills", "41")
    sender.notify("orders", "42")

    assert failure(expecting).startswith("a notification on 'orders' arrived")


def test_what_the_collector_sends_to_itself_is_not_received(collector: Notifications) -> None:
    collector.expect_none()
    collector.expect_none()

    assert collector.received == []


def test_none_does_not_hang_on_a_server_that_does_not_answer(
    collector: Notifications,
    memory_server: MemoryServer,
    connection: MemoryConnection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory_server.blackhole(connection)

    with monkeypatch.context() as impatient:
        impatient.setattr(module, "_PATIENCE_SECONDS", 0.01)
        with pytest.raises(AssertionError, match=r"^the collector's connection did not answer within 0\.01 s$"):
            collector.expect_none()

    memory_server.heal(connection)


def test_none_does_not_hang_where_own_notifications_do_not_arrive(
    collector: Notifications, sender: MemoryConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_SECONDS", 0.01)

    class Deaf(Relay):
        def notify(self, channel: str, payload: str = "") -> None: ...

    with Notifications(Deaf(sender)) as deaf:
        deaf.listen("orders")
        with pytest.raises(
            AssertionError, match=r"^the collector did not receive its own notification within 0\.01 s$"
        ):
            deaf.expect_none()
        monkeypatch.undo()


# Listening.


def test_listening_is_in_force_on_return(connection: MemoryConnection) -> None:
    with Notifications(connection) as collector:
        collector.listen("orders")
        assert connection.listening_channels == {"orders"}

        collector.listen("bills", "orders")
        assert connection.listening_channels == {"orders", "bills"}


def test_a_name_that_the_server_would_cut_is_refused(collector: Notifications) -> None:
    with pytest.raises(ChannelError, match="64 bytes"):
        collector.listen("x" * 64)


def test_a_connection_in_a_transaction_is_refused(connection: MemoryConnection) -> None:
    connection.begin()

    with Notifications(connection) as collector, pytest.raises(TransactionError):
        collector.listen("orders")


def test_a_connection_is_left_alone_until_somebody_listens(connection: MemoryConnection) -> None:
    relay = Relay(connection)

    with Notifications(relay) as collector:
        assert collector._thread is None  # nobody reads yet

        assert relay.callers == set()


def test_what_is_no_connection_is_refused() -> None:
    with pytest.raises(UnknownBackend):
        Notifications(object())


# A connection that is lost.


def test_a_loss_fails_an_expectation_at_once_with_the_cause(
    collector: Notifications, sender: MemoryConnection, memory_server: MemoryServer, connection: MemoryConnection
) -> None:
    sender.notify("bills", "41")
    expecting = Background(collector.expect, "orders", within=FOR_EVER)

    memory_server.drop_connection(connection)

    with pytest.raises(AssertionError) as caught:
        expecting.ended()
    assert str(caught.value) == (
        "no notification on 'orders' arrived before ConnectionLost: the connection to the server is lost, from "
        "DatabaseError: terminating connection due to administrator command; received:\n"
        "  'bills': '41'"
    )
    assert isinstance(caught.value.__cause__, ConnectionLost)


def test_what_arrived_before_the_loss_can_be_expected(
    collector: Notifications, sender: MemoryConnection, memory_server: MemoryServer, connection: MemoryConnection
) -> None:
    sender.notify("orders", "42")
    memory_server.drop_connection(connection)

    assert collector.expect("orders", within=PATIENCE).payload == "42"


def test_after_a_loss_all_else_fails_at_once_too(
    collector: Notifications, memory_server: MemoryServer, connection: MemoryConnection
) -> None:
    memory_server.drop_connection(connection)
    with pytest.raises(AssertionError):
        collector.expect("orders", within=FOR_EVER)

    for call in (collector.expect_none, lambda: collector.listen("jobs")):
        with pytest.raises(AssertionError, match=r"^nothing more can arrive after ConnectionLost: ") as caught:
            call()
        assert isinstance(caught.value.__cause__, ConnectionLost)


def test_a_loss_fails_who_expects_none(
    collector: Notifications, memory_server: MemoryServer, connection: MemoryConnection
) -> None:
    expecting = Background(collector.expect_none, within=FOR_EVER)
    eventually(lambda: collector._last_fence_back)

    memory_server.drop_connection(connection)

    assert failure(expecting).startswith("nothing more can arrive after ConnectionLost: ")


def test_who_asks_in_the_moment_of_the_loss_is_answered(connection: MemoryConnection) -> None:
    class Lost(Relay):
        def fetch(self) -> list[Any]:
            fetching.set()
            eventually(lambda: collector._watch.commands)
            raise ConnectionLost("now")

    fetching = threading.Event()
    with Notifications(Lost(connection)) as collector:
        collector.listen("orders")
        fetching.wait(PATIENCE)
        with pytest.raises(AssertionError, match=r"^nothing more can arrive after ConnectionLost: now; ") as caught:
            collector.listen("bills")
    assert isinstance(caught.value.__cause__, ConnectionLost)


# The thread, and cleaning up.


def test_only_the_collectors_thread_uses_the_connection(connection: MemoryConnection) -> None:
    relay = Relay(connection)

    with Notifications(relay) as collector:
        collector.listen("orders")
        collector.expect_none()

    assert relay.callers == {collector._thread.ident}


def test_an_idle_collector_sleeps(sender: MemoryConnection, connection: MemoryConnection) -> None:
    relay = Relay(connection)
    with Notifications(relay) as collector:
        collector.listen("orders")
        sender.notify("orders")
        collector.expect("orders", within=PATIENCE)
        eventually(lambda: functions_of(collector._thread)[0] == "wait_readable")
        waits_before = len(relay.timeouts)

        with pytest.raises(AssertionError):
            collector.expect("orders", within=0.2)

        assert len(relay.timeouts) == waits_before
        assert set(relay.timeouts) == {None}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="not applicable: no /proc here to count descriptors")
def test_nothing_is_left_behind(memory_server: MemoryServer) -> None:
    threads, descriptors = threading.active_count(), os.listdir("/proc/self/fd")

    for _ in range(3):
        connection = memory_server.connect()
        with Notifications(connection) as collector:
            collector.listen("orders")
            collector.expect_none()
        assert connection.closed

    assert threading.active_count() == threads
    assert os.listdir("/proc/self/fd") == descriptors


def test_a_second_close_does_nothing_and_what_follows_fails(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify("orders", "42")
    collector.expect("orders", within=PATIENCE)

    collector.close()
    collector.close()

    assert [each.payload for each in collector.received] == ["42"]
    missed = r"^no notification on 'orders' arrived before the collector was closed; received:"
    with pytest.raises(AssertionError, match=missed):
        collector.expect("orders", within=FOR_EVER)
    with pytest.raises(AssertionError, match=r"^nothing more can arrive after the collector was closed; "):
        collector.listen("bills")


def test_closing_a_stuck_collector_says_so_and_leaves_its_connection_alone(
    memory_server: MemoryServer, connection: MemoryConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Notifications(connection)
    memory_server.blackhole(connection)
    listening = Background(collector.listen, "orders")
    eventually(lambda: is_in(collector._thread, "listen", "wait_readable"))
    eventually(lambda: is_in(listening, "result", "wait"))

    with monkeypatch.context() as impatient:
        impatient.setattr(module, "_PATIENCE_SECONDS", 0.01)
        with pytest.raises(RuntimeError, match=r"left open: it has been stuck in a call for 0\.01 s$"):
            collector.close()
    assert not connection.closed

    memory_server.heal(connection)
    listening.ended()
    collector.close()
    assert connection.closed


def test_the_collector_does_not_import_pytest() -> None:
    code = "import sys, pgnotify.testing.notifications; sys.exit('pytest' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)

    assert done.returncode == 0


# The fixtures, as users' tests use them.

IN_MEMORY = """
    import pytest

    @pytest.fixture
    def notifications_connection(memory_server):
        return memory_server.connect()
"""
USES_FIXTURES = """
    def test_it(notifications, memory_server):
        notifications.listen("orders")
        memory_server.connect().notify("orders", "42")
        assert notifications.expect("orders", "42").payload == "42"
        assert len(memory_server.connections) == 2

    def test_it_again(memory_server):
        assert memory_server.connections == []
"""


def test_the_fixtures_work_where_the_command_line_names_the_plugin(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    pytester.makeconftest(IN_MEMORY)
    pytester.makepyfile(USES_FIXTURES)

    result = pytester.runpytest_subprocess(*PLUGIN, "-W", "error")

    result.assert_outcomes(passed=2)


def test_the_fixtures_work_where_the_conftest_names_the_plugin(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(f'    pytest_plugins = ["pgnotify.testing.plugin"]\n{IN_MEMORY}')
    pytester.makepyfile(USES_FIXTURES)

    result = pytester.runpytest_inprocess("-W", "error")

    result.assert_outcomes(passed=2)


def test_a_failed_expectation_shows_the_users_line_and_none_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(IN_MEMORY)
    pytester.makepyfile(
        """
        def test_expect(notifications):
            notifications.listen("orders")
            notifications.expect("orders", "42", within=0)

        def test_expect_none(notifications, memory_server):
            notifications.listen("orders")
            memory_server.connect().notify("orders", "42")
            notifications.expect_none()

        def test_deaf(notifications):
            notifications.expect("orders")

        def test_deaf_to_none(notifications):
            notifications.expect_none("orders")
        """
    )

    result = pytester.runpytest_inprocess(*PLUGIN)

    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(
        [
            '>*notifications.expect("orders", "42", within=0)',
            "E*AssertionError: no notification on 'orders' with payload '42' arrived within 0 s; nothing was received",
            ">*notifications.expect_none()",
            "E*AssertionError: a notification on any channel arrived; received:",
            "E*'orders': '42'",
            ">*notifications.expect(*",
            "E*AssertionError: not listening to 'orders': *",
        ]
    )
    result.stdout.no_fnmatch_line("*notifications.py:*")


def test_the_connections_of_a_test_are_closed_at_its_end(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(IN_MEMORY)
    pytester.makepyfile(
        """
        kept = []

        def test_one(notifications, notifications_connection, memory_server):
            kept.extend([notifications_connection, memory_server.connect()])
            assert len(memory_server.connections) == 2
            kept.append(memory_server)

        def test_another():
            own, other, server = kept
            assert own.closed
            assert server.connections == []
        """
    )

    result = pytester.runpytest_inprocess(*PLUGIN)

    result.assert_outcomes(passed=2)


def test_without_a_driver_the_test_is_skipped_with_what_to_install_and_starts_no_server(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "is_installed", lambda package: False)
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture(scope="session")
        def postgresql_server():
            pytest.fail("started")

        def test_it(notifications):
            pass
        """
    )

    result = pytester.runpytest_inprocess(*PLUGIN, "-rs")

    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(['SKIPPED*no driver is installed*pip install "pgnotify-handler[[]psycopg]"'])


def test_what_a_test_sends_is_recorded_by_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pgnotify

        def test_it(sent_notifications, memory_server):
            connection = memory_server.connect()
            connection.begin()
            pgnotify.notify(connection, "orders", "42")
            assert sent_notifications == [("orders", "42")]

        def test_each_test_has_its_own(sent_notifications):
            assert sent_notifications == []
        """
    )

    pytester.runpytest_inprocess(*PLUGIN).assert_outcomes(passed=2)


# What is required.

REQUIRED_BY = {
    "the command line": {"arguments": ("--pgnotify-require-server",)},
    "the configuration": {"ini": "true"},
    "the environment": {"variable": "1"},
}
NOT_REQUIRED_BY = {
    "nothing": {},
    "an empty variable": {"variable": ""},
    "a variable that is 0": {"variable": "0"},
    "a variable that is false": {"variable": "False"},
    "the configuration": {"ini": "false"},
}


@pytest.fixture
def without_server(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that runs a test of each kind where no PostgreSQL is found; it returns the result."""

    def not_found(kind: object = None) -> None:
        raise NoPostgreSQL("no PostgreSQL here: install one")

    monkeypatch.setattr(server, "find_postgresql", not_found)
    monkeypatch.setattr(server, "_required", False)  # which the runs inside this one set
    monkeypatch.delenv(server.DSN_VARIABLE, raising=False)
    pytester.makepyfile(
        """
        from pgnotify.testing import BackendConformance

        def test_it(postgresql_server):
            pass

        class TestConformance(BackendConformance):
            def connect(self, address):
                raise AssertionError("there is no server")
        """
    )

    def run(arguments: tuple[str, ...] = (), ini: str | None = None, variable: str | None = None) -> pytest.RunResult:
        monkeypatch.setenv(server.REQUIRE_VARIABLE, variable or "")
        if ini is not None:
            pytester.makeini(f"[pytest]\npgnotify_require_server = {ini}")
        return pytester.runpytest_inprocess(*PLUGIN, "-rsE", "-k", "test_it or is_in_force_on_return", *arguments)

    return run


@pytest.mark.parametrize("required", REQUIRED_BY.values(), ids=REQUIRED_BY)
def test_a_server_that_is_required_fails_the_tests_that_lack_it(without_server: Any, required: dict[str, Any]) -> None:
    result = without_server(**required)

    outcomes = result.parseoutcomes()
    assert (outcomes.get("skipped"), outcomes.get("passed")) == (None, None)
    assert outcomes["errors"] >= 1
    assert outcomes["failed"] + outcomes["errors"] >= 3
    result.stdout.fnmatch_lines(["*no PostgreSQL here: install one (not skipped, because a server and a driver are*"])


@pytest.mark.parametrize("left", NOT_REQUIRED_BY.values(), ids=NOT_REQUIRED_BY)
def test_otherwise_they_are_skipped(without_server: Any, left: dict[str, Any]) -> None:
    outcomes = without_server(**left).parseoutcomes()

    assert {*outcomes} - {"deselected"} == {"skipped"}


def test_a_driver_that_is_required_fails_the_tests_that_lack_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "is_installed", lambda package: False)
    monkeypatch.setenv(server.REQUIRE_VARIABLE, "1")
    pytester.makepyfile("def test_it(notifications): pass")

    result = pytester.runpytest_inprocess(*PLUGIN)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(['*no driver is installed*pip install "pgnotify-handler[[]psycopg]" (not skipped,*'])


# The page about them. Its examples run in tests/docs/.

PAGE = (Path(__file__).parent.parent.parent / "docs" / "how-to" / "testing.md").read_text()


def blocks(language: str) -> list[str]:
    """Return the code blocks of the page."""
    return [block.partition("```")[0] for block in PAGE.split(f"```{language}\n")[1:]]


def test_the_page_shows_what_a_failed_expectation_says(collector: Notifications, sender: MemoryConnection) -> None:
    sender.notify_many([("orders", "41"), ("bills", "42")])
    collector.expect_none("orders", "42")

    with pytest.raises(AssertionError) as caught:
        collector.expect("orders", "42", within=0)

    assert [f"{caught.value}\n".replace("within 0 s", "within 1 s")] == blocks("text")


@pytest.mark.parametrize("owner", [MemoryServer, Notifications])
def test_what_the_page_names_is_there(owner: type) -> None:
    section = PAGE.partition("## Faults" if owner is MemoryServer else "## Code that notifies")[2].partition("\n## ")[0]
    first_cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    names = re.findall(r"`(\w+)", "".join(first_cells))

    assert len(names) >= 4
    assert [name for name in names if not hasattr(owner, name)] == []
