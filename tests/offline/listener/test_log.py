"""The wording of the log, and how often a warning is repeated; see test_report.py for the lines of a whole life."""

from __future__ import annotations

import logging
import re
from types import SimpleNamespace

import pytest

from pgnotify.errors import ConnectionLost, PayloadError, Unanswered, UndecodablePayload
from pgnotify.listener.failure import OnListeningFailed
from pgnotify.listener.gap import Gap, Reason, utc
from pgnotify.listener.log import Log, text_of
from pgnotify.listener.mailbox import Mailbox
from pgnotify.listener.observer import Observed, Observer
from pgnotify.listener.repeats import LINES
from pgnotify.notification import Notification
from tests.helpers.play import Clock


@pytest.fixture
def log():
    return Log("cache")


@pytest.fixture
def lines(caplog):
    """A function that returns the levels and texts of all lines so far."""
    caplog.set_level(logging.INFO, "pgnotify.listener")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def caused(error, cause):
    error.__cause__ = cause
    return error


# A LISTEN.


def gap(reason, dropped=0, channels=("jobs",)):
    return Gap(reason, utc(0), utc(1.5), channels, dropped)


def test_a_gap_without_a_loss_took_no_time(log, lines):
    log.listening(("jobs",), gap(Reason.SUBSCRIPTION_LOST), 7)

    assert lines() == [
        (
            "WARNING",
            "cache: listening again to 'jobs' after 0.00 s, server process 7; notifications sent from "
            "1970-01-01T00:00:00+00:00 to 1970-01-01T00:00:01.500000+00:00 may be missing: subscription lost",
        )
    ]


def test_the_time_counts_from_the_latest_loss(log, lines, monkeypatch):
    moments = iter((100.0, 150.0, 160.25))
    monkeypatch.setattr("pgnotify.listener.log.time", SimpleNamespace(monotonic=lambda: next(moments)))

    log.lost(ConnectionLost("gone"), Reason.CONNECTION_LOST, 0.0)
    log.lost(ConnectionLost("gone again"), Reason.CONNECTION_LOST, 0.0)
    log.listening(("a", "b"), gap(Reason.CONNECTION_LOST), 7)

    assert re.match("cache: listening again to 2 channels after 10[.]25 s, ", lines()[-1][1])


def test_a_queue_overflow_says_how_many_were_dropped(log, lines):
    log.listening(("jobs",), gap(Reason.QUEUE_OVERFLOW, 3), 7)
    log.listening(("a", "b"), gap(Reason.QUEUE_OVERFLOW, 4), None)

    assert lines() == [
        ("WARNING", "cache: 3 notifications of 'jobs' were dropped: a queue was full"),
        ("WARNING", "cache: 4 notifications of 2 channels were dropped: a queue was full"),
    ]


def test_a_refused_channel_is_an_error(log, lines):
    log.refused("日本", ValueError("no such character"))

    assert lines() == [("ERROR", "cache: the server refuses to listen to '日本': ValueError: no such character")]


# A loss, and the attempts after it.


@pytest.mark.parametrize(
    ("delay", "when"), [(None, "is not possible"), (0.0, "at once"), (0.25, "in 0.25 s"), (12.346, "in 12.35 s")]
)
def test_a_loss_says_when_the_next_attempt_follows(log, lines, delay, when):
    log.lost(Unanswered("no answer"), Reason.HEARTBEAT_MISSED, delay)

    assert lines() == [("WARNING", f"cache: heartbeat missed: Unanswered: no answer; connecting again {when}")]


def test_a_connection_given_up_for_on_listening_is_not_called_lost(log, lines):
    log.lost(OnListeningFailed("on_listening has failed"), Reason.CONNECTION_LOST, 0.5)

    assert lines() == [("WARNING", "cache: on_listening has failed; connecting again in 0.50 s")]


@pytest.mark.parametrize(("permanent", "level"), [(False, "WARNING"), (True, "ERROR")])
def test_a_failed_attempt_is_an_error_only_if_something_must_be_changed(log, lines, permanent, level):
    log.failed(OSError("refused"), 3, 1.5, permanent)

    assert lines() == [(level, "cache: attempt 3 to connect failed: OSError: refused; next attempt in 1.50 s")]


# A pooler.


def test_a_pooler_is_warned_of_with_both_processes(log, lines):
    log.connected(behind_pooler=True, told=7, answering=8)

    ((level, text),) = lines()
    assert level == "WARNING"
    assert text.startswith(
        "cache: a pooler is in between: server process 8 answers, but the driver connected to process 7. "
    )
    assert text.endswith("Listener.probe() finds out")


def test_a_pooler_is_warned_of_once_until_a_connection_has_none(log, lines):
    log.connected(behind_pooler=False, told=7, answering=7)
    assert lines() == []

    for behind_pooler in (True, True, False, True):
        log.connected(behind_pooler, told=7, answering=8)

    assert [text.partition(": server")[0] for _, text in lines()] == ["cache: a pooler is in between"] * 2


def test_a_changed_process_is_warned_of_once_for_each_connection(log, lines):
    for _ in "ab":
        log.connected(behind_pooler=False, told=7, answering=7)
        log.process_changed(7, 8)
        log.process_changed(8, 7)

    warning = (
        "cache: server process 8 answers, and before it process 7 did: a pooler lends server connections for one "
        "transaction at a time, so no notification arrives. Listen through its session mode, or connect to the "
        "server itself"
    )
    assert lines() == [("WARNING", warning), ("WARNING", warning)]


# Full queues.


def test_the_usage_of_the_servers_queue_is_warned_of_in_percent(log, lines):
    log.queue_usage(0.5)

    ((level, text),) = lines()
    assert level == "WARNING"
    assert text.startswith("cache: the server's notification queue is 50 % full; ")


def test_a_mark_is_warned_of_again_only_if_the_usage_has_fallen_below_it(log, lines):
    for usage in (0.09, 0.1, 0.3, 0.1, 0.6, 0.9, 0.5, 0.4, 0.55, 0.0, 0.2):
        log.queue_usage(usage)

    assert [re.search(r"\d+ %", text)[0] for _, text in lines()] == ["10 %", "60 %", "55 %", "20 %"]


def test_drops_are_one_line_until_the_queue_has_been_empty(log, lines):
    queue = Mailbox(1)
    for dropped, was_empty in ((0, True), (2, False), (3, False), (0, False), (4, False), (0, True), (5, False)):
        log.dropped(dropped, ["a", "b", "a"], "its callback is too slow", queue, was_empty)

    warning = "cache: a queue is full, and notifications of 'a', 'b' are dropped: its callback is too slow"
    assert lines() == [("WARNING", warning), ("WARNING", warning)]


def test_drops_of_one_queue_are_one_line_beside_another_that_drops_nothing(log, lines):
    slow, quick = Mailbox(1), Mailbox(1)
    for _ in range(2_000):
        log.dropped(0, ["quick"], "its callback is too slow", quick, True)
        log.dropped(1, ["slow"], "its callback is too slow", slow, False)

    assert len(lines()) == 1


def test_a_line_has_ten_channels_and_says_how_many_more_there_are(log, lines):
    log.listen_ignored(tuple(str(number) for number in range(80_000)))
    log.dropped(1, (str(number) for number in range(11)), "nobody iterates", Mailbox(1), False)

    assert all("'8', '9' and " in text for _, text in lines())
    assert [re.search(r"and (\d+) more", text)[1] for _, text in lines()] == ["79990", "1"]


# What somebody repeats without end.


def error_of(cls=ZeroDivisionError):
    try:
        raise cls("1")
    except cls as error:
        return error


REPEATED = {
    "drops of a queue": lambda log: log.dropped(1, ["jobs"], "nobody iterates", Mailbox(1), False),
    "gaps of a queue": lambda log: log.listening(("jobs",), gap(Reason.QUEUE_OVERFLOW, 3), 7),
    "losses": lambda log: log.lost(ConnectionLost("gone"), Reason.CONNECTION_LOST, 0.0),
    "gaps of a connection": lambda log: log.listening(("jobs",), gap(Reason.CONNECTION_LOST), 7),
    "failed attempts": lambda log: log.failed(OSError("refused"), 3, 0.0, permanent=False),
    "marks of the server's queue": lambda log: (log.queue_usage(0.0), log.queue_usage(0.5)),
    "errors of a callback": lambda log: log.user_error(error_of(), Notification(str(id(object())), "1", 7)),
    "errors of on_listening": lambda log: log.user_error(error_of(), None),
    "errors of on_error": lambda log: log.on_error_failed(error_of(), KeyError("2"), None),
}


@pytest.fixture
def clock(monkeypatch):
    """A clock that passes only when a test says so."""
    clock = Clock()
    monkeypatch.setattr("pgnotify.listener.repeats.time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.mark.parametrize("repeat", REPEATED.values(), ids=[*REPEATED])
def test_a_minute_has_ten_lines_of_a_kind_and_then_their_number(log, lines, clock, repeat):
    for _ in range(1_000):
        repeat(log)
    assert len(lines()) == LINES
    assert lines()[-1][1].endswith(" (others like it are only counted for 60 s)")

    clock.now += 60
    repeat(log)

    level, text = lines()[0]
    assert [each[0] for each in lines()] == [level] * (LINES + 2)
    assert lines()[LINES][1].startswith("cache: 990 more lines like this: ")
    assert lines()[LINES + 1][1].split()[:3] == text.split()[:3]


def test_lines_of_other_kinds_are_not_left_out(log, lines, clock):
    for _ in range(100):
        log.user_error(error_of(), None)
    log.user_error(error_of(KeyError), None)
    log.lost(ConnectionLost("gone"), Reason.CONNECTION_LOST, 0.0)

    assert len(lines()) == LINES + 2


def test_the_end_says_how_many_lines_were_left_out(log, lines, clock):
    for number in range(LINES + 3):
        log.failed(OSError(f"refused {number}"), number, 1.0, permanent=False)
    log.stopped()

    assert [text for _, text in lines()][LINES:] == [
        "cache: 3 more lines like this: attempt 12 to connect failed: OSError: refused 12; next attempt in 1.00 s",
        "cache: stopped",
    ]


def test_undecodable_ones_are_warned_of_once_for_each_connection_without_the_payload(log, lines):
    secret = b"sec\xe9ret"
    for _ in range(2):
        log.connected(False, None, None)
        log.undecodable(UndecodablePayload("only UTF-8", undecodable=secret))
        log.undecodable(UndecodablePayload("only UTF-8"))
    log.connected(False, None, None)
    log.undecodable(PayloadError(f"cannot decode {secret!r}"))
    log.listening(("jobs",), gap(Reason.UNDECODABLE, 1), 7)

    assert lines() == [
        ("WARNING", "cache: a notification could not be decoded: only UTF-8"),
        ("WARNING", "cache: a notification could not be decoded: only UTF-8"),
        ("WARNING", "cache: a notification could not be decoded: PayloadError"),
        ("INFO", "cache: one notification of 'jobs' could not be decoded, and is lost"),
    ]


# Errors.


@pytest.mark.parametrize(
    ("notification", "text"),
    [
        (None, "cache: on_listening failed"),
        (Notification("jobs", "1", 7), "cache: the callback for 'jobs' failed"),
    ],
)
def test_an_error_of_the_user_is_logged_with_its_traceback(log, lines, caplog, notification, text):
    error = ZeroDivisionError("1")

    log.user_error(error, notification)

    assert lines() == [("ERROR", text)]
    assert caplog.records[0].exc_info[1] is error


def test_an_error_of_on_error_is_logged_with_the_error_that_it_was_called_with(log, lines, caplog):
    failure = KeyError("2")
    try:
        raise failure
    except KeyError:
        log.on_error_failed(failure, ZeroDivisionError("1"), None)

    assert lines() == [("ERROR", "cache: on_error failed on an error of on_listening: ZeroDivisionError: 1")]
    assert caplog.records[0].exc_info[1] is failure


def test_the_error_that_ended_the_listener_is_logged_with_its_traceback(log, lines, caplog):
    error = SystemExit("over")

    log.ended_by(error)

    assert lines() == [("ERROR", "cache: the listener has ended")]
    assert caplog.records[0].exc_info[1] is error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionLost("gone"), "ConnectionLost: gone"),
        (ConnectionLost("two\n  lines\n"), "ConnectionLost: two lines"),
        (caused(ConnectionLost("gone"), OSError("reset")), "ConnectionLost: gone (reset)"),
        (caused(ConnectionLost("gone: reset"), OSError("reset")), "ConnectionLost: gone: reset"),
        (caused(Unanswered("no answer"), OSError("shut down by us")), "Unanswered: no answer"),
        (ValueError({"M": "no such role", "C": "28000"}), "ValueError: no such role (28000)"),
        (caused(ConnectionLost("gone"), ValueError({"M": "bye", "C": "57P01"})), "ConnectionLost: gone (bye (57P01))"),
    ],
    ids=str,
)
def test_an_error_is_one_line_with_its_cause_if_that_adds_something(error, text):
    assert text_of(error) == text


# The fields.


def fields(log, caplog, write):
    """Return the fields of the line that is written last."""
    caplog.set_level(logging.DEBUG, "pgnotify.listener")
    write(log)
    record = caplog.records[-1]
    assert record.listener == "cache"
    return record.channel, record.attempt, record.gap


NOTE = Notification("jobs", "hunter", 7)
LOST = gap(Reason.CONNECTION_LOST)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (lambda log: log.connected(True, 1, 2), (None, None, None)),
        (lambda log: log.listening(("jobs",), None, 7), ("jobs", None, None)),
        (lambda log: log.listening(("a", "b"), None, 7), (None, None, None)),
        (lambda log: log.listening(("jobs",), LOST, 7), ("jobs", None, LOST)),
        (lambda log: log.listening(("jobs",), gap(Reason.UNDECODABLE), 7), ("jobs", None, gap(Reason.UNDECODABLE))),
        (
            lambda log: log.listening(("a", "b"), gap(Reason.QUEUE_OVERFLOW), 7),
            (None, None, gap(Reason.QUEUE_OVERFLOW)),
        ),
        (lambda log: log.lost(ConnectionLost("gone"), Reason.CONNECTION_LOST, 0.0), (None, None, None)),
        (lambda log: log.failed(OSError("refused"), 3, 1.0, False), (None, 3, None)),
        (lambda log: log.refused("jobs", OSError()), ("jobs", None, None)),
        (lambda log: log.unchecked({"channels": "denied"}), (None, None, None)),
        (lambda log: log.process_changed(1, 2), (None, None, None)),
        (lambda log: log.listen_ignored(("jobs",)), ("jobs", None, None)),
        (lambda log: log.listen_ignored(("a", "b")), (None, None, None)),
        (lambda log: log.stands_by("copy", True), (None, None, None)),
        (lambda log: log.not_acknowledged("copy", None), (None, None, None)),
        (lambda log: log.queue_usage(0.5), (None, None, None)),
        (lambda log: log.undecodable(UndecodablePayload("bad", "jobs")), ("jobs", None, None)),
        (lambda log: log.undecodable(PayloadError("bad")), (None, None, None)),
        (lambda log: log.dropped(2, ["jobs", "jobs"], "slow", log, False), ("jobs", None, None)),
        (lambda log: log.dropped(2, ["a", "b"], "slow", log, False), (None, None, None)),
        (lambda log: log.user_error(ZeroDivisionError(), NOTE), ("jobs", None, None)),
        (lambda log: log.user_error(ZeroDivisionError(), None), (None, None, None)),
        (lambda log: log.on_error_failed(ZeroDivisionError(), OSError(), NOTE), ("jobs", None, None)),
        (lambda log: log.inherited(OSError()), (None, None, None)),
        (lambda log: log.stopped(), (None, None, None)),
        (lambda log: log.ended_by(OSError()), (None, None, None)),
    ],
)
def test_each_line_has_the_fields_of_the_thing_that_it_is_about(log, caplog, write, expected):
    assert fields(log, caplog, write) == expected


def test_the_number_of_lines_that_were_left_out_has_the_fields_of_the_latest(log, caplog, clock):
    def fail_often(log):
        for attempt in range(LINES + 2):
            log.failed(OSError(), attempt, 1.0, False)
        log.stopped()

    assert fields(log, caplog, fail_often) == (None, None, None)
    left_out = next(record for record in caplog.records if "more lines like this" in record.getMessage())
    assert (left_out.listener, left_out.attempt) == ("cache", LINES + 1)


def test_the_line_about_an_observer_has_the_fields_too(log, caplog):
    class Failing(Observer):
        def checked(self, name, round_trip, queue_usage):
            raise ZeroDivisionError

    observed = Observed("cache", Failing(), "hidden")

    assert fields(log, caplog, lambda _: observed.tell("checked", 0.1, 0.0)) == (None, None, None)
    assert caplog.records[-1].exc_info[0] is ZeroDivisionError


def test_a_line_that_nobody_wants_is_not_put_together(log, monkeypatch):
    monkeypatch.setattr(logging.getLogger("pgnotify.listener"), "disabled", True)
    monkeypatch.setattr(logging.Logger, "makeRecord", None)

    log.listening(("jobs",), LOST, 7)
