"""check() and server_pid, if the backend offers them: a listener uses them to notice that it hears nothing."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any

from pgnotify.errors import ConnectionLost
from pgnotify.protocol import ChecksHealth, Health
from pgnotify.testing.conformance._tools import holds, is_refused, needs, not_applicable, same
from pgnotify.testing.conformance.losing import Losing
from pgnotify.testing.nasty import GOOD_CHANNELS

_DURING_CHECKS = 400
_LOOKS = 30


class Checking(Losing):
    """The promises of check() and server_pid."""

    promised_in = "ChecksHealth, NamesServerPid"

    @cached_property
    def checking(self) -> ChecksHealth:
        """The backend, if it offers check()."""
        if not isinstance(self.backend, ChecksHealth):
            raise not_applicable("the backend does not offer check()")
        return self.backend

    def test_a_check_tells_how_the_server_stands_and_who_has_answered(self) -> None:
        health = self.checking.check()

        holds(isinstance(health, Health), f"check() returned {health!r}, which is not a Health")
        same(health.in_recovery, False, "in_recovery")
        usage = health.queue_usage
        holds(usage is not None and 0 <= usage <= 1, f"queue_usage is {health.queue_usage!r}, which is not from 0 to 1")
        same(health.server_pid, self.pid_of(self.db), "server_pid")

    def test_a_check_tells_what_is_listened_to_by_exactly_its_name(self) -> None:
        same(self.checking.check().channels, frozenset())
        for name in GOOD_CHANNELS:
            self.backend.listen(name)

        same(self.checking.check().channels, frozenset(GOOD_CHANNELS))

        for name in GOOD_CHANNELS[1:]:
            self.backend.unlisten(name)
        same(self.checking.check().channels, frozenset(GOOD_CHANNELS[:1]))

    @needs("sql")
    def test_a_check_tells_what_the_server_knows_and_not_what_the_driver_remembers(self) -> None:
        self.backend.listen(self.channel)

        self.run("UNLISTEN *")

        same(self.checking.check().channels, frozenset())

    def test_what_was_sent_before_a_check_can_be_fetched_after_it(self) -> None:
        self.backend.listen(self.channel)

        for number in range(_LOOKS):
            self.session.notify(self.channel, str(number))
            self.checking.check()

            same([each.payload for each in self.backend.fetch()], [str(number)])

    def test_what_was_sent_before_a_check_ends_a_wait_though_the_socket_is_silent(self) -> None:
        self.backend.listen(self.channel)
        self.session.notify(self.channel, "before")

        self.checking.check()

        same(self.backend.wait(self.patience), True)
        same(self.payloads(1), ["before"])

    def test_checks_swallow_nothing_and_deliver_nothing_twice(self) -> None:
        self.backend.listen(self.channel)
        sent = [str(number) for number in range(_DURING_CHECKS)]

        def send() -> None:
            for payload in sent:
                self.session.notify(self.channel, payload)

        sending = self.in_background(send)
        deadline = time.monotonic() + self.patience
        while not sending.ended and time.monotonic() < deadline:
            self.checking.check()
        sending.join(self.patience, "the second session has not sent every notification")

        same(self.payloads(len(sent)), sent)
        self.nothing_arrives()

    @needs("network")
    def test_a_check_takes_one_round_trip(self) -> None:
        backend = self.backend_of(self.open_through_proxy())
        if not isinstance(backend, ChecksHealth):
            raise not_applicable("the backend does not offer check()")
        backend.check()  # some drivers prepare a statement the first time
        self.proxy.record()

        backend.check()

        same(self.proxy.answers, 1, "round trips")

    @needs("sql")
    def test_the_connection_is_idle_after_a_check_and_in_the_mode_that_it_was_in(self) -> None:
        pid = self.pid_of(self.db)
        before = getattr(self.db, "autocommit", None)

        self.checking.check()

        self.until_state(pid, "idle")
        same(getattr(self.db, "autocommit", None), before)

    def test_inside_a_transaction_a_check_is_refused(self) -> None:
        for failed in (False, True):
            self.begin(self.db)
            if failed:
                self.fail(self.db)

            is_refused("check()", lambda: self.checking.check())

            self.rollback(self.db)
        same(self.checking.check().channels, frozenset())

    def test_a_termination_between_two_calls_is_told_by_a_check(self) -> None:
        holds(self.checking, "offered")
        self.backend.listen(self.channel)
        self.terminate(self.db)

        self.tells_a_loss("check()")

        self.is_lost_for_good()

    def test_the_server_pid_is_that_of_the_process_that_answers(self) -> None:
        self.pid_of(self.db)  # some drivers connect with their first statement only

        same(_pid_told_by(self.backend), self.pid_of(self.db))

    @needs("network")
    def test_the_server_pid_is_told_without_a_word_to_the_server(self) -> None:
        connection = self.open_through_proxy()
        backend = self.backend_of(connection)
        pid = self.pid_of(connection)
        _pid_told_by(backend)
        self.proxy.freeze()

        telling = self.in_background(lambda: _pid_told_by(backend))

        same(telling.join(self.patience, "server_pid waits for the server"), pid)

    def test_the_server_pid_of_a_lost_connection_is_right_or_a_loss(self) -> None:
        self.backend.listen(self.channel)
        pid = _pid_told_by(self.backend)
        self.terminate(self.db)
        self.until_lost()

        try:
            told = _pid_told_by(self.backend)
        except ConnectionLost as lost:
            self.has_a_cause("server_pid", lost)
        else:
            same(told, pid)


def _pid_told_by(backend: Any) -> int:
    # Not isinstance(): up to Python 3.11 it reads the properties of a protocol, and their errors pass through.
    if not hasattr(type(backend), "server_pid"):
        raise not_applicable("the backend does not offer server_pid")
    pid: int = backend.server_pid
    return pid
