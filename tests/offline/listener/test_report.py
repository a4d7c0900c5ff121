"""The Listener on a server in memory: what it refuses, and what it tells of itself; its probe."""

from __future__ import annotations

import json
import logging
import re
import threading
from functools import partial

import pytest

from pgnotify.connecting import source as source_module
from pgnotify.connecting.backoff import Backoff
from pgnotify.errors import ChannelError, UndecodablePayload, UnknownBackend
from pgnotify.listener.events import Checked
from pgnotify.listener.gap import Reason
from pgnotify.listener.options import Options
from pgnotify.listener.report import Reporter
from pgnotify.listener.subscriptions import Routes, Subscription
from pgnotify.listener.watch import ListenerWatch
from tests.helpers.listener_fronts import Listener, blocking_only, both_fronts
from tests.helpers.listeners import Happened, Told, Watching, its_connection, refusing, send
from tests.helpers.notifications import payloads
from tests.helpers.waiting import IN_MEMORY, eventually

pytestmark = both_fronts


def read(listener):
    return payloads(listener.notifications(timeout=0))


# What is refused, before anything is opened.


def refuse_to_connect():
    raise AssertionError("it has connected")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"on_listening": 5}, TypeError, "on_listening must be a function, not 5"),
        ({"on_error": "ignore"}, TypeError, "on_error must be a function, not 'ignore'"),
        ({"workers": -1}, ValueError, "workers must be at least 0, not -1"),
        ({"workers": True}, TypeError, "workers must be an int, not bool"),
        ({"workers": 1.5}, TypeError, "workers must be an int, not float"),
        ({"queue_size": 0}, ValueError, "queue_size must be at least 1, not 0"),
        ({"queue_size": None}, TypeError, "queue_size must be an int, not NoneType"),
        ({"heartbeat": 0}, ValueError, "heartbeat must be positive and finite, not 0"),
        ({"heartbeat": float("inf")}, ValueError, "heartbeat must be positive and finite, not inf"),
        ({"heartbeat": "30"}, TypeError, "heartbeat must be a number of seconds, not str"),
        ({"answer_timeout": None}, TypeError, "answer_timeout must be a number of seconds, not NoneType"),
        ({"answer_timeout": float("nan")}, ValueError, "answer_timeout must be positive and finite, not nan"),
        ({"answer_timeout": -1}, ValueError, "answer_timeout must be positive and finite, not -1"),
    ],
    ids=str,
)
def test_a_bad_argument_is_refused(arguments, error, message):
    with pytest.raises(error) as refusal:
        Listener(refuse_to_connect, "jobs", **arguments)

    assert str(refusal.value) == message


@pytest.mark.parametrize("channel", ["", "x" * 64, "a\0b", "\ud800"])
def test_a_channel_that_postgresql_would_refuse_or_cut_is_refused(make, channel):
    with pytest.raises(ChannelError):
        Listener(refuse_to_connect, "jobs", channel)
    with pytest.raises(ChannelError):
        make().subscribe(channel, print)


def test_a_source_that_is_none_is_refused():
    with pytest.raises(UnknownBackend):
        Listener(None, "jobs")


def test_a_callback_that_cannot_be_called_is_refused(make):
    listener = make()

    with pytest.raises(TypeError, match="callback must take a notification, not be 'print'"):
        listener.subscribe("jobs", "print")

    assert listener.status().channels == ()


@pytest.mark.parametrize(
    "use",
    [
        lambda listener: listener.notifications(timeout=-1),
        lambda listener: listener.wait_or_poll(healthy=-1),
        lambda listener: listener.wait_or_poll(deaf=float("nan")),
        lambda listener: listener.stop(timeout=-1),
        lambda listener: listener.probe(timeout=-1),
        lambda listener: listener.notifications(stop_after=-1),
    ],
)
def test_a_time_or_number_that_cannot_be_is_refused_at_once(make, server, use):
    with pytest.raises(ValueError):  # noqa: PT011
        use(make("jobs"))

    assert server.connections == []


# status()


def test_before_anything_is_done_it_is_idle(make):
    status = make("jobs", name="cache").status()

    assert (status.name, status.state, status.channels) == ("cache", "idle", ())
    assert not status.delivering
    assert status.server_pid is None


def test_it_tells_how_it_stands(make, server, sender):
    with make("jobs", "other") as listener:
        send(sender, "1", "éé")
        read(listener)
        status = listener.status()

    assert (status.state, status.channels, status.delivering) == ("listening", ("jobs", "other"), True)
    assert (status.notifications, status.bytes, status.queued, status.dropped) == (2, 5, 0, 0)
    assert (status.gaps, status.reconnects, status.attempts) == (0, 0, 0)
    assert status.server_pid == 1001 + 1
    assert not status.behind_pooler


def test_what_waits_for_the_iteration_is_queued(make, sender):
    with make("jobs") as listener:
        send(sender, 1, 2, 3)
        next(iter(listener))

        assert listener.status().queued == 2


def test_a_loss_is_counted(make, server):
    with make("jobs") as listener:
        read(listener)
        server.drop_connection(its_connection(server))
        assert listener.wait_or_poll(IN_MEMORY, IN_MEMORY) is not None
        status = listener.status()

    assert (status.gaps, status.reconnects) == (1, 1)


def test_between_two_attempts_it_says_so(make, server):
    watching = Watching()
    listener = make("jobs", source=refusing(server, 1000), backoff=Backoff(1000, 1000), observer=watching)
    listener.start()
    watching.states.wait_for(lambda states: "backing off" in states)

    status = listener.status()
    assert (status.state, status.attempts, status.delivering) == ("backing off", 1, False)


def test_a_connection_that_is_lost_for_good_is_not_listened_on(make, server):
    connection = server.connect()
    with make("jobs", source=connection) as listener:
        read(listener)
        server.drop_connection(connection)
        with pytest.raises(Exception, match="lost"):
            read(listener)

        assert listener.status().state != "listening"


def test_it_goes_through_json(make):
    with make("日本") as listener:
        told = listener.status().as_dict()

        assert json.loads(json.dumps(told)) == told
        assert told["channels"] == ["日本"]


def test_behind_a_pooler_nothing_is_promised_before_something_has_come_in(make, server, sender):
    def connect():
        connection = server.connect()
        server.swap_session(connection)
        return connection

    with make("jobs", source=connect) as listener:
        read(listener)
        assert (listener.status().behind_pooler, listener.status().delivering) == (True, False)

        send(sender, 1)
        read(listener)
        assert listener.status().delivering


def connect_with_secret(secret):
    raise AssertionError(secret)


@pytest.mark.parametrize(
    ("source", "channels", "shown"),
    [
        ("postgresql://u:hunter@h:5433/shop", ["jobs"], "'jobs' on h:5433/shop"),
        ("host=a,b,c,d,e dbname=shop", ["jobs", "other"], "'jobs', 'other' on a:5432,b:5432,c:5432,…/shop"),
        ("host=/tmp hostaddr=::1 password=hunter", [], "no channel on /tmp:5432"),
        ("service=prod", list("abcd"), "'a', 'b', 'c' … and 1 more on service prod"),
        (partial(connect_with_secret, "hunter"), ["jobs"], "'jobs' on connect_with_secret()"),
        (print, [str(number) for number in range(80_000)], "'0', '1', '2' … and 79,997 more on print()"),
    ],
    ids=["URI", "pairs", "no channel", "service", "function", "80,000"],
)
def test_its_repr_says_who_it_is_and_how_it_stands_to_what_and_where(source, channels, shown, monkeypatch):
    monkeypatch.setattr(source_module, "connect_with", lambda driver: print)
    monkeypatch.setattr("pgnotify.aio.source.connect_async_with", lambda driver: (print, False))
    for variable in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(variable, raising=False)

    listener = Listener(source, *channels, name="cache")

    assert repr(listener) == f"<Listener 'cache' idle: {shown}>"
    on = shown.partition(" on ")[2]
    assert repr(listener.subscribe("jobs", print)) == f"<Subscription to 'jobs' on {on}>"


@blocking_only("inside")
def test_its_repr_is_there_before_it_is_made_and_while_a_lock_is_held(make):
    kind = type(make("jobs"))
    assert repr(kind.__new__(kind)) == "<Listener, not initialized>"
    assert repr(Subscription.__new__(Subscription)) == "<Subscription, not initialized>"
    listener, shown = make("jobs"), []
    with listener._routes._lock, listener._delivery.lock:
        looking = threading.Thread(target=lambda: shown.append(repr(listener)))
        looking.start()
        looking.join(IN_MEMORY)

    assert shown == ["<Listener 'pgnotify' idle: 'jobs' on <lambda>()>"]


def test_its_repr_does_not_show_the_channel_of_a_probe(make, server):
    shown = []
    with make("jobs") as listener:
        connect = server.connect
        server.connect = lambda *arguments: (shown.append(repr(listener)), connect(*arguments))[1]
        assert listener.probe(IN_MEMORY).delivering == "yes"

    assert shown == ["<Listener 'pgnotify' listening: 'jobs' on <lambda>()>"]


# The observer.


def test_an_observer_is_told_what_goes_on(make, server, sender):
    watching = Watching()
    with make("jobs", observer=watching) as listener:
        sender.notify_many([("jobs", "1"), ("jobs", "22")])
        read(listener)
        server.drop_connection(its_connection(server))
        listener.wait_or_poll(IN_MEMORY, IN_MEMORY)

    assert watching.states == ["connecting", "listening", "connecting", "listening", "closed"]
    assert watching.batches == [(2, 3)]
    assert [gap.reason for gap in watching.gaps] == [Reason.CONNECTION_LOST]


def test_an_observer_is_told_of_heartbeats(make, server):
    server.queue_usage = 0.25
    watching = Watching()
    listener = make("jobs", heartbeat=0.01, observer=watching)
    listener.start()
    watching.checks.wait_for(1)

    round_trip, queue_usage = watching.checks[0]
    assert round_trip >= 0
    assert queue_usage == 0.25
    listener.stop(IN_MEMORY)
    assert listener.status().queue_usage == 0.25
    assert listener.status().round_trip >= 0


def test_an_observer_that_fails_is_logged_and_changes_nothing(make, sender, caplog):
    class Failing(Watching):
        def received(self, *facts):
            raise ZeroDivisionError

    with make("jobs", observer=Failing()) as listener:
        send(sender, 1)

        assert read(listener) == ["1"]

    assert "pgnotify: the observer failed" in caplog.messages


# The log.


def logged(caplog):
    """Return the levels and texts, without numbers."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == "pgnotify.listener"]


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO, "pgnotify.listener")
    return lambda: logged(caplog)


def test_a_listen_is_one_line(make, log):
    with make("jobs", name="cache") as listener:
        read(listener)

    assert log() == [("INFO", "cache: listening to 'jobs', server process 1001"), ("INFO", "cache: stopped")]


def test_many_channels_are_counted(make, log):
    with make(*"abc") as listener:
        read(listener)

    assert [text for _, text in log()] == [
        "pgnotify: listening to 3 channels, server process 1001",
        "pgnotify: stopped",
    ]


def test_a_loss_is_a_line_and_so_is_the_way_back(make, server, log):
    with make("jobs") as listener:
        read(listener)
        server.drop_connection(its_connection(server))
        listener.wait_or_poll(IN_MEMORY, IN_MEMORY)

    _, (level, loss), (level_again, again), _ = log()
    assert level == level_again == "WARNING"
    assert loss.startswith("pgnotify: connection lost: ConnectionLost: ")
    assert "terminating connection due to administrator command" in loss
    assert loss.endswith("; connecting again at once")
    assert re.match(
        r"pgnotify: listening again to 'jobs' after \d+\.\d\d s, server process 1002; notifications sent", again
    )
    assert again.endswith(" may be missing: connection lost")


def test_each_attempt_that_fails_is_a_line(make, server, log):
    listener = make("jobs", source=refusing(server, 2))
    listener.start()
    assert listener.subscribe("other", print).wait_listening(IN_MEMORY)

    attempts = [(level, text) for level, text in log() if "attempt" in text]
    assert attempts == [
        ("WARNING", "pgnotify: attempt 1 to connect failed: OSError: refused; next attempt at once"),
        ("WARNING", "pgnotify: attempt 2 to connect failed: OSError: refused; next attempt at once"),
    ]


def test_a_permanent_error_later_is_an_error_and_the_users_to_know(make, server, log):
    class WrongPassword(Exception):
        sqlstate = "28P01"

    refused, errors = [], Happened()

    def connect():
        if refused:
            raise refused[0]
        return server.connect()

    listener = make(
        "jobs",
        source=connect,
        backoff=Backoff(1000, 1000),
        on_error=lambda error, notification: errors.append((type(error), notification)),
    )
    listener.start()
    refused.append(WrongPassword("changed"))
    server.drop_connection(its_connection(server))
    errors.wait_for(1)

    assert errors == [(WrongPassword, None)]
    assert [level for level, text in log() if "attempt 1" in text] == ["ERROR"]


def test_an_overflow_is_one_line_however_many_are_dropped(make, sender, log):
    watching = Watching()
    listener = make("jobs", queue_size=1, observer=watching)
    listener.start()
    for count in range(1, 6):
        send(sender, count)
        watching.wait_for_notifications(count)

    assert len([text for _, text in log() if "a queue is full" in text]) == 1


def test_a_queue_of_the_servers_that_fills_is_a_line_for_each_mark_it_passes(make, server, log):
    watching = Watching()
    listener = make("jobs", heartbeat=0.005, observer=watching)
    listener.start()
    for usage in (0.05, 0.15, 0.2, 0.6, 0.05, 0.15):
        server.queue_usage = usage
        watching.checks.wait_for(lambda checks, usage=usage: checks and checks[-1][1] == usage)

    assert [text.split(" full")[0][-4:] for _, text in log() if "notification queue" in text] == [
        "15 %",
        "60 %",
        "15 %",
    ]


# probe()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_arrives_from_a_second_session_is_proof(make, server, workers):
    events = []
    with make("jobs", on_listening=events.append, workers=workers) as listener:
        probe = listener.probe(IN_MEMORY)

        assert (probe.delivering, probe.reason) == ("yes", "a notification from a second session has arrived")
        assert probe.seconds >= 0
        eventually(lambda: len(server.connections) == 1, patience=IN_MEMORY)  # the second one is closed after that
        assert [event.channels for event in events] == [("jobs",)], "the probe is none of the user's business"
        read(listener)
        assert its_connection(server).listening_channels == {"jobs"}


def test_a_probe_of_what_is_not_connected_says_so(make, server):
    listener = make("jobs", source=refusing(server, 100), backoff=Backoff(1000, 1000))
    listener.start()

    assert listener.probe() == ("no", "the listener is not connected at the moment", None)


def test_a_probe_behind_a_pooler_says_why_nothing_arrives(make, server):
    def connect():
        connection = server.connect()
        server.swap_session(connection)
        return connection

    listener = make("jobs", source=connect)
    with listener:
        read(listener)
        original = server.connect

        def connect_and_forget(*arguments):
            server.lose_subscription()
            return original(*arguments)

        server.connect = connect_and_forget
        probe = listener.probe(0.05)

    assert probe.delivering == "no"
    assert "a pooler is in between" in probe.reason


def test_a_probe_that_does_not_arrive_says_so(make, server):
    with make("jobs") as listener:
        read(listener)
        original = server.connect

        def connect_and_forget(*arguments):
            server.lose_subscription()
            return original(*arguments)

        server.connect = connect_and_forget

        assert listener.probe(0.05) == (
            "no",
            "nothing has arrived within 0.05 s of a NOTIFY from a second session",
            None,
        )


def test_without_a_second_session_nothing_is_known(make, server):
    with make("jobs", source=server.connect()) as listener:
        assert listener.probe().delivering == "unknown"


def test_a_second_session_that_fails_proves_nothing(make, server):
    left = [server.connect]
    with make("jobs", source=lambda: left.pop()()) as listener:
        probe = listener.probe(IN_MEMORY)

    assert probe.delivering == "unknown"
    assert "the second session failed: IndexError" in probe.reason


@blocking_only("who reads")
def test_in_the_thread_that_reads_a_probe_cannot_wait_for_itself(make, sender):
    probes = []
    with make() as listener:
        listener.subscribe("jobs", lambda notification: probes.append(listener.probe()))
        read(listener)
        send(sender, 1)
        read(listener)

    assert [probe.delivering for probe in probes] == ["unknown"]


@blocking_only("inside")
def test_an_undecodable_one_is_counted_and_told_with_workers_too(make, server, sender):
    """A fetch raises between two good ones, as a driver's does that cannot decode the one between them."""
    watching, told, seen = Watching(), Told(), Happened()
    listener = make(workers=1, observer=watching, on_listening=told)
    listener.subscribe("jobs", lambda notification: seen.append(notification.payload))
    listener.start()
    told.next()
    connection = its_connection(server)
    fetch_into, failures = connection.fetch_into, iter([UndecodablePayload("not UTF-8", undecodable=b"12345")])

    def undecodable(queue):
        before = len(queue)
        fetch_into(queue)
        if len(queue) == before and seen:
            for failure in failures:
                raise failure

    connection.fetch_into = undecodable
    listener._runner.use(connection)  # looks it up again

    send(sender, "1")
    seen.wait_for(1)
    send(sender, "23")
    seen.wait_for(2)

    gap = told.next().gap
    assert (gap.reason, gap.channels, gap.dropped) == (Reason.UNDECODABLE, ("jobs",), 1)
    status = listener.status()
    assert (status.notifications, status.bytes, status.dropped, status.gaps, status.reconnects) == (3, 8, 1, 1, 0)
    assert sorted(watching.batches) == [(1, 1), (1, 2), (1, 5)]
    assert list(watching.gaps) == [gap]


def test_threads_that_wait_look_again_after_each_check():
    routes, changes = Routes(("jobs",)), []
    watch = ListenerWatch(routes.wanted)
    reporter = Reporter(Options(), watch, routes, lambda: changes.append(1))

    reporter.tell(Checked(None, 0.1, None, 0.0))

    assert changes == [1]
